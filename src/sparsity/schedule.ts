/**
 * Ramps: how a quantity (sparsity, drop rate, learning rate) moves over a run; cadences: when something happens. Plain
 * functions of the time. What changes topology is asked after the optimiser's step, so its `step` counts that one.
 */
import { exp, ln, sinCosTurns } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
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
export const cosine = moving((p) => (1 + sinCosTurns(p / 2)[1]) / 2);

/** to + (from - to) (1 - sin(pi p / 2)): a quarter wave, fast first and flat at the end. */
export const sine = moving((p) => 1 - sinCosTurns(p / 4)[0]);

/** from (to / from)^p: the same factor in equal times; both ends above 0 (SynFlow's density, learning rates). */
export function exponential(from: number, to: number, window: Window = {}): Ramp {
  demand(from > 0 && to > 0, () => ({
    about: "exponential ramp",
    expected: "both ends above 0",
    got: `${from} and ${to}`,
    hint: "For sparsities ramp the density and subtract it from 1.",
  }));
  const rate = ln(to / from);
  return (t) => {
    const p = progress(t, window);
    return p === 0 ? from : p === 1 ? to : from * exp(rate * p);
  };
}

/** `values[i]` from the i-th of the fractions `at` on (the first value before it): learning rates that fall in steps. */
export const stairs =
  (values: readonly number[], at: readonly number[]): Ramp =>
  (t) => {
    let i = 0;
    while (i < at.length && t.step >= at[i] * t.steps) i++;
    return values[Math.min(i, values.length - 1)];
  };

export type Cadence = (t: Tick) => boolean;

export interface Span {
  /** fractions of `steps`, or step numbers from 2 up; an update falls strictly between them. Default 0 and 1. */
  readonly from?: number;
  readonly until?: number;
}

const stepOf = (at: number, t: Tick): number => (at <= 1 ? at * t.steps : at);

/** Every `n` steps: at t % n = 0, strictly inside of the span, so never at the start or at the end. */
export const everySteps =
  (n: number, { from = 0, until = 1 }: Span = {}): Cadence =>
  (t) =>
    t.step % n === 0 && t.step > stepOf(from, t) && t.step < stepOf(until, t);

/** At the end of every n-th epoch, strictly inside of the span: not after the last one. */
export const everyEpochs =
  (n: number, span: Span = {}): Cadence =>
  (t) =>
    t.epochEnd === true && (t.epoch ?? 0) % n === 0 && everySteps(1, span)(t);

/** After the first step of each task. */
export const atTaskStart: Cadence = (t) => t.step === 1;

export const never: Cadence = () => false;
