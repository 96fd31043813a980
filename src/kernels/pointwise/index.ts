/** Elementwise kernels and reductions. */
import type { Kernel } from "../kernel.ts";
import { pointwise } from "./pointwise.ts";
import { reduce } from "./reduce.ts";
import { rowsKernel } from "./rows.ts";

export { pointwise, reduce, rowsKernel };
export const pointwiseKernels: readonly Kernel[] = [pointwise, reduce, rowsKernel];
