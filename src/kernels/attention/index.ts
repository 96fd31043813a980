/** Kernels of dense attention: rotary embedding, whole sequences, one token against a cache. */

import type { Kernel } from "../kernel.ts";
import { attentionDecode } from "./decode.ts";
import { attentionPrefill } from "./prefill.ts";
import { ropeKernel } from "./rope.ts";

export { inverseFrequencies, type RopeTable, ropeTable } from "./rope-table.ts";
export { backwardScratchBytes, decodeScratchBytes, prefillScratchBytes } from "./tile.ts";
export { attentionDecode, attentionPrefill, ropeKernel };

export const attention: readonly Kernel[] = [ropeKernel, attentionPrefill, attentionDecode];
