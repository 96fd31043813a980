/** Final masks: masked weights become 0 for good, and sparse storage takes over where a layer can run it. */
import type { Site } from "./site.ts";

/** Share of zeros from which a training step on CSR is faster than on the masked weight (measured: from 50 to 60 %). */
export const SPARSE_FROM = 0.6;

/** Ends the life of held and live weights: what is masked is 0 from here on, value and optimiser's state. */
export function settle(sites: readonly Site[]): void {
  for (const { param } of sites) param.off = "zero";
}

/** Masked weights that are 0 and whose layer can run them sparse become CSR from a share of zeros on; others stay masked. */
export function storeSparse(sites: readonly Site[], from = 0): void {
  for (const { param } of sites) {
    const fits = param.mask && param.off === "zero" && !param.view && param.storages.includes("csr");
    if (fits && 1 - param.kept / param.numel >= from) param.as("csr");
  }
}
