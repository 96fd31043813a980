/** Elementwise kernels and reductions. */
import type { Kernel } from "../kernel.ts";
import { dropoutKernel } from "./dropout.ts";
import { pointwise } from "./pointwise.ts";
import { reduce } from "./reduce.ts";
import { rowsKernel } from "./rows.ts";

export { dropoutKernel, pointwise, reduce, rowsKernel };
export const pointwiseKernels: readonly Kernel[] = [pointwise, dropoutKernel, reduce, rowsKernel];
