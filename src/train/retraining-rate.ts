/**
 * Learning rates of retraining after pruning (Zimmer et al. 2023, arXiv 2111.00843, whose names these are). `Original` is
 * the dense run's rate, as a function of its time; `t` is the retraining's own time.
 *
 * Fine-tuning (FT) stays at the last rate; LRW runs the last rates again, SLR all of them compressed; CLR falls as half a
 * cosine, LLR in a line, ALLR in a line from a peak that follows how much the pruning changed. All but FT and LRW rise
 * from 0 in the first tenth, as half a cosine.
 */
import { sinCosTurns } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
import type { Tick } from "../nn/net.ts";
import type { Rate } from "../nn/rate.ts";

export interface Original {
  readonly rate: Rate;
  /** optimiser steps of the dense run */
  readonly steps: number;
}

const SHARE = 0.1;

/** Rises from 0 over the first tenth of the steps; `then` has the rest as its own time. */
function risingInto(then: Rate): Rate {
  return (t) => {
    const rise = Math.floor(SHARE * t.steps + 1e-6);
    const rest = (step: number): number => then({ ...t, step, steps: Math.max(1, t.steps - rise) });
    if (t.step >= rise) return rest(t.step - rise);
    const [, cos] = sinCosTurns(t.step / rise / 2);
    return (rest(0) * (1 - cos)) / 2;
  };
}

const at = (o: Original, step: number): number => o.rate({ step, steps: o.steps });

/** FT: the last rate of the dense run. */
export const fineTuning =
  (o: Original): Rate =>
  () =>
    at(o, o.steps - 1);

/** LRW: the last rates of the dense run again (Renda et al. 2020). At most as many steps as that had. */
export const rewinding =
  (o: Original): Rate =>
  (t) => {
    demand(t.steps <= o.steps, () => ({
      about: "learning rate rewinding",
      expected: `at most the ${o.steps} steps of the dense run`,
      got: String(t.steps),
      hint: "Retrain for less, or with another schedule.",
    }));
    return at(o, o.steps - t.steps + t.step);
  };

/** SLR: all rates of the dense run in the time there is (Le and Hua 2021). */
export const scaled = (o: Original): Rate =>
  risingInto((t) => at(o, Math.min(o.steps - 1, Math.floor((t.step * o.steps) / t.steps))));

/** CLR: half a cosine from the peak to `floor` (Le and Hua 2021). */
export const cyclic = (peak: number, floor = 0): Rate =>
  risingInto((t) => floor + ((peak - floor) * (1 + sinCosTurns(t.step / t.steps / 2)[1])) / 2);

/** LLR: a line from the peak to 0. */
export const linear = (peak: number): Rate => risingInto((t) => peak * (1 - t.step / t.steps));

/** What the peak of ALLR follows. */
export interface Pruned {
  /** share of what was left that this phase pruned */
  readonly share: number;
  /** relative change of the model's norm by it (`normChange`) */
  readonly change: number;
  /** length of the retraining over that of the dense run */
  readonly length: number;
}

/** Peak of ALLR: peak * change / sqrt(share), from peak * min(1, length) to peak. */
export function adaptivePeak(peak: number, { share, change, length }: Pruned): number {
  const wanted = change === 0 ? 0 : (peak * change) / Math.sqrt(share);
  return Math.min(peak, Math.max(wanted, peak * Math.min(1, length)));
}

/** ALLR: LLR from the adaptive peak. */
export const adaptive = (peak: number, pruned: Pruned): Rate => linear(adaptivePeak(peak, pruned));

const squares = (w: readonly ArrayLike<number>[]): number =>
  w.reduce((n, a) => {
    let sum = n;
    for (let i = 0; i < a.length; i++) sum += a[i] * a[i];
    return sum;
  }, 0);

/** sqrt(| |w|^2 - |pruned w|^2 |) / |w|, over all arrays of a model. */
export function normChange(before: readonly ArrayLike<number>[], after: readonly ArrayLike<number>[]): number {
  const whole = squares(before);
  return whole === 0 ? 0 : Math.sqrt(Math.abs(whole - squares(after)) / whole);
}

/** A rate as `fit` reads it, over `steps` steps; for tests and figures. */
export const rates = (rate: Rate, steps: number): number[] =>
  Array.from({ length: steps }, (_, step) => rate({ step, steps } satisfies Tick));
