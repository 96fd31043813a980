/** Kernels that choose: the largest of many numbers. */

import type { Kernel } from "../kernel.ts";
import { topF32 } from "./top.ts";

export { topPlain, topScratchBytes } from "./plain.ts";
export { topF32 };

export const top: readonly Kernel[] = [topF32];
