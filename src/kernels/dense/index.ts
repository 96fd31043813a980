/** Kernels for dense matrices. */

import type { Kernel } from "../kernel.ts";
import { gemmF32 } from "./gemm.ts";
import { gemvBf16, gemvF16, gemvF32 } from "./gemv.ts";
import { packBf16, packF16, packF32 } from "./pack.ts";

export const dense: readonly Kernel[] = [packF32, packBf16, packF16, gemmF32, gemvF32, gemvBf16, gemvF16];
