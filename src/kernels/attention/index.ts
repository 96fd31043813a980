/** Kernels of dense attention: rotary embedding, whole sequences, one token against a cache. */

import type { Kernel } from "../kernel.ts";
import { attentionPrefill } from "./prefill.ts";

export { prefillScratchBytes } from "./tile.ts";

export const attention: readonly Kernel[] = [attentionPrefill];
