/** Scores with a memory and scores by second order, against closed forms. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { tensor } from "../core/tensor.ts";
import { linear } from "../nn/ops/linear.ts";
import { sumSquares } from "../nn/ops/loss-element.ts";
import { Param } from "../nn/param.ts";
import { grasp, momentum, movement, saliency } from "./criteria.ts";
import { type Evidence, evidenceOf, History, probe } from "./evidence.ts";
import { siteOf } from "./site.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const site = (values: readonly number[]) => {
  const p = new Param("w", [2, values.length / 2], () => (i) => values[i], 1);
  return siteOf(p, 0);
};
const withGrad = (g: readonly number[], step: number): Evidence =>
  evidenceOf({ t: { step, steps: 9 }, seed: 1, history: new History(), loss: 1, grad: () => Float32Array.from(g) });

test("momentum is the running mean of the dense gradient", () => {
  const s = site([1, 2, 3, 4]);
  const score = momentum(0.5);
  score.observe?.(s, withGrad([1, -2, 0, 4], 1));
  score.observe?.(s, withGrad([1, 2, -8, 0], 2));
  expect([...score.of(s, withGrad([0, 0, 0, 0], 2))]).toEqual([0.75, 0.5, 4, 1]);
});

test("movement: weights that move away from 0 score high", () => {
  const s = site([1, -2, 3, -4]);
  const score = movement();
  score.observe?.(s, withGrad([-1, 1, 1, -1], 1));
  score.observe?.(s, withGrad([-1, 1, 0.5, 0], 2));
  expect([...score.of(s, withGrad([0, 0, 0, 0], 2))]).toEqual([2, 4, -4.5, -4]);
});

test("of a sum of squares, g = 2 W x x^T and H g = 2 g x x^T: saliency and GraSP's score are products with w", () => {
  const s = site([1, -2, 0.5, 3]);
  const x = tensor([2, 1], [1, 2]);
  const e = probe([s], () => sumSquares(linear(x, s.param.value)), 1);
  const w = [...s.param.dense()];
  const xx = [4, 2, 2, 1];
  const times = (a: readonly number[]): number[] =>
    [0, 1].flatMap((r) => [0, 1].map((c) => 2 * (a[2 * r] * xx[c] + a[2 * r + 1] * xx[2 + c])));
  const g = times(w);
  const hg = times(g);
  saliency.of(s, e).forEach((v, i) => {
    expect(v).toBeCloseTo(Math.abs(w[i] * g[i]), 4);
  });
  // the gradient is linear in w, so the central difference is exact but for f32: 1e-3 of values of up to 200
  grasp.of(s, e).forEach((v, i) => {
    expect(Math.abs(v - w[i] * hg[i])).toBeLessThan(0.2);
  });
  expect([...s.param.dense()]).toEqual(w);
});
