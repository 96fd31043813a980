/** Kernels of optimiser steps. */
import type { Kernel } from "../kernel.ts";
import { adamw, sgd } from "./optimiser.ts";

export { adamw, sgd };
export const optimiserKernels: readonly Kernel[] = [adamw, sgd];
