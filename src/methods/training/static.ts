/**
 * Random pruning before training (Liu et al. 2022, arXiv 2202.02643): a random mask by a budget, fixed for the run. Also
 * what dynamic methods start from.
 */

import { erk } from "../../sparsity/budget-shapes.ts";
import { applyMasks, choose, type NetBudget } from "../../sparsity/choose.ts";
import { random } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Beginning, SparseTraining } from "../../sparsity/hook.ts";
import type { Pattern } from "../../sparsity/pattern.ts";

export interface StaticOptions {
  readonly sparsity?: number;
  /** default ERK */
  readonly budget?: NetBudget;
  readonly pattern?: Pattern;
}

/** Sets random masks with exact counts. */
export function beginAtRandom({ sites, seed, loss }: Beginning, options: StaticOptions): void {
  const evidence = probe(sites, loss, seed);
  applyMasks(sites, choose(sites, { score: random, budget: erk, ...options }, evidence));
}

export const staticRandom = (options: StaticOptions): SparseTraining => ({
  id: "static",
  begin: (b) => beginAtRandom(b, options),
  hooks: [],
});
