/** Kernels for dense matrices. */

import type { Kernel } from "../kernel.ts";
import { compactF32 } from "./compact.ts";
import { gemmF32 } from "./gemm.ts";
import { gemvBf16, gemvF16, gemvF32 } from "./gemv.ts";
import { gemvByInputBf16, gemvByInputF16, gemvByInputF32 } from "./gemv-byinput.ts";
import { gemvPanelBf16, gemvPanelF16, gemvPanelF32 } from "./gemv-panel.ts";
import { packBf16, packF16, packF32 } from "./pack.ts";

export const dense: readonly Kernel[] = [
  packF32,
  packBf16,
  packF16,
  gemmF32,
  gemvF32,
  gemvBf16,
  gemvF16,
  gemvPanelF32,
  gemvPanelBf16,
  gemvPanelF16,
  gemvByInputF32,
  gemvByInputBf16,
  gemvByInputF16,
  compactF32,
];
