/** The exact oracles of SparseGPT, in f64, and the whole solver against a plain one written from the paper. */
import fc from "fast-check";
import { inverse, Matrix } from "ml-matrix";
import { afterAll, describe, expect, test } from "vitest";
import { initSync, shutdown } from "../../core/engine.ts";
import { inverseFactor } from "../../linalg/cholesky.ts";
import { valuesOf, withMatrix } from "../../linalg/matrix.ts";
import { type Mask, maskOf, obeys } from "../../sparsity/mask.ts";
import { layoutOf, type Pattern, parsePattern } from "../../sparsity/pattern.ts";
import { keepBestBySorting, keepInRuns, prunedCount } from "../../sparsity/select.ts";
import { type ObsResult, surgery, type Target } from "./obs.ts";

afterAll(shutdown);

/** mulberry32 in [-1, 1), enough for test data */
function numbers(count: number, seed: number): Float64Array {
  let state = seed | 0;
  return Float64Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

const matrixOf = (values: ArrayLike<number>, rows: number, columns: number): Matrix =>
  Matrix.from1DArray(rows, columns, Array.from(values));

/** Damped H of correlated inputs: condition about 100. */
function correlated(n: number, seed: number): Matrix {
  const x = matrixOf(numbers(2 * n * n, seed), 2 * n, n);
  const shared = matrixOf(numbers(2 * n, seed + 1), 2 * n, 1);
  for (let c = 0; c < n; c++) for (let t = 0; t < 2 * n; t++) x.set(t, c, x.get(t, c) + shared.get(t, 0));
  const h = x
    .transpose()
    .mmul(x)
    .div(2 * n);
  return h.add(Matrix.eye(n).mul((0.01 * h.trace()) / n));
}

interface Solved extends ObsResult {
  readonly w: Matrix;
  readonly u: Matrix;
}

function solve(w: ArrayLike<number>, rows: number, h: Matrix, target: Target, block?: number): Solved {
  const n = h.rows;
  return withMatrix(h.to1DArray(), n, n, (um) => {
    expect(inverseFactor(um)).toBe(-1);
    return withMatrix(w, rows, n, (wm) => {
      const result = surgery(wm, um, target, "w", block);
      return { ...result, w: matrixOf(valuesOf(wm), rows, n), u: matrixOf(valuesOf(um), n, n) };
    });
  });
}

const furthest = (a: Matrix, b: Matrix): number => Matrix.sub(a, b).abs().max();
const drawnMask = (count: number, seed: number): Mask =>
  maskOf(Uint8Array.from(numbers(count, seed), (x) => Number(x > 0)));

describe("with a given mask", () => {
  const rows = 6;
  const n = 150;
  const h = correlated(n, 1);
  const w = numbers(rows * n, 2);

  test.each([1, 7, 64, 128, 149])("the first %i columns pruned is damped least squares", (k) => {
    const bits = Uint8Array.from({ length: rows * n }, (_, i) => Number(i % n >= k));
    const all = matrixOf(w, rows, n);
    const keep = all.subMatrix(0, rows - 1, k, n - 1);
    const cut = all.subMatrix(0, rows - 1, 0, k - 1);
    const hpk = h.subMatrix(0, k - 1, k, n - 1);
    const hkk = h.subMatrix(k, n - 1, k, n - 1);
    const want = Matrix.add(keep, cut.mmul(hpk).mmul(inverse(hkk)));
    for (const block of [128, 5]) {
      const got = solve(w, rows, h, { mask: maskOf(bits) }, block).w;
      expect(furthest(got.subMatrix(0, rows - 1, k, n - 1), want)).toBeLessThan(1e-12);
      expect(
        got
          .subMatrix(0, rows - 1, 0, k - 1)
          .abs()
          .max(),
      ).toBe(0);
    }
  });

  test("the block width does not change the result", () => {
    const mask = drawnMask(rows * n, 3);
    const one = solve(w, rows, h, { mask }, 1);
    for (const block of [3, 16, 128, 200]) {
      const other = solve(w, rows, h, { mask }, block);
      expect(furthest(other.w, one.w)).toBeLessThan(1e-12);
      expect(other.loss).toBeCloseTo(one.loss, 12);
    }
  });

  test("sum(e^2)/2 is 0.5 tr(dW H dW^T)", () => {
    const { w: got, loss } = solve(w, rows, h, { mask: drawnMask(rows * n, 4) });
    const d = Matrix.sub(matrixOf(w, rows, n), got);
    expect(loss).toBeCloseTo(0.5 * d.mmul(h).mmul(d.transpose()).trace(), 11);
  });

  test("nothing pruned changes nothing", () => {
    const { w: got, loss } = solve(w, rows, h, { mask: maskOf(new Uint8Array(rows * n).fill(1)) });
    expect(got.to1DArray()).toEqual([...w]);
    expect(loss).toBe(0);
  });
});

describe("a diagonal H", () => {
  const rows = 4;
  const n = 32;
  const d = Array.from(numbers(n, 5), (x) => 1.5 + x);
  const w = numbers(rows * n, 6);

  test("moves no weight, and the mask thresholds W^2 H_jj", () => {
    const pruned = 70;
    const got = solve(w, rows, Matrix.diag(d), { pattern: parsePattern("unstructured"), pruned });
    const scores = w.map((x, i) => x * x * d[i % n]);
    expect(got.mask.bits).toEqual(keepBestBySorting(scores, rows * n - pruned));
    expect(got.w.to1DArray()).toEqual(Array.from(w, (x, i) => (got.mask.bits[i] === 1 ? x : 0)));
  });
});

/** SparseGPT from the paper's pseudocode: plain loops, no panels; decisions at the columns the module names. */
function plain(w: Float64Array, rows: number, u: Matrix, pattern: Pattern, pruned: number, block: number) {
  const n = u.rows;
  const at = (r: number, c: number): number => r * n + c;
  const { height, width, unitRows, units, quota } = layoutOf(pattern, { name: "w", rows, columns: n });
  const step = quota ? quota.of : Math.max(1, Math.floor(block / width)) * width;
  const bits = new Uint8Array(rows * n);
  let seen = 0;
  let done = 0;
  for (let i = 0; i < n; i++) {
    if (i % step === 0) {
      const end = Math.min(n, i + step);
      const across = Math.ceil((end - i) / width);
      const sums = new Float64Array(unitRows * across);
      const counts = new Float64Array(sums.length);
      for (let r = 0; r < rows; r++) {
        for (let c = i; c < end; c++) {
          const unit = Math.floor(r / height) * across + Math.floor((c - i) / width);
          sums[unit] += (w[at(r, c)] / u.get(c, c)) ** 2;
          counts[unit]++;
        }
      }
      const mean = sums.map((s, k) => s / counts[k]);
      seen += sums.length;
      const reach = Math.floor((pruned * seen) / units + 1e-6);
      const kept = quota
        ? keepInRuns(mean, quota.keep, quota.of, new Uint8Array(mean.length))
        : keepBestBySorting(mean, mean.length - (reach - done));
      done = reach;
      for (let r = 0; r < rows; r++)
        for (let c = i; c < end; c++)
          bits[at(r, c)] = kept[Math.floor(r / height) * across + Math.floor((c - i) / width)];
    }
    for (let r = 0; r < rows; r++) {
      if (bits[at(r, i)] === 1) continue;
      const e = w[at(r, i)] / u.get(i, i);
      w[at(r, i)] = 0;
      for (let c = i + 1; c < n; c++) w[at(r, c)] -= e * u.get(i, c);
    }
  }
  return bits;
}

describe("deciding as it goes", () => {
  const cases = fc.record({
    text: fc.constantFrom("unstructured", "4x1", "1x16", "2x3", "2:4", "4:8", "1:4", "2:4@4x1", "row", "column"),
    rows: fc.integer({ min: 1, max: 10 }),
    runs: fc.integer({ min: 2, max: 6 }),
    block: fc.constantFrom(8, 16, 128),
    sparsity: fc.double({ min: 0, max: 0.95, noNaN: true }),
    seed: fc.integer({ min: 1, max: 1e6 }),
  });

  test("masks, weights and counts are those of the plain solver", () => {
    fc.assert(
      fc.property(cases, ({ text, rows, runs, block, sparsity, seed }) => {
        const pattern = parsePattern(text);
        const n = 8 * runs;
        const shape = { name: "w", rows, columns: n };
        const { units } = layoutOf(pattern, shape);
        const pruned = prunedCount(sparsity, units);
        const w = numbers(rows * n, seed);
        const got = solve(w, rows, correlated(n, seed), { pattern, pruned }, block);
        const bits = plain(w, rows, got.u, pattern, pruned, block);
        expect(got.mask.bits).toEqual(bits);
        expect(furthest(got.w, matrixOf(w, rows, n))).toBeLessThan(1e-11);
        expect(obeys(got.mask, pattern, shape)).toBe(true);
        if (text === "unstructured") expect(got.mask.kept).toBe(rows * n - pruned);
      }),
      { numRuns: 60 },
    );
  });

  test("unstructured totals are exact over many ragged column blocks", () => {
    const n = 300;
    const rows = 7;
    const h = correlated(n, 9);
    for (const s of [0.37, 0.5, 0.9]) {
      const pruned = prunedCount(s, rows * n);
      const { mask } = solve(numbers(rows * n, 8), rows, h, {
        pattern: parsePattern("unstructured"),
        pruned,
      });
      expect(mask.kept).toBe(rows * n - pruned);
    }
  });

  test("the output error is below that of the same mask without the update, and of magnitude's", () => {
    const n = 128;
    const rows = 16;
    const h = correlated(n, 10);
    const w = numbers(rows * n, 11);
    const error = (other: ArrayLike<number>): number => {
      const d = matrixOf(
        Float64Array.from(w, (x, i) => x - other[i]),
        rows,
        n,
      );
      return d.mmul(h).mmul(d.transpose()).trace();
    };
    const pruned = (rows * n) / 2;
    const got = solve(w, rows, h, { pattern: parsePattern("unstructured"), pruned });
    const without = w.map((x, i) => x * got.mask.bits[i]);
    const magnitude = keepBestBySorting(w.map(Math.abs), pruned);
    expect(error(got.w.to1DArray())).toBeLessThan(0.8 * error(without));
    expect(error(got.w.to1DArray())).toBeLessThan(0.8 * error(w.map((x, i) => x * magnitude[i])));
  });

  test("a NaN weight is an error that names the layer", () => {
    const w = numbers(32, 12);
    w[5] = Number.NaN;
    const run = () => solve(w, 4, Matrix.eye(8), { pattern: parsePattern("2:4"), pruned: 0 });
    expect(run).toThrow(/layer w: .*NaN/);
  });
});

test("one thread and three give the same bits", () => {
  const n = 264;
  const w = numbers(40 * n, 13);
  const h = correlated(n, 14);
  const run = (threads: number): Solved => {
    initSync({ threads });
    return solve(w, 40, h, { pattern: parsePattern("2:4"), pruned: 0 });
  };
  const [one, three] = [run(1), run(3)];
  expect(three.w.to1DArray()).toEqual(one.w.to1DArray());
  expect(three.mask).toEqual(one.mask);
  expect(three.loss).toBe(one.loss);
});
