/**
 * SynFlow (Tanaka et al. 2020, arXiv 2006.05467): pruning before training without data. Every weight is taken by its size,
 * the input is ones, R is the sum of the outputs; |w dR/dw| flows through the network and is conserved by each unit. The
 * density falls exponentially over 100 rounds with new scores in each, so no layer is emptied. Batch norms must be at
 * rest; biases should be 0, as they are at the start.
 */
import { full } from "../../core/tensor.ts";
import { EVALUATE } from "../../nn/net.ts";
import { sum } from "../../nn/ops/reduce.ts";
import { applyMasks, choose, globally } from "../../sparsity/choose.ts";
import { saliency } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Beginning, SparseTraining } from "../../sparsity/hook.ts";
import { exponential } from "../../sparsity/schedule.ts";

export interface SynflowOptions {
  readonly sparsity: number;
  /** default 100; one round is another method, which empties layers */
  readonly rounds?: number;
}

function begin({ net, sites, seed, inputShape }: Beginning, { sparsity, rounds = 100 }: SynflowOptions): void {
  const values = net.params.map((p) => p.dense());
  for (const p of net.params) p.assign(p.dense().map(Math.abs));
  const shape = [1, ...inputShape.slice(1)];
  const density = exponential(1, 1 - sparsity);
  for (let round = 1; round <= rounds; round++) {
    const evidence = probe(sites, () => sum(net.forward(full(shape, 1), EVALUATE)), seed);
    const now = 1 - density({ step: round, steps: rounds });
    const budget = globally(saliency, { nested: true });
    applyMasks(sites, choose(sites, { score: saliency, budget, sparsity: now, nested: true }, evidence));
  }
  net.params.forEach((p, i) => {
    p.assign(values[i]);
  });
}

export const synflow = (options: SynflowOptions): SparseTraining => ({
  id: "synflow",
  begin: (b) => begin(b, options),
  hooks: [],
});
