/**
 * Prune, retrain, repeat: iterative magnitude pruning and its relatives as one loop.
 *
 * Each phase prunes what is left down to the phase's sparsity, rewinds if wanted, and hands over for retraining. With
 * "none" weights go on from where they are (Han et al. 2015; with the learning rate run again, Renda et al. 2020); with
 * "init" survivors return to their initial values (Frankle and Carbin 2019); a snapshot rewinds to a later point. The
 * optimiser's state is cleared between phases.
 */
import type { Tensor } from "../core/tensor.ts";
import type { Net } from "../nn/net.ts";
import { applyMasks, choose, globally, type NetBudget } from "../sparsity/choose.ts";
import { magnitude, type Score } from "../sparsity/criteria.ts";
import { probe } from "../sparsity/evidence.ts";
import type { Pattern } from "../sparsity/pattern.ts";
import { type Site, sitesOf } from "../sparsity/site.ts";

/** Values of all parameters and buffers. */
export interface Snapshot {
  readonly params: readonly Float32Array[];
  readonly buffers: readonly Float32Array[];
}

export const snapshot = (net: Net): Snapshot => ({
  params: net.params.map((p) => p.dense()),
  buffers: (net.buffers ?? []).map((b) => b.value.toArray()),
});

/** Puts values back under the masks of now. */
export function restore(net: Net, s: Snapshot): void {
  net.params.forEach((p, i) => {
    p.assign(s.params[i]);
  });
  net.buffers?.forEach((b, i) => {
    b.value.f32.set(s.buffers[i]);
  });
}

/** Sparsity after phase k of n when each phase prunes the same share of what is left. */
export const equalShares =
  (target: number, n: number): ((k: number) => number) =>
  (k) =>
    k === n ? target : 1 - (1 - target) ** (k / n);

export interface Phases {
  readonly phases: number;
  /** zeros over the sites after phase k, from 1; `equalShares` */
  readonly sparsity: (k: number) => number;
  /** trains on with the masks as they are, with an optimiser of its own */
  readonly retrain: (k: number) => Promise<void>;
  readonly rewind?: "none" | "init" | Snapshot;
  readonly score?: Score;
  /** default: one ranking over all sites */
  readonly budget?: NetBudget;
  readonly pattern?: Pattern;
  readonly sites?: readonly Site[];
  /** gradients of the score, if it reads any */
  readonly loss?: () => Tensor;
  /** after each phase: batch norm recalibration, evaluation */
  readonly after?: (k: number) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** Runs the phases on a trained network. Throws the signal's reason between phases when aborted. */
export async function pruneInPhases(net: Net, p: Phases): Promise<void> {
  const { score = magnitude, sites = sitesOf(net), rewind = "none", pattern } = p;
  const budget = p.budget ?? globally(score, { nested: true });
  const loss = (): Tensor => {
    if (!p.loss) throw new Error(`phases: score ${score.id} reads gradients; give it a loss`);
    return p.loss();
  };
  for (let k = 1; k <= p.phases; k++) {
    p.signal?.throwIfAborted();
    const choice = { score, budget, sparsity: p.sparsity(k), nested: true, ...(pattern && { pattern }) };
    applyMasks(sites, choose(sites, choice, probe(sites, loss, k)));
    for (const param of net.params) {
      for (const s of param.slots.values()) s.f32.fill(0);
      if (rewind === "init") {
        const at = param.initial();
        param.assign(Float32Array.from({ length: param.numel }, (_, i) => at(i)));
      }
    }
    if (typeof rewind === "object") restore(net, rewind);
    await p.retrain(k);
    await p.after?.(k);
  }
}
