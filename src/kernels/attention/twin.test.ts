/** The twins themselves: the forward on cases known in closed form, the backward by finite differences. */

import { describe, expect, it } from "vitest";
import { type AttentionShape, attentionBackwardTwin, attentionTwin } from "./twin.ts";

/** A fixed, uneven sequence of values in (-1, 1). */
const values = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed));

const shapes: AttentionShape[] = [
  { B: 1, T: 4, S: 4, H: 2, K: 1, E: 4, scale: 0.5, causal: true, queryOffset: 0 },
  { B: 2, T: 3, S: 3, H: 4, K: 2, E: 4, scale: 0.7, causal: false, queryOffset: 0 },
  { B: 1, T: 2, S: 5, H: 3, K: 3, E: 4, scale: 0.5, causal: true, queryOffset: 3 },
];

describe("forward twin", () => {
  it("averages the visible values when all scores are equal", () => {
    const shape: AttentionShape = { B: 1, T: 3, S: 3, H: 1, K: 1, E: 4, scale: 1, causal: true, queryOffset: 0 };
    const v = Float64Array.from({ length: 12 }, (_, i) => i);
    const { out, lse } = attentionTwin(shape, new Float64Array(12), values(12, 1), v);
    expect([...out]).toEqual([0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7]);
    for (let t = 0; t < 3; t++) expect(lse[t]).toBeCloseTo(Math.log(t + 1), 14);
  });

  it("weighs two keys by the logistic function of the difference of their scores", () => {
    const shape: AttentionShape = { B: 1, T: 1, S: 2, H: 1, K: 1, E: 4, scale: 2, causal: false, queryOffset: 0 };
    const { out } = attentionTwin(shape, [1, 0, 0, 0], [0.3, 9, 9, 9, -0.2, 9, 9, 9], [1, 1, 1, 1, 0, 0, 0, 0]);
    expect(out[0]).toBeCloseTo(1 / (1 + Math.exp(-2 * 0.5)), 14);
  });

  it("gives query heads of a group the same keys and values", () => {
    const shape: AttentionShape = { B: 1, T: 3, S: 3, H: 4, K: 2, E: 4, scale: 0.5, causal: true, queryOffset: 0 };
    const query = values(12, 2);
    const q = Float64Array.from({ length: 48 }, (_, i) => query[Math.floor(i / 16) * 4 + (i % 4)]);
    const { out } = attentionTwin(shape, q, values(24, 3), values(24, 4));
    for (let t = 0; t < 3; t++) {
      const head = (h: number): number[] => [...out.subarray(16 * t + 4 * h, 16 * t + 4 * h + 4)];
      expect(head(1)).toEqual(head(0));
      expect(head(3)).toEqual(head(2));
      expect(head(2)).not.toEqual(head(0));
    }
  });
});

describe("backward twin", () => {
  it.each(shapes)("agrees with central differences: %o", (shape) => {
    const { B, T, S, H, K, E } = shape;
    const inputs = [values(B * T * H * E, 1), values(B * S * K * E, 2), values(B * S * K * E, 3)];
    const dout = values(B * T * H * E, 4);
    const loss = (): number =>
      attentionTwin(shape, inputs[0], inputs[1], inputs[2]).out.reduce((a, x, i) => a + x * dout[i], 0);
    const { dq, dk, dv } = attentionBackwardTwin(shape, inputs[0], inputs[1], inputs[2], dout);
    // error of a central difference: h^2 times a third derivative of about 1, and eps / h of rounding
    const step = 1e-5;
    [dq, dk, dv].forEach((gradient, which) => {
      const x = inputs[which];
      for (let i = 0; i < x.length; i++) {
        const kept = x[i];
        x[i] = kept + step;
        const up = loss();
        x[i] = kept - step;
        const down = loss();
        x[i] = kept;
        expect(Math.abs((up - down) / (2 * step) - gradient[i])).toBeLessThan(1e-8);
      }
    });
  });

  it("gives delta = sum_e dout * out", () => {
    const shape = shapes[1];
    const { B, T, S, H, K, E } = shape;
    const [q, k, v, dout] = [
      values(B * T * H * E, 1),
      values(B * S * K * E, 2),
      values(B * S * K * E, 3),
      values(B * T * H * E, 4),
    ];
    const { out } = attentionTwin(shape, q, k, v);
    const { delta } = attentionBackwardTwin(shape, q, k, v, dout);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let t = 0; t < T; t++) {
          let sum = 0;
          for (let e = 0; e < E; e++) sum += out[((b * T + t) * H + h) * E + e] * dout[((b * T + t) * H + h) * E + e];
          expect(delta[(b * H + h) * T + t]).toBeCloseTo(sum, 12);
        }
      }
    }
  });
});
