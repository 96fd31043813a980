/** Kernels of the f64 factorisations and of the weight solvers that stand on them. */

import type { Kernel } from "../kernel.ts";
import { eliminateF64 } from "./eliminate.ts";
import { packF64 } from "./pack.ts";
import { solveF64 } from "./solve.ts";
import { updateF64 } from "./update.ts";

export const factor: readonly Kernel[] = [packF64, updateF64, solveF64, eliminateF64];
