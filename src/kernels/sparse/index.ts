/** Kernels for sparse weights: times dense activations (spmm), times one vector (spmv), and their gradients (sddmm). */

import type { Kernel } from "../kernel.ts";
import { LAYOUT_NAMES } from "./layouts.ts";
import { nmSelect } from "./nm-select.ts";
import { sddmmCsr } from "./sddmm.ts";
import { spmmKernels } from "./spmm.ts";
import { spmvKernels } from "./spmv.ts";

export const sparse: readonly Kernel[] = [
  ...LAYOUT_NAMES.flatMap((name) => spmmKernels[name].map(({ kernel }) => kernel)),
  ...LAYOUT_NAMES.flatMap((name) => Object.values(spmvKernels[name])),
  sddmmCsr,
  nmSelect,
];
