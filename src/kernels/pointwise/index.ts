/** Elementwise kernels and reductions. */
import type { Kernel } from "../kernel.ts";
import { pointwise } from "./pointwise.ts";
import { reduce } from "./reduce.ts";

export { pointwise, reduce };
export const pointwiseKernels: readonly Kernel[] = [pointwise, reduce];
