/**
 * Sparse Model Soups (Zimmer, Spiegel and Pokutta 2024, arXiv 2306.16788): iterative magnitude pruning whose every phase
 * retrains several copies of the pruned model and goes on from their average. The copies share a mask and a basin, so the
 * average stays sparse and is better than its members.
 *
 * Copies differ in what `retrain` makes of their number: order and augmentation by seed (the default of the paper), decay,
 * length or rate. Copies run one after the other here. Batch norm statistics are averaged and then worthless:
 * `recalibrate` is called before any average is looked at.
 */
import { demand } from "../../core/errors.ts";
import type { Net } from "../../nn/net.ts";
import { restore, type Snapshot, snapshot } from "../../train/phases.ts";
import { type ImpOptions, imp } from "./imp.ts";

/** Element by element, in f64, of all parameters and buffers. */
export function average(models: readonly Snapshot[]): Snapshot {
  demand(models.length > 0, () => ({
    about: "average of models",
    expected: "at least one",
    got: "none",
    hint: "Give the candidates of one parent.",
  }));
  const mean = (arrays: readonly Float32Array[]): Float32Array =>
    arrays[0].map((_, i) => arrays.reduce((sum, a) => sum + a[i], 0) / arrays.length);
  const over = (part: keyof Snapshot) => models[0][part].map((_, k) => mean(models.map((m) => m[part][k])));
  return { params: over("params"), buffers: over("buffers") };
}

/** Clears what an optimiser kept, so that the next run starts without a past. */
function forget(net: Net): void {
  for (const p of net.params) for (const s of p.slots.values()) s.f32.fill(0);
}

export interface Look {
  /** re-estimates batch norm statistics; needed where there are any */
  readonly recalibrate?: (net: Net) => void;
}

/** Puts the average into the network, with statistics of its own. */
export function pour(net: Net, models: readonly Snapshot[], { recalibrate }: Look = {}): void {
  restore(net, average(models));
  recalibrate?.(net);
}

/**
 * Greedy soup (Wortsman et al. 2022): from the best candidate on, in the order of `score` (validation accuracy), each that
 * does not lower the average's score stays. The network is left with the soup; returns the places of its members.
 */
export function greedySoup(
  net: Net,
  models: readonly Snapshot[],
  score: (net: Net) => number,
  look: Look = {},
): readonly number[] {
  const alone = models.map((m) => {
    restore(net, m);
    return score(net);
  });
  const order = models.map((_, i) => i).sort((a, b) => alone[b] - alone[a] || a - b);
  let chosen = [order[0]];
  let best = Number.NEGATIVE_INFINITY;
  for (let n = 0; n < order.length; n++) {
    const next = n === 0 ? chosen : [...chosen, order[n]];
    pour(
      net,
      next.map((i) => models[i]),
      look,
    );
    const now = score(net);
    if (now < best) continue;
    chosen = next;
    best = now;
  }
  pour(
    net,
    chosen.map((i) => models[i]),
    look,
  );
  return chosen;
}

export interface SoupOptions extends Omit<ImpOptions, "retrain" | "rewind" | "after">, Look {
  /** m, copies of each phase; 1 is IMP */
  readonly copies: number;
  /** trains copy j (from 0) of phase k (from 1), which starts from the pruned parent, with an optimiser of its own */
  readonly retrain: (k: number, j: number) => Promise<void>;
  /** how candidates become the next parent; default: their uniform average */
  readonly merge?: (net: Net, candidates: readonly Snapshot[], k: number) => void | Promise<void>;
  /** after each phase, with the soup in the network */
  readonly after?: (k: number, candidates: readonly Snapshot[]) => void | Promise<void>;
}

/** Runs the phases on a trained network and leaves the last soup in it. */
export async function modelSoups(net: Net, options: SoupOptions): Promise<void> {
  const { copies, retrain, recalibrate, merge, after, signal, ...rest } = options;
  await imp(net, {
    ...rest,
    ...(signal && { signal }),
    async retrain(k) {
      const parent = snapshot(net);
      const candidates: Snapshot[] = [];
      for (let j = 0; j < copies; j++) {
        signal?.throwIfAborted();
        restore(net, parent);
        forget(net);
        await retrain(k, j);
        candidates.push(snapshot(net));
      }
      if (merge) await merge(net, candidates, k);
      else pour(net, candidates, recalibrate ? { recalibrate } : {});
      await after?.(k, candidates);
    },
  });
}
