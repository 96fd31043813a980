/** Kernels for dense matrices. */

import type { Kernel } from "../kernel.ts";

export const dense: readonly Kernel[] = [];
