/**
 * Learning rates over a run. `rateAt` is linear warm-up, then a half cosine down to a floor, as recipes write it. The
 * others are functions of the time, like the ramps of `sparsity/schedule.ts` (constant, linear, cosine, exponential,
 * stairs), and go around those. Steps count from 0.
 */
import { sinCosTurns } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
import type { Tick } from "./net.ts";

/** A rate as a function of the time. */
export type Rate = (t: Tick) => number;

export interface RateOptions {
  readonly peak: number;
  readonly floor: number;
  readonly warmup: number;
  readonly steps: number;
}

export function rateAt(step: number, o: RateOptions): number {
  if (step < o.warmup) return (o.peak * (step + 1)) / o.warmup;
  const through = Math.min(1, (step - o.warmup) / Math.max(1, o.steps - o.warmup));
  const [, cos] = sinCosTurns(through / 2);
  return o.floor + ((o.peak - o.floor) * (1 + cos)) / 2;
}

/** Rises in equal parts to the first value of `then` over `steps` steps, which begins after them and has the rest. */
export function warmUp(steps: number, then: Rate): Rate {
  demand(Number.isInteger(steps) && steps >= 0, () => ({
    about: "warm-up of a learning rate",
    expected: "a whole number of steps",
    got: String(steps),
    hint: "Count optimiser steps.",
  }));
  return (t) => {
    const rest = { ...t, step: Math.max(0, t.step - steps), steps: Math.max(1, t.steps - steps) };
    return t.step < steps ? (then(rest) * (t.step + 1)) / steps : then(rest);
  };
}

export interface OneCycleOptions {
  readonly peak: number;
  /** share of the run in which the rate rises; default 0.3 */
  readonly rise?: number;
  /** peak over the rate at the start; default 25 */
  readonly start?: number;
  /** rate at the start over the rate at the end; default 1e4 */
  readonly end?: number;
}

/**
 * One cycle (Smith and Topin 2018) in half cosines: from peak / start up to the peak, then down to peak / start / end at
 * the last step. Momentum is left alone.
 */
export function oneCycle({ peak, rise = 0.3, start = 25, end = 1e4 }: OneCycleOptions): Rate {
  const [first, last] = [peak / start, peak / start / end];
  /** half a cosine from a to b over p in [0, 1] */
  const wave = (a: number, b: number, p: number): number => b + ((a - b) * (1 + sinCosTurns(p / 2)[1])) / 2;
  return ({ step, steps }) => {
    const at = steps <= 1 ? 1 : Math.min(1, step / (steps - 1));
    if (at >= 1) return last;
    return at < rise ? wave(first, peak, at / rise) : wave(peak, last, (at - rise) / (1 - rise));
  };
}
