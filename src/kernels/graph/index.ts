/** Kernels over the edges of a graph. */
import type { Kernel } from "../kernel.ts";
import { propagateKernel } from "./propagate.ts";

export { propagateKernel };
export const graphKernels: readonly Kernel[] = [propagateKernel];
