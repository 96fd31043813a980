/** Kernels of recurrent cells. */
import type { Kernel } from "../kernel.ts";
import { lstmKernel } from "./lstm.ts";

export { lstmKernel };
export const recurrentKernels: readonly Kernel[] = [lstmKernel];
