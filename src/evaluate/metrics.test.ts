/** Metrics with closed forms: continual learning, sequences, correlation, images. */
import { describe, expect, it } from "vitest";
import type { Plane } from "../data/resize.ts";
import { continualMetrics } from "./continual.ts";
import { pearson, ranks, spearman } from "./correlation.ts";
import { psnr, ssim } from "./image-quality.ts";
import { sequenceMatch } from "./sequence.ts";

describe("continual learning", () => {
  it("reads accuracy, transfer and forgetting off the matrix", () => {
    const m = continualMetrics([
      [0.9, 0.1, 0.2],
      [0.95, 0.8, 0.3],
      [0.6, 0.7, 1],
    ]);
    expect(m.acc).toBeCloseTo((0.6 + 0.7 + 1) / 3, 14);
    expect(m.bwt).toBeCloseTo((0.6 - 0.9 + (0.7 - 0.8)) / 2, 14);
    expect(m.fwt).toBeCloseTo((0.1 + 0.2 + 0.3) / 3, 14);
    expect(m.forgetting).toBeCloseTo((0.95 - 0.6 + (0.8 - 0.7)) / 2, 14);
    expect(m.incremental[0]).toBeCloseTo(0.9, 14);
    expect(m.incremental[1]).toBeCloseTo(0.875, 14);
  });

  it("says 0 where nothing changes, and takes one task", () => {
    const same = continualMetrics([
      [0.5, 0],
      [0.5, 0.7],
    ]);
    expect([same.bwt, same.forgetting]).toEqual([0, 0]);
    expect(continualMetrics([[0.4]])).toMatchObject({ acc: 0.4, bwt: 0, forgetting: 0, incremental: [0.4] });
    expect(() => continualMetrics([[1, 2]])).toThrow(/square matrix/);
    expect(() => continualMetrics([])).toThrow(/square matrix/);
  });
});

describe("sequences", () => {
  it("match as wholes and token by token", () => {
    const targets = [5, 6, 2, -1, /**/ 7, 2, -1, -1, /**/ 5, 5, 5, 2];
    const output = [5, 6, 2, 9, /**/ 7, 7, 2, 0, /**/ 5, 5, 5, 2];
    const m = sequenceMatch(output, targets, 4);
    expect(m.exact).toBeCloseTo(2 / 3, 14);
    expect(m.tokens).toBeCloseTo(8 / 9, 14);
    expect(() => sequenceMatch([1], [1, 2], 2)).toThrow(/as many targets/);
  });
});

