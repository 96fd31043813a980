/** Kernels for sparse weights: times dense activations (spmm) and times one vector (spmv). */

import type { Kernel } from "../kernel.ts";
import { spmmBlock, spmmNm, spmvBlock, spmvBlockBf16, spmvNm, spmvNmBf16 } from "./blocks.ts";
import { spmmCsr, spmvCsr, spmvCsrBf16 } from "./csr.ts";

export const sparse: readonly Kernel[] = [
  spmmCsr,
  spmmBlock,
  spmmNm,
  spmvCsr,
  spmvCsrBf16,
  spmvBlock,
  spmvBlockBf16,
  spmvNm,
  spmvNmBf16,
];
