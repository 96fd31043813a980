/** Ramps: how a quantity (sparsity, drop rate, learning rate) moves over a run. Plain functions of the time. */
import type { Tick } from "../nn/net.ts";

export type { Tick };

export type Ramp = (t: Tick) => number;

/** The part of the run in which a ramp moves, as fractions of `steps`; before and after it stands still. */
export interface Window {
  readonly begin?: number;
  readonly end?: number;
}

function progress(t: Tick, { begin = 0, end = 1 }: Window): number {
  const at = t.steps === 0 ? 1 : t.step / t.steps;
  if (at >= end) return 1;
  return at <= begin ? 0 : (at - begin) / (end - begin);
}

export const constant =
  (value: number): Ramp =>
  () =>
    value;

/** A ramp with exact ends: `left(p)` is the share of the way that is left, 1 at p = 0 and 0 at p = 1. */
const moving =
  (left: (p: number) => number) =>
  (from: number, to: number, window: Window = {}): Ramp =>
  (t) => {
    const p = progress(t, window);
    return p === 0 ? from : p === 1 ? to : to + (from - to) * left(p);
  };

export const linear = moving((p) => 1 - p);

/** to + (from - to) (1 - p)^3: fast first, slow last (Zhu & Gupta 2017). */
export const cubic = moving((p) => (1 - p) ** 3);

/** to + (from - to)/2 (1 + cos(pi p)): half a cosine wave (RigL's update fraction). */
export const cosine = moving((p) => (1 + Math.cos(Math.PI * p)) / 2);
