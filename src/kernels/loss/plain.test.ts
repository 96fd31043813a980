/** The gradients' twins against central differences of the forward twins, and the forward twins by hand. */
import { describe, expect, it } from "vitest";
import { farthest, numericalGradient, someValues } from "../pointwise/finite-difference.ts";
import * as plain from "./plain.ts";

/** Step 1e-5: the differences are good to about 1e-9. */
const CLOSE = 1e-8;
const [rows, cols] = [4, 5];
const x = someValues(rows * cols, 1);
const y = someValues(rows * cols, 2);
const total = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0);

describe("cross-entropy", () => {
  const targets = [0, 4, -1, 2];

  it("forward, by hand: two equal logits cost log 2, an ignored row nothing", () => {
    const { loss, lse } = plain.crossEntropyForward([7, 7, 1, 2], [1, -1], 2);
    expect(farthest(loss, [Math.LN2, 0])).toBeLessThan(1e-14);
    expect(farthest(lse, [7 + Math.LN2, Math.log(Math.E + Math.E ** 2)])).toBeLessThan(1e-14);
  });

  it("gradient", () => {
    const want = numericalGradient((a) => 0.3 * total(plain.crossEntropyForward(a, targets, cols).loss), x);
    expect(farthest(plain.crossEntropyBackward(x, targets, 0.3, cols), want)).toBeLessThan(CLOSE);
  });
});

describe("distillation", () => {
  it("forward, by hand: 0 for the same distribution, else the divergence's definition", () => {
    expect(Math.abs(plain.distillForward([1, 2], [4, 5], 2, 0.5).loss[0])).toBeLessThan(1e-15);
    const { loss } = plain.distillForward([0, 0], [0, Math.log(9)], 2, 0.5);
    expect(Math.abs(loss[0] - (0.25 * Math.log(0.5) + 0.75 * Math.log(1.5)))).toBeLessThan(1e-15);
  });

  it("gradient", () => {
    const want = numericalGradient((a) => 0.7 * total(plain.distillForward(a, y, cols, 0.5).loss), x);
    expect(farthest(plain.distillBackward(x, y, 0.7, cols, 0.5), want)).toBeLessThan(CLOSE);
  });
});

describe("losses of elements", () => {
  const { binary, ranking } = plain.elementLosses;

  it("by hand: an undecided logit costs ln 2, whatever the target; so does a tie of two scores", () => {
    for (const target of [0, 0.3, 1]) expect(Math.abs(binary(0, target) - Math.LN2)).toBeLessThan(1e-15);
    expect(Math.abs(ranking(4.5, 4.5) - Math.LN2)).toBeLessThan(1e-15);
    expect(Math.abs(binary(3, 1) + Math.log(1 / (1 + Math.exp(-3))))).toBeLessThan(1e-14);
  });

  it("slopes", () => {
    const l = plain.elementLosses;
    const [a, b] = [1.3, -0.4];
    const [da, db] = numericalGradient(([p, q]) => l.ranking(p, q), [a, b]);
    expect(Math.abs(db - l.rankingBackward(a, b))).toBeLessThan(CLOSE);
    expect(Math.abs(da + l.rankingBackward(a, b))).toBeLessThan(CLOSE);
    const ofA = (loss: (a: number, b: number) => number): number => numericalGradient(([p]) => loss(p, b), [a])[0];
    expect(Math.abs(ofA(l.squared) - 2 * l.squaredBackward(a, b))).toBeLessThan(CLOSE);
    expect(Math.abs(ofA(l.absolute) - l.absoluteBackward(a, b))).toBeLessThan(CLOSE);
    expect(Math.abs(ofA(l.binary) - l.binaryBackward(a, b))).toBeLessThan(CLOSE);
  });
});