describe("correlation", () => {
  it("shares ranks among equals", () => {
    expect([...ranks([10, 20, 10, 5])]).toEqual([2.5, 4, 2.5, 1]);
  });

  it("has the known values", () => {
    expect(pearson([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 14);
    expect(pearson([1, 2, 3, 4], [1, 3, 2, 4])).toBeCloseTo(0.8, 14);
    expect(spearman([1, 2, 3, 4], [1, 10, 100, 1000])).toBeCloseTo(1, 14);
    expect(spearman([1, 2, 3, 4], [9, 3, 2, 1])).toBeCloseTo(-1, 14);
    // no ties: 1 - 6 sum d^2 / (n (n^2 - 1)), with d = 1, 1, 2, 1, 1
    expect(spearman([1, 2, 3, 4, 5], [2, 1, 5, 3, 4])).toBeCloseTo(1 - (6 * 8) / 120, 14);
    // ties, scipy.stats.spearmanr
    expect(spearman([1, 2, 2, 3, 5, 5, 5], [3, 1, 2, 2, 9, 4, 4])).toBeCloseTo(0.7145774380937868, 12);
    expect(spearman([1, 1, 1], [1, 2, 3])).toBeNaN();
    expect(() => pearson([1], [1])).toThrow(/at least 2/);
  });
});

const plane = (h: number, w: number, at: (i: number, j: number) => number): Plane => ({
  height: h,
  width: w,
  values: Float32Array.from({ length: h * w }, (_, k) => at(Math.floor(k / w), k % w)),
});

describe("PSNR", () => {
  const a = plane(6, 5, (i, j) => (i + j) / 16);

  it("is infinite for equal planes and -20 log10 d for an offset of d", () => {
    expect(psnr(a, a)).toBe(Number.POSITIVE_INFINITY);
    for (const d of [0.5, 0.25, 0.125]) {
      const b = { ...a, values: a.values.map((v) => v + d) };
      expect(psnr(a, b)).toBeCloseTo(-20 * Math.log10(d), 12);
      expect(
        psnr(
          { ...a, values: a.values.map((v) => 255 * v) },
          { ...b, values: b.values.map((v) => 255 * v) },
          { peak: 255 },
        ),
      ).toBeCloseTo(-20 * Math.log10(d), 5);
    }
  });

  it("leaves out the border, and rounds to bytes where asked", () => {
    const inner = plane(6, 5, (i, j) => a.values[i * 5 + j] + (i === 0 || j === 4 ? 0.7 : 0.1));
    expect(psnr(a, inner, { border: 1 })).toBeCloseTo(20, 5);
    const flat = plane(2, 2, () => 0.5);
    const near = plane(2, 2, () => 0.5004);
    expect(psnr(flat, near)).toBeLessThan(80);
    expect(psnr(flat, near, { bytes: true })).toBe(Number.POSITIVE_INFINITY);
    expect(
      psnr(
        plane(1, 1, () => 1),
        plane(1, 1, () => 1.5),
        { bytes: true },
      ),
    ).toBe(Number.POSITIVE_INFINITY);
    expect(() => psnr(a, flat)).toThrow(/6 x 5 and 2 x 2/);
    expect(() => psnr(flat, near, { border: 1 })).toThrow(/at least 3 pixels a side/);
  });
});

describe("SSIM", () => {
  const a = plane(16, 14, (i, j) => ((i * 5 + j * 3) % 11) / 10);

  it("is 1 for equal planes", () => {
    expect(ssim(a, a)).toBeCloseTo(1, 12);
  });

  it("is the luminance term alone for flat planes", () => {
    const [x, y] = [plane(12, 12, () => 0.25), plane(12, 12, () => 0.75)];
    const c1 = 1e-4;
    expect(ssim(x, y)).toBeCloseTo((2 * 0.25 * 0.75 + c1) / (0.25 ** 2 + 0.75 ** 2 + c1), 10);
  });

  it("agrees with the definition written out window by window", () => {
    const b = plane(16, 14, (i, j) => a.values[i * 14 + j] * 0.8 + (((i * j) % 7) / 7) * 0.2);
    const window: number[] = [];
    for (let i = -5; i <= 5; i++) for (let j = -5; j <= 5; j++) window.push(Math.exp(-(i * i + j * j) / 4.5));
    const all = window.reduce((s, v) => s + v, 0);
    let [sum, n] = [0, 0];
    for (let r = 0; r + 11 <= 16; r++) {
      for (let c = 0; c + 11 <= 14; c++, n++) {
        const mean = (f: (k: number) => number): number =>
          window.reduce((s, g, t) => s + (g / all) * f((r + Math.floor(t / 11)) * 14 + c + (t % 11)), 0);
        const [mx, my] = [mean((k) => a.values[k]), mean((k) => b.values[k])];
        const vx = mean((k) => (a.values[k] - mx) ** 2);
        const vy = mean((k) => (b.values[k] - my) ** 2);
        const cov = mean((k) => (a.values[k] - mx) * (b.values[k] - my));
        sum += ((2 * mx * my + 1e-4) * (2 * cov + 9e-4)) / ((mx * mx + my * my + 1e-4) * (vx + vy + 9e-4));
      }
    }
    expect(ssim(a, b)).toBeCloseTo(sum / n, 10);
    expect(ssim(a, b)).toBeLessThan(1);
    expect(() =>
      ssim(
        plane(10, 12, () => 0),
        plane(10, 12, () => 0),
      ),
    ).toThrow(/at least 11 pixels/);
  });
});
