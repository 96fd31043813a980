/** Kernels that normalise rows. */
import type { Kernel } from "../kernel.ts";
import { layernorm, rmsnorm } from "./norm.ts";
import { softmax } from "./softmax.ts";

export { layernorm, rmsnorm, softmax };
export const normKernels: readonly Kernel[] = [rmsnorm, layernorm, softmax];
