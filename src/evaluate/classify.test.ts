import { describe, expect, it } from "vitest";
import { scope } from "../core/scope.ts";
import { tensor } from "../core/tensor.ts";
import { examples } from "../data/examples.ts";
import { standardiser } from "../data/normalise.ts";
import { linear } from "../nn/ops/linear.ts";
import { calibrationError } from "./calibration-error.ts";
import {
  accuracy,
  argmax,
  classify,
  confusion,
  correctness,
  ensemble,
  meanLoss,
  predict,
  probabilities,
} from "./classify.ts";

const logits = [2, 1, 0, /**/ 0, 3, 3, /**/ -1, -5, -2, /**/ 0, 0, 0];
const labels = [0, 1, 2, 1];

describe("what logits say", () => {
  it("is the greatest, the first of equals", () => {
    expect([...argmax(logits, 4)]).toEqual([0, 1, 0, 0]);
    expect([...correctness(logits, labels)]).toEqual([1, 1, 0, 0]);
    expect(accuracy(logits, labels)).toBe(0.5);
    expect([...confusion(argmax(logits, 4), labels, 3)]).toEqual([1, 0, 0, 1, 1, 0, 1, 0, 0]);
    expect(() => argmax([0, Number.NaN], 1)).toThrow(/NaN for example 0, class 1/);
    expect(() => argmax([0, 1, 2], 2)).toThrow(/2 rows of at least 1 columns/);
  });

  it("can be asked of a task's columns alone", () => {
    expect([...argmax(logits, 4, { from: 1, to: 3 })]).toEqual([1, 1, 2, 1]);
    expect(accuracy(logits, labels, { from: 1 })).toBe(0.75);
    // two equal logits: ln 2
    expect(meanLoss([9, 3, 3], [1], { from: 1, to: 3 })).toBeCloseTo(Math.LN2, 14);
  });

  it("costs cross-entropy", () => {
    const nll = (row: number[], y: number): number => Math.log(row.reduce((s, v) => s + Math.exp(v), 0)) - row[y];
    const want = (nll([2, 1, 0], 0) + nll([0, 3, 3], 1) + nll([-1, -5, -2], 2) + Math.log(3)) / 4;
    expect(meanLoss(logits, labels)).toBeCloseTo(want, 13);
    expect(meanLoss([1000, 0], [1])).toBeCloseTo(1000, 9);
  });

  it("becomes probabilities, and those of an ensemble their mean", () => {
    const p = probabilities([Math.log(1), Math.log(3), 5, 5], 2);
    for (const [i, v] of [0.25, 0.75, 0.5, 0.5].entries()) expect(p[i]).toBeCloseTo(v, 14);
    const both = ensemble(
      [
        [Math.log(1), Math.log(3)],
        [Math.log(9), 0],
      ],
      1,
    );
    expect(both[0]).toBeCloseTo((0.25 + 0.9) / 2, 14);
    expect(both[1]).toBeCloseTo((0.75 + 0.1) / 2, 14);
  });
});

describe("a classifier over examples", () => {
  const e = examples({
    name: "points",
    shape: [1, 1, 2],
    classes: 2,
    x: Float32Array.from([1, 0, 0, 1, 3, 1, -1, 2, 5, 5.5]),
    y: Uint8Array.of(0, 1, 1, 1, 0),
  });

  it("is run in batches, ragged ones too, and gives the same whatever their size", () => {
    scope(() => {
      const w = tensor([1, 0, 0, 1], [2, 2]);
      const net = { forward: (x: Parameters<typeof linear>[0]) => linear(x, w) };
      for (const batch of [1, 2, 100]) {
        const outputs = predict(net, e, { flat: true, batch });
        expect([...outputs]).toEqual([...e.x]);
        const c = classify(net, e, { flat: true, batch });
        expect([...c.correct]).toEqual([1, 1, 0, 1, 0]);
        expect(c.accuracy).toBe(0.6);
        expect(c.loss).toBeCloseTo(meanLoss(e.x, e.y), 12);
      }
      const n = standardiser(e, "feature");
      const z = predict(net, e, { flat: true, normaliser: n });
      expect(z[0]).toBeCloseTo((1 - n.mean[0]) / n.std[0], 5);
    });
  });

  it("must give a row an example", () => {
    const net = { forward: () => tensor([1, 2, 3], [3]) };
    expect(() => scope(() => predict(net, e))).toThrow(/prediction for points: expected \[5, classes\], got \[3\]/);
  });
});

describe("calibration error", () => {
  it("is the gap between confidence and accuracy, weighted by the examples of a bin", () => {
    // bin (0.5, 0.75]: confidences 0.6, 0.7 with 1 right; bin (0.75, 1]: 0.9, 1 with 2 right
    const p = [0.6, 0.4, 0.3, 0.7, 0.9, 0.1, 0, 1];
    const { error, bins } = calibrationError(p, [0, 0, 0, 1], 4);
    expect(bins.map((b) => b.count)).toEqual([0, 0, 2, 2]);
    expect(bins[2].accuracy).toBe(0.5);
    expect(error).toBeCloseTo(0.5 * Math.abs(0.5 - 0.65) + 0.5 * Math.abs(1 - 0.95), 14);
    // a confidence on an edge belongs to the bin below it
    expect(calibrationError([0.75, 0.25, 0.5, 0.5], [0, 0], 4).bins.map((b) => b.count)).toEqual([0, 1, 1, 0]);
    expect(calibrationError([1, 0, 0, 1], [0, 1]).error).toBe(0);
    expect(calibrationError([1, 0, 0, 1], [1, 0]).error).toBe(1);
    expect(() => calibrationError([2, 0], [0])).toThrow(/expected probabilities, got 2/);
  });
});
