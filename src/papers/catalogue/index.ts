/**
 * The catalogue of the 59 papers: who wrote what, where its zeros are and when they are made. Whether a paper is
 * implemented is not said here: it is, when there is an experiment for it (`papers/index.ts`).
 */
import { activations } from "./activations.ts";
import { attention } from "./attention.ts";
import type { CatalogueEntry } from "./entry.ts";
import { otherDomains } from "./other-domains.ts";
import { postTraining } from "./post-training.ts";
import { sparseTraining } from "./sparse-training.ts";
import { structure } from "./structure.ts";

export { type CatalogueEntry, SITES, type Site, STAGES, type Stage } from "./entry.ts";

/** By number. */
export const catalogue: readonly CatalogueEntry[] = [
  ...attention,
  ...activations,
  ...postTraining,
  ...sparseTraining,
  ...structure,
  ...otherDomains,
].sort((a, b) => a.paper - b.paper);

/** "07" */
export const paperNumber = (paper: number): string => String(paper).padStart(2, "0");

/** "07-sparse-coding-v1": name of the experiment's file and of the record. */
export const paperName = (entry: Pick<CatalogueEntry, "paper" | "slug">): string =>
  `${paperNumber(entry.paper)}-${entry.slug}`;
