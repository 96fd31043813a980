/** The twins by hand, and their gradients against central differences in f64. */
import { describe, expect, it } from "vitest";
import { dot, farthest, numericalGradient, someValues } from "../pointwise/finite-difference.ts";
import type { ConvShape } from "./geometry.ts";
import * as plain from "./plain.ts";
import { maxPool, scatter, spread, sumPool, toPixels, type Windows } from "./pool.plain.ts";

/** Step 1e-5 and third derivatives of up to about 100: the differences are good to 1e-8. */
const CLOSE = 1e-7;

const shape: ConvShape = {
  ...{ channels: 4, outs: 6, height: 5, width: 4, kernelHeight: 3, kernelWidth: 2, strideY: 2, strideX: 1 },
  ...{ top: 1, left: 1, outHeight: 3, outWidth: 4, groups: 2 },
};
const images = 2;

describe("convolution", () => {
  it("by hand: one image, a 2x2 kernel, a zero to the left and above", () => {
    const s: ConvShape = {
      ...{ channels: 1, outs: 1, height: 2, width: 2, kernelHeight: 2, kernelWidth: 2, strideY: 1, strideX: 1 },
      ...{ top: 1, left: 1, outHeight: 2, outWidth: 2, groups: 1 },
    };
    // [[1, 2], [3, 4]] under [[10, 20], [30, 40]]; the corner sees 1 alone, under 40
    expect([...plain.convForward(s, [1, 2, 3, 4], [10, 20, 30, 40], [5], 1)]).toEqual([45, 115, 145, 305]);
  });

  it("gradients of input and weights", () => {
    const x = someValues(images * 4 * 20, 1);
    const w = someValues(6 * 2 * 6, 2);
    const dy = someValues(images * 6 * 12, 3);
    const value = (a: number[], v: number[]): number => dot([...plain.convForward(shape, a, v, null, images)], dy);
    expect(
      farthest(
        [...plain.convInputGradient(shape, dy, w, null, images)],
        numericalGradient((a) => value(a, w), x),
      ),
    ).toBeLessThan(CLOSE);
    expect(
      farthest(
        [...plain.convWeightGradient(shape, x, dy, images)],
        numericalGradient((v) => value(x, v), w),
      ),
    ).toBeLessThan(CLOSE);
  });
});

describe("batch norm", () => {
  const [channels, size, eps] = [3, 4, 1e-2];
  const x = someValues(2 * channels * size, 4);
  const gamma = someValues(channels, 5);
  const dy = someValues(x.length, 6);

  it("by hand", () => {
    const { mean, variance } = plain.channelStatistics([1, 3, 10, 20], 2, 2);
    expect([mean, variance]).toEqual([
      [2, 15],
      [1, 25],
    ]);
    const y = plain.channelNorm([1, 3, 10, 20], 2, { gamma: [2, 1], beta: [0, 1], mean, variance, eps: 0, relu: true });
    expect([...y]).toEqual([0, 2, 0, 2]);
  });

  for (const [fixed, relu] of [
    [false, false],
    [false, true],
    [true, true],
  ]) {
    it(`gradients${fixed ? ", fixed statistics" : ""}${relu ? ", ReLU" : ""}`, () => {
      const beta = someValues(channels, 7);
      const given = plain.channelStatistics(someValues(x.length, 8), channels, size);
      const norm = (a: number[], g: number[], b: number[]): plain.ChannelNorm => ({
        ...{ gamma: g, beta: b, eps, relu },
        ...(fixed ? given : plain.channelStatistics(a, channels, size)),
      });
      const value = (a: number[], g: number[], b: number[]): number =>
        dot([...plain.channelNorm(a, size, norm(a, g, b))], dy);
      const { dx, dgamma, dbeta } = plain.channelNormBackward(x, dy, size, norm(x, gamma, beta), fixed);
      const pairs: [Float64Array, number[]][] = [
        [dx, numericalGradient((a) => value(a, gamma, beta), x)],
        [dgamma, numericalGradient((g) => value(x, g, beta), gamma)],
        [dbeta, numericalGradient((b) => value(x, gamma, b), beta)],
      ];
      for (const [got, want] of pairs) expect(farthest([...got], want)).toBeLessThan(CLOSE);
    });
  }
});

describe("pools", () => {
  const w: Windows = {
    ...{ height: 4, width: 5, outHeight: 2, outWidth: 3, kernelHeight: 3, kernelWidth: 2 },
    ...{ strideY: 2, strideX: 2, top: 1, left: 0 },
  };
  const x = someValues(2 * 20, 9);
  const dy = someValues(2 * 6, 10);

  it("gradients of largest values, sums and means", () => {
    const { values, index } = maxPool(x, 2, w);
    expect(values.length).toBe(12);
    const most = numericalGradient((a) => dot([...maxPool(a, 2, w).values], dy), x);
    expect(farthest([...scatter(dy, index, 2, 20, 6)], most)).toBeLessThan(CLOSE);
    for (const mean of [false, true]) {
      const want = numericalGradient((a) => dot([...sumPool(a, 2, w, mean)], dy), x);
      expect(farthest([...spread(dy, 2, w, mean)], want)).toBeLessThan(CLOSE);
    }
  });

  it("channels to pixels, by hand", () => {
    expect([...toPixels([1, 2, 3, 4, 5, 6, 7, 8], 1, 1, 2, 2)]).toEqual([1, 3, 2, 4, 5, 7, 6, 8]);
  });
});
