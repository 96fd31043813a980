/** Kernels of optimiser steps. */
import type { Kernel } from "../kernel.ts";
import { adam, adamw, sgd } from "./optimiser.ts";

export { adam, adamw, sgd };
export const optimiserKernels: readonly Kernel[] = [adamw, adam, sgd];
