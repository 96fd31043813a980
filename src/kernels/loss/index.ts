/** Kernels of losses. */
import type { Kernel } from "../kernel.ts";
import { crossEntropyKernel, distillKernel } from "./loss.ts";

export { crossEntropyKernel, distillKernel };
export const lossKernels: readonly Kernel[] = [crossEntropyKernel, distillKernel];
