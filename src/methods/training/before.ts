/**
 * Pruning before training by a score of the first batch: SNIP (Lee et al. 2019, arXiv 1810.02340) and GraSP (Wang et al.
 * 2020, arXiv 2002.07376); both rank globally, since a ranking layer by layer is another method.
 *
 * `shuffled` throws the mask away and keeps its counts by layer: the "SNIP ratio" and "GraSP ratio" of random pruning.
 */
import { applyMasks, choose, given, globally } from "../../sparsity/choose.ts";
import { grasp as graspScore, random, type Score, saliency } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import type { Pattern } from "../../sparsity/pattern.ts";

export interface BeforeOptions {
  readonly sparsity: number;
  readonly pattern?: Pattern;
  /** random masks with the counts that the score gives each layer */
  readonly shuffled?: boolean;
}

const oneShot = (id: string, score: Score, { shuffled = false, ...options }: BeforeOptions): SparseTraining => ({
  id: shuffled ? `${id} ratio` : id,
  begin({ sites, seed, loss }) {
    const evidence = probe(sites, loss, seed);
    const masks = choose(sites, { score, budget: globally(score), ...options }, evidence);
    const counts = given(masks.map((m) => m.kept));
    applyMasks(sites, shuffled ? choose(sites, { score: random, budget: counts, ...options }, evidence) : masks);
  },
  hooks: [],
});

export const snip = (options: BeforeOptions): SparseTraining => oneShot("snip", saliency, options);

/** The Hessian's product is a difference of gradients (`sparsity/evidence.ts`); without the paper's temperature of 200. */
export const grasp = (options: BeforeOptions): SparseTraining => oneShot("grasp", graspScore, options);
