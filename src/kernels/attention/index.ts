/** Kernels of dense attention: rotary embedding, whole sequences, one token against a cache. */

import type { Kernel } from "../kernel.ts";
import { attentionPrefill } from "./prefill.ts";
import { ropeKernel } from "./rope.ts";

export { inverseFrequencies, type RopeTable, ropeTable } from "./rope-table.ts";
export { backwardScratchBytes, prefillScratchBytes } from "./tile.ts";
export { attentionPrefill, ropeKernel };

export const attention: readonly Kernel[] = [ropeKernel, attentionPrefill];
