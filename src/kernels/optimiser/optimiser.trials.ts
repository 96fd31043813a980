/** Trials of the optimiser steps against plain f64. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, bits, EPS, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

const near = (x: number): number => Math.fround(x);

/** Runs a step whole and in pieces on copies of the state, and compares all of the state. */
function both(
  draw: Draw,
  box: Sandbox,
  state: Readonly<Record<string, Float32Array>>,
  run: (at: Readonly<Record<string, number>>, from: number, to: number) => void,
  want: Readonly<Record<string, readonly number[]>>,
  tolerance: Readonly<Record<string, readonly number[]>>,
): Comparison[] {
  const names = Object.keys(state);
  const n = state[names[0]].length;
  const make = (): Record<string, number> => Object.fromEntries(names.map((k) => [k, box.put(state[k])]));
  const [whole, pieces] = [make(), make()];
  run(whole, 0, n);
  inPieces(draw, n, (from, to) => run(pieces, from, to));
  return names.flatMap((k) => agree(k, box.f32(whole[k], n), box.f32(pieces[k], n), want[k], tolerance[k]));
}

type Form = "step" | "stepMasked" | "stepHeld";

const adamTrial = (form: Form, coupled: boolean): Trial => ({
  name: form,
  run(draw, box) {
    const masked = form !== "step";
    const held = form === "stepHeld";
    const n = draw.int(0, 70);
    const steps = draw.int(1, 50);
    const [beta1, beta2] = [near(0.9), near(0.95)];
    const settings: plain.AdamWSettings = {
      lr: near(draw.int(1, 100) / 1e4),
      beta1,
      beta2,
      eps: near(1e-8),
      decay: near(draw.int(0, 3) / 10),
      correction1: near(1 / (1 - beta1 ** steps)),
      correction2: near(1 / (1 - beta2 ** steps)),
      gradScale: near(draw.int(1, 8) / 8),
    };
    const [p, g, m] = [draw.floats(n), draw.floats(n), draw.floats(n)];
    const v = draw.floats(n).map((x) => x * x);
    const mask = masked ? bits(draw, n) : new Uint8Array(n).fill(1);
    const [pg, pm] = [box.put(g), box.put(mask)];
    const s = settings;
    const numbers = [s.lr, s.beta1, s.beta2, s.eps, s.decay, s.correction1, s.correction2, s.gradScale];
    const twin = coupled ? plain.adam : plain.adamw;
    const after = Array.from(p, (x, i) => (mask[i] ? twin(x, g[i], m[i], v[i], settings) : [held ? x : 0, 0, 0]));
    const take = (k: number): number[] => after.map((a) => a[k]);
    const pull = (i: number): number => (coupled ? s.decay * Math.abs(p[i]) : 0);
    const first = (i: number): number => Math.abs(m[i]) + Math.abs(g[i]) + pull(i);
    // the update's relative error: four roundings of m where its terms cancel, six of the quotient
    const change = (i: number): number => {
      const root = Math.sqrt(after[i][2] * s.correction2) + s.eps;
      return s.lr * ((12 * first(i) * s.correction1) / root + 4 * s.decay * Math.abs(p[i]));
    };
    const index = Array.from({ length: n }, (_, i) => i);
    return both(
      draw,
      box,
      { p, m, v },
      (at, from, to) =>
        masked
          ? box.call(form, at.p, pg, at.m, at.v, ...numbers, pm, from, to)
          : box.call("step", at.p, pg, at.m, at.v, ...numbers, from, to),
      { p: take(0), m: take(1), v: take(2) },
      {
        p: index.map((i) => (mask[i] ? EPS * (2 * Math.abs(p[i]) + change(i)) : 0)),
        m: index.map((i) => (mask[i] ? 4 * EPS * first(i) : 0)),
        v: index.map((i) => (mask[i] ? 6 * EPS * (v[i] + (Math.abs(g[i]) + pull(i)) ** 2) : 0)),
      },
    );
  },
});

const sgdTrial = (form: Form): Trial => ({
  name: form,
  run(draw, box) {
    const masked = form !== "step";
    const held = form === "stepHeld";
    const n = draw.int(0, 70);
    const settings: plain.SgdSettings = {
      lr: near(draw.int(1, 100) / 1e3),
      momentum: near(draw.int(0, 9) / 10),
      decay: near(draw.int(0, 3) / 10),
      gradScale: near(draw.int(1, 8) / 8),
      nesterov: draw.int(0, 1) === 1,
    };
    const [p, g, m] = [draw.floats(n), draw.floats(n), draw.floats(n)];
    const mask = masked ? bits(draw, n) : new Uint8Array(n).fill(1);
    const [pg, pm] = [box.put(g), box.put(mask)];
    const s = settings;
    const numbers = [s.lr, s.momentum, s.decay, s.gradScale, s.nesterov ? 1 : 0];
    const after = Array.from(p, (x, i) => (mask[i] ? plain.sgd(x, g[i], m[i], settings) : [held ? x : 0, 0]));
    const size = (i: number): number => Math.abs(m[i]) + Math.abs(g[i]) + Math.abs(p[i]);
    return both(
      draw,
      box,
      { p, m },
      (at, from, to) =>
        masked
          ? box.call(form, at.p, pg, at.m, ...numbers, pm, from, to)
          : box.call("step", at.p, pg, at.m, ...numbers, from, to),
      { p: after.map((a) => a[0]), m: after.map((a) => a[1]) },
      {
        // one rounding an operation: five up to m, five more up to the change, and the subtraction
        p: after.map((_, i) => (mask[i] ? EPS * (2 * Math.abs(p[i]) + 22 * s.lr * size(i)) : 0)),
        m: after.map((_, i) => (mask[i] ? 6 * EPS * size(i) : 0)),
      },
    );
  },
});

export const adamwTrials: readonly Trial[] = (["step", "stepMasked", "stepHeld"] as const).map((form) =>
  adamTrial(form, false),
);
export const adamTrials: readonly Trial[] = (["step", "stepMasked", "stepHeld"] as const).map((form) =>
  adamTrial(form, true),
);
export const sgdTrials: readonly Trial[] = (["step", "stepMasked", "stepHeld"] as const).map(sgdTrial);
