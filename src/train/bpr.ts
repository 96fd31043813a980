/**
 * Training of recommenders by triples (BPR, Rendle et al. 2009): each step draws users, items they took and items they did
 * not. Masks and hooks come from a method of sparse training, as in `fit.ts`.
 */
import { type Interactions, tripleStream } from "../data/interactions.ts";
import { bprLoss, type Recommender } from "../models/recommender.ts";
import type { Optimiser } from "../nn/optimiser.ts";
import type { SparseTraining } from "../sparsity/hook.ts";
import type { Ramp } from "../sparsity/schedule.ts";
import { embeddingSites } from "../sparsity/site.ts";
import { type StepReport, trainLoop } from "./loop.ts";

export interface TripleTraining {
  readonly optimiser: Optimiser;
  /** of which users took which items; nothing else is seen */
  readonly train: Interactions;
  readonly steps: number;
  /** triples of a step */
  readonly batch: number;
  readonly rate: Ramp;
  /** lambda of half the squared embeddings of a triple; default 0 */
  readonly penalty?: number;
  readonly seed: number;
  readonly method?: SparseTraining;
  readonly afterStep?: (report: StepReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** Trains until `steps` are done, from the optimiser's step count on. */
export async function trainByTriples(model: Recommender, options: TripleTraining): Promise<void> {
  const { optimiser, train, steps, batch, rate, penalty = 0, seed, method, afterStep, signal } = options;
  const triples = tripleStream(train, { batch, seed });
  const sites = method?.sites?.(model) ?? embeddingSites(model);
  if (method?.begin && optimiser.steps === 0) {
    const mode = { train: true, t: { step: 0, steps }, seed };
    const loss = () => bprLoss(model, triples.at(0), penalty, mode);
    method.begin({ net: model, sites, seed, inputShape: [batch, 2], loss });
  }
  await trainLoop(
    { optimiser, loss: (step, t) => bprLoss(model, triples.at(step), penalty, { train: true, t, seed }) },
    {
      rate: { at: rate, steps },
      ...(method && { hooked: { net: model, hooks: method.hooks, sites, seed } }),
      ...(afterStep && { afterStep }),
      ...(signal && { signal }),
    },
  );
}
