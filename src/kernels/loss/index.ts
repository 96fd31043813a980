/** Kernels of losses. */
import type { Kernel } from "../kernel.ts";
import { elementLossKernel } from "./element.ts";
import { crossEntropyKernel, distillKernel } from "./loss.ts";

export { crossEntropyKernel, distillKernel, elementLossKernel };
export const lossKernels: readonly Kernel[] = [crossEntropyKernel, distillKernel, elementLossKernel];
