/** The array: closed forms against worked cases and against the machine stepped cycle by cycle, on real data. */
import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { compact, stepOutputStationary, stepWeightStationary } from "./array.ts";
import {
  compactBytes,
  type Kept,
  outputStationary,
  peak,
  productMacs,
  SAT,
  type Sat,
  utilisation,
  weightStationary,
} from "./sat.ts";

const draws = (n: number, name: string): Float64Array => {
  const s = stream(28, name);
  return Float64Array.from({ length: n }, (_, i) => s.normal(i));
};
const P = SAT.side;
const one: Sat = { ...SAT, interleave: 1 };

test("the default machine does 409.6 GFLOP/s at most", () => {
  expect(peak(SAT)).toBeCloseTo(409.6e9, 3);
});

describe("output stationary", () => {
  const tile = (kept?: Kept) => ({ rows: P, inner: 256, columns: P, ...(kept && { kept }) });

  test("K = 256, L = 4: a tile computes in 1024 cycles, with four in turn in 256 each, with 2:8 in 64", () => {
    expect(outputStationary([tile()], one)).toEqual({ issue: 1024, skew: 62, moving: 32, total: 1118 });
    const four = { ...tile(), rows: 4 * P };
    expect(outputStationary([four], SAT).issue / 4).toBe(256);
    expect(outputStationary([{ ...four, kept: [2, 8] }], SAT).issue / 4).toBe(64);
    expect(outputStationary([four], SAT)).toEqual({ issue: 1024, skew: 62, moving: 128, total: 1214 });
  });

  test("a pass that is not full waits for the adder, one with more outputs than L does not", () => {
    // 5 tiles: 4 and 1, each step 4 cycles
    expect(outputStationary([{ ...tile(), rows: 5 * P }], SAT)).toMatchObject({ issue: 2048, skew: 124, moving: 160 });
    expect(outputStationary([{ ...tile(), rows: 6 * P }], { ...SAT, interleave: 6 }).issue).toBe(6 * 256);
  });

  test("without interleaving L times slower at most, and 0.8 L at least where K N/M is 512 and more", () => {
    for (const inner of [512, 576, 1152, 4608]) {
      const p = { rows: 64 * P, inner, columns: 4 * P };
      const ratio = outputStationary([p], one).total / outputStationary([p], SAT).total;
      expect(ratio).toBeLessThanOrEqual(SAT.adderLatency);
      expect(ratio).toBeGreaterThanOrEqual(0.8 * SAT.adderLatency);
      expect(utilisation(productMacs(p), outputStationary([p], SAT).total, SAT)).toBeGreaterThanOrEqual(0.8);
    }
    // A 1x1 convolution of 64 channels does not: reading out takes as long as computing (1400 / 446).
    const short = { rows: 64 * P, inner: 64, columns: 4 * P };
    expect(outputStationary([short], one).total / outputStationary([short], SAT).total).toBeCloseTo(1400 / 446, 12);
    expect(utilisation(productMacs(short), outputStationary([short], SAT).total, SAT)).toBeCloseTo(256 / 446, 12);
  });
});

test("weight stationary: tiles of K N/M and C, each R + 2P - 2 + P L, and one load of weights", () => {
  const p = { rows: 1000, inner: 512, columns: 64 };
  expect(weightStationary([p], SAT)).toEqual({ issue: 32_000, skew: 32 * 190, moving: 32, total: 38_112 });
  expect(weightStationary([{ ...p, kept: [2, 8] }], SAT).total).toBe(8 * 1190 + 32);
  // 144 kept of 576 are 4.5 tiles, and take 5
  expect(weightStationary([{ rows: 100, inner: 576, columns: 1, kept: [2, 8] }], SAT).issue).toBe(500);
});

test("compact weights at 2:8 take 4.75 bits a weight: 19 bits made and read twice, against 32 read dense twice", () => {
  const n = 4096;
  const bits = (8 * compactBytes(n, [2, 8], SAT)) / n;
  expect(bits).toBe(4.75);
  expect(1 - (2 * bits + 2 * bits) / (2 * 16)).toBeCloseTo(0.41, 2);
});

test("a K that M does not divide is refused", () => {
  expect(() => outputStationary([{ rows: 1, inner: 12, columns: 1, kept: [2, 8] }], SAT)).toThrow(LacunaError);
});

describe("stepped cycle by cycle", () => {
  interface Case {
    readonly side: number;
    readonly latency: number;
    readonly interleave: number;
    readonly shape: readonly [rows: number, inner: number, columns: number];
    readonly kept?: Kept;
  }
  const cases: readonly Case[] = [
    { side: 4, latency: 4, interleave: 4, shape: [16, 8, 4] },
    { side: 4, latency: 4, interleave: 1, shape: [8, 8, 8], kept: [2, 4] },
    { side: 4, latency: 4, interleave: 4, shape: [9, 16, 7], kept: [2, 8] },
    { side: 3, latency: 2, interleave: 5, shape: [10, 12, 8], kept: [1, 4] },
    { side: 8, latency: 4, interleave: 4, shape: [20, 32, 17], kept: [2, 8] },
    { side: 2, latency: 1, interleave: 1, shape: [3, 5, 3] },
    { side: 5, latency: 6, interleave: 2, shape: [13, 16, 11], kept: [1, 16] },
    { side: 4, latency: 3, interleave: 4, shape: [1, 8, 1], kept: [8, 8] },
  ];

  test.each(cases)("$shape, $kept on $side, L $latency, I $interleave: the product and the closed forms", (c) => {
    const [rows, inner, columns] = c.shape;
    const sat: Sat = { ...SAT, side: c.side, adderLatency: c.latency, interleave: c.interleave };
    const [x, w] = [draws(rows * inner, "x"), draws(inner * columns, "w")];
    const { kept = [1, 1] } = c;
    const [n, m] = kept;
    const pruned = w.map((v, at) => {
      const [k, j] = [Math.floor(at / columns), at % columns];
      const top = k - (k % m);
      const larger = Array.from({ length: m }, (_, i) => Math.abs(w[(top + i) * columns + j])).filter(
        (other) => other > Math.abs(v),
      );
      return larger.length < n ? v : 0;
    });
    const product = { rows, inner, columns, kept };
    const packed = compact(w, inner, columns, kept);
    for (const [step, closed] of [
      [stepOutputStationary, outputStationary],
      [stepWeightStationary, weightStationary],
    ] as const) {
      const { y, cycles, macs } = step(x, rows, packed, sat);
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < columns; j++) {
          let want = 0;
          for (let k = 0; k < inner; k++) want += x[r * inner + k] * pruned[k * columns + j];
          // f64 sums of at most 32 terms in another order
          expect(Math.abs(y[r * columns + j] - want)).toBeLessThan(1e-12);
        }
      }
      expect(cycles).toBe(closed([product], sat).total);
      expect(macs).toBe(productMacs(product));
    }
  });
});
