/**
 * Pruning before training by a score of the first gradients: SNIP (Lee et al. 2019, arXiv 1810.02340) and GraSP (Wang et
 * al. 2020, arXiv 2002.07376); both rank globally, since a ranking layer by layer is another method.
 *
 * `shuffled` throws the mask away and keeps its counts by layer: the "SNIP ratio" and "GraSP ratio" of random pruning.
 */
import { stream } from "../../core/random.ts";
import type { Tensor } from "../../core/tensor.ts";
import { type MakeOptions, makeBatch } from "../../data/example-batches.ts";
import { type Examples, perClass, take } from "../../data/examples.ts";
import { scale } from "../../nn/ops/elementwise.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { applyMasks, choose, given, globally } from "../../sparsity/choose.ts";
import { grasp as graspScore, random, type Score, saliency } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Beginning, SparseTraining } from "../../sparsity/hook.ts";
import type { Pattern } from "../../sparsity/pattern.ts";

export interface BeforeOptions {
  readonly sparsity: number;
  readonly pattern?: Pattern;
  /** random masks with the counts that the score gives each layer */
  readonly shuffled?: boolean;
  /** what the score differentiates, called anew at each point; default: the loss of the first batch */
  readonly loss?: (b: Beginning) => Tensor;
}

const oneShot = (id: string, score: Score, options: BeforeOptions): SparseTraining => {
  const { shuffled = false, loss, ...choice } = options;
  return {
    id: shuffled ? `${id} ratio` : id,
    begin(b) {
      const { sites, seed } = b;
      const evidence = probe(sites, () => (loss ? loss(b) : b.loss()), seed);
      const masks = choose(sites, { score, budget: globally(score), ...choice }, evidence);
      const counts = given(masks.map((m) => m.kept));
      applyMasks(sites, shuffled ? choose(sites, { score: random, budget: counts, ...choice }, evidence) : masks);
    },
    hooks: [],
  };
};

export const snip = (options: BeforeOptions): SparseTraining => oneShot("snip", saliency, options);

/**
 * The Hessian's product is a difference of gradients (`sparsity/evidence.ts`). The authors score 10 or more examples of
 * each class with logits over 200: `loss: balancedLoss(train, { count: 25, temperature: 200 })`.
 */
export const grasp = (options: BeforeOptions): SparseTraining => oneShot("grasp", graspScore, options);

export interface BalancedOptions extends Pick<MakeOptions, "normaliser" | "flat"> {
  /** examples of each class */
  readonly count: number;
  /** logits are divided by it; default 1 */
  readonly temperature?: number;
}

/** Mean cross-entropy over `count` examples of each class, drawn by the run's seed. */
export function balancedLoss(e: Examples, options: BalancedOptions): (b: Beginning) => Tensor {
  const { count, temperature = 1, ...make } = options;
  let drawn: Examples | undefined;
  return ({ net, seed }) => {
    drawn ??= perClass(take(e, stream(seed, "balanced").permutation(e.count, 0)), count);
    const { x, y } = makeBatch(
      drawn,
      Int32Array.from({ length: drawn.count }, (_, i) => i),
      make,
    );
    const mode = { train: true, t: { step: 0, steps: 0 }, seed };
    return crossEntropy(scale(net.forward(x, mode), 1 / temperature), y);
  };
}
