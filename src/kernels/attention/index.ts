/** Kernels of attention: rotary embedding, whole sequences, one token against a cache or chosen rows of it. */

import type { Kernel } from "../kernel.ts";
import { attentionDecode } from "./decode.ts";
import { attentionPrefill } from "./prefill.ts";
import { ropeKernel } from "./rope.ts";
import { attentionSparse } from "./sparse.ts";

export { inverseFrequencies, type RopeTable, ropeTable } from "./rope-table.ts";
export { backwardScratchBytes, decodeScratchBytes, prefillScratchBytes, sparseScratchBytes } from "./tile.ts";
export { attentionDecode, attentionPrefill, attentionSparse, ropeKernel };

export const attention: readonly Kernel[] = [ropeKernel, attentionPrefill, attentionDecode, attentionSparse];
