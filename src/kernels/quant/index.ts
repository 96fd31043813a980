/** Kernels for quantised weights: whole numbers of 4 or 8 bits with a scale for each group of inputs. */

import type { Kernel } from "../kernel.ts";
import { gemvByInputInt4, gemvByInputInt8, gemvByInputUint4, gemvByInputUint8 } from "./byinput.ts";
import { gemvInt4, gemvInt8, gemvUint4, gemvUint8 } from "./gemv.ts";
import { spmvQuant } from "./spmv.ts";

export const quant: readonly Kernel[] = [
  gemvInt8,
  gemvUint8,
  gemvInt4,
  gemvUint4,
  gemvByInputInt8,
  gemvByInputUint8,
  gemvByInputInt4,
  gemvByInputUint4,
  ...Object.values(spmvQuant).flatMap((layouts) => Object.values(layouts)),
];
