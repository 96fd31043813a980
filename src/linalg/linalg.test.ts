import fc from "fast-check";
import { CholeskyDecomposition, inverse, Matrix } from "ml-matrix";
import { afterAll, describe, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { cholesky, dampedFactor, inverseFactor, invertLower, invertPositive } from "./cholesky.ts";
import { allocMatrix, type F64Matrix, freeMatrix, mirror, valuesOf, withMatrix } from "./matrix.ts";
import { accumulateGram } from "./product.ts";
import { solveLower, solveLowerTransposed, solvePositive } from "./solve.ts";

afterAll(shutdown);

/** mulberry32, enough for test data */
function numbers(count: number, seed: number): Float64Array {
  let state = seed | 0;
  return Float64Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t >>> 0) / 2 ** 31 - 1;
  });
}

/** B B^T / n + I / 10: condition about 50, so inverses are good to about 1e-14. */
function positive(n: number, seed: number): Matrix {
  const b = new Matrix(to2d(numbers(n * n, seed), n));
  return b.mmul(b.transpose()).div(n).add(Matrix.eye(n).mul(0.1));
}

const to2d = (values: ArrayLike<number>, columns: number): number[][] =>
  Array.from({ length: values.length / columns }, (_, r) =>
    Array.from({ length: columns }, (_, c) => values[r * columns + c]),
  );
const flat = (m: Matrix): Float64Array => Float64Array.from(m.to1DArray());
const copyOf = (m: F64Matrix): Matrix => new Matrix(to2d(valuesOf(m), m.columns));

function near(got: Matrix, want: Matrix, tolerance: number): void {
  expect([got.rows, got.columns]).toEqual([want.rows, want.columns]);
  expect(Matrix.sub(got, want).abs().max()).toBeLessThanOrEqual(tolerance);
}

/** How many entries in a part are not 0; NaN counts. */
function nonZeros(m: Matrix, part: (i: number, j: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < m.rows; i++) for (let j = 0; j < m.columns; j++) if (part(i, j) && m.get(i, j) !== 0) count++;
  return count;
}

// 1 to 9 for ragged panels, around 128 and 256 for ragged blocks.
const sizes = [1, 2, 3, 5, 8, 9, 127, 128, 129, 261];

describe("Cholesky", () => {
  test.each(sizes)("n = %i equals ml-matrix's, and leaves the upper triangle alone", (n) => {
    const h = positive(n, n);
    withMatrix(flat(h), n, n, (m) => {
      expect(cholesky(m)).toBe(-1);
      const got = copyOf(m);
      const want = new CholeskyDecomposition(h).lowerTriangularMatrix;
      let touched = 0;
      let worst = 0;
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++)
          if (j > i) touched += Number(got.get(i, j) !== h.get(i, j));
          else worst = Math.max(worst, Math.abs(got.get(i, j) - want.get(i, j)));
      expect(touched).toBe(0);
      expect(worst).toBeLessThan(1e-13);
    });
  });

  test("an exact small case", () => {
    const h = [4, 2, 6, 2, 10, 9, 6, 9, 35];
    withMatrix(h, 3, 3, (m) => {
      expect(cholesky(m)).toBe(-1);
      const v = valuesOf(m);
      expect([v[0], v[3], v[4], v[6], v[7], v[8]]).toEqual([2, 1, 3, 3, 2, Math.sqrt(22)]);
    });
  });

  test.each([0, 3, 127, 128, 200])("a bad pivot at %i is reported as that column", (bad) => {
    const h = positive(201, 7);
    h.set(bad, bad, -1);
    withMatrix(flat(h), 201, 201, (m) => expect(cholesky(m)).toBe(bad));
    h.set(bad, bad, Number.NaN);
    withMatrix(flat(h), 201, 201, (m) => expect(cholesky(m)).toBe(bad));
  });
});

describe("inverses", () => {
  test.each(sizes)("lower triangle, n = %i", (n) => {
    const l = new CholeskyDecomposition(positive(n, n + 1)).lowerTriangularMatrix;
    withMatrix(flat(l), n, n, (m) => {
      valuesOf(m)[n - 1] += n > 1 ? 5 : 0; // what stands above the diagonal is not read
      invertLower(m);
      const got = copyOf(m);
      near(l.mmul(got), Matrix.eye(n), 1e-12);
      expect(nonZeros(got, (i, j) => j > i)).toBe(0);
    });
  });

  test.each(sizes)("n = %i: U is upper, U^T U = H^-1, and U_ii^2 = [(H_{i:,i:})^-1]_00", (n) => {
    const h = positive(n, n + 2);
    withMatrix(flat(h), n, n, (m) => {
      const v = valuesOf(m);
      for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) v[i * n + j] = Number.NaN; // only the upper one is read
      expect(inverseFactor(m)).toBe(-1);
      const u = copyOf(m);
      expect(nonZeros(u, (i, j) => j < i)).toBe(0);
      near(u.transpose().mmul(u), inverse(h), 1e-12);
      const i = n >> 1;
      const tail = inverse(h.subMatrix(i, n - 1, i, n - 1)).getRow(0);
      expect(u.get(i, i) ** 2).toBeCloseTo(tail[0], 12);
      // U_i,i: / U_ii is the direction of optimal brain surgery once the columns before i are frozen.
      for (let j = i; j < n; j++) expect(u.get(i, j) / u.get(i, i)).toBeCloseTo(tail[j - i] / tail[0], 11);
    });
  });

  test.each([1, 9, 261])("the symmetric inverse, n = %i", (n) => {
    const h = positive(n, n + 3);
    withMatrix(flat(h), n, n, (m) => {
      const inv = invertPositive(m) as F64Matrix;
      near(copyOf(inv), inverse(h), 1e-12);
      freeMatrix(inv);
    });
    withMatrix(flat(h.neg()), n, n, (m) => expect(invertPositive(m)).toBeNull());
  });

  test("U of a diagonal matrix is exact", () => {
    withMatrix([4, 0, 0, 16], 2, 2, (m) => {
      expect(inverseFactor(m)).toBe(-1);
      expect([...valuesOf(m)]).toEqual([0.5, 0, 0, 0.25]);
    });
  });
});

describe("damping", () => {
  test("adds its share of the mean diagonal", () => {
    const h = positive(40, 5);
    const damped = Matrix.add(h, Matrix.eye(40).mul(0.01 * (h.trace() / 40)));
    withMatrix(flat(h), 40, 40, (m) => {
      expect(dampedFactor(m)).toEqual({ share: 0.01, failures: [] });
      const u = copyOf(m);
      near(u.transpose().mmul(u), inverse(damped), 1e-12);
    });
  });

  test("a matrix that is not positive definite is damped tenfold until it is, from the original values", () => {
    const n = 150;
    const h = positive(n, 6);
    const mean = h.trace() / n;
    const shift = 0.05 * mean + 0.1; // the smallest eigenvalue, at least 0.1, becomes at most -0.05 mean
    const spoiled = Matrix.sub(h, Matrix.eye(n).mul(shift + 0.05));
    const spoiledMean = spoiled.trace() / n;
    withMatrix(flat(spoiled), n, n, (m) => {
      const { share, failures } = dampedFactor(m);
      expect(failures.length).toBeGreaterThan(0);
      expect(share).toBeCloseTo(0.01 * 10 ** failures.length, 12);
      for (const f of failures) expect(f.column).toBeGreaterThanOrEqual(0);
      const u = copyOf(m);
      near(u.transpose().mmul(u), inverse(Matrix.add(spoiled, Matrix.eye(n).mul(share * spoiledMean))), 1e-10);
    });
  });

  test("rank one is enough", () => {
    withMatrix(new Float64Array(64).fill(1), 8, 8, (m) => expect(dampedFactor(m).failures).toEqual([]));
  });

  test("what no damping can help is an error that names the matrix", () => {
    withMatrix(new Float64Array(9).fill(Number.NaN), 3, 3, (m) =>
      expect(() => dampedFactor(m, { about: "layer q_proj" })).toThrow(/layer q_proj.*no positive pivot/),
    );
  });
});

describe("triangular systems", () => {
  const cases = fc.record({
    n: fc.constantFrom(1, 3, 8, 127, 130, 259),
    c: fc.integer({ min: 1, max: 10 }),
    seed: fc.integer({ min: 1, max: 1e6 }),
  });
  test("L X = B, L^T X = B and H X = B", () => {
    fc.assert(
      fc.property(cases, ({ n, c, seed }) => {
        const h = positive(n, seed);
        const x = new Matrix(to2d(numbers(n * c, seed + 1), c));
        const l = new CholeskyDecomposition(h).lowerTriangularMatrix;
        const solved = (a: Matrix, b: Matrix, solver: (a: F64Matrix, b: F64Matrix) => void): Matrix =>
          withMatrix(flat(a), n, n, (am) =>
            withMatrix(flat(b), n, c, (bm) => {
              solver(am, bm);
              return copyOf(bm);
            }),
          );
        // condition of H at most about 50 here, of L its root
        near(solved(l, l.mmul(x), solveLower), x, 1e-12);
        near(solved(l, l.transpose().mmul(x), solveLowerTransposed), x, 1e-12);
        near(solved(h, h.mmul(x), solvePositive), x, 1e-11);
      }),
      { numRuns: 12 },
    );
  });
});

describe("Gram matrix", () => {
  test.each([
    [1, 1],
    [7, 5],
    [300, 33],
    [513, 130],
  ])("of %i rows and %i columns: the upper triangle of X^T X", (rows, columns) => {
    const x = Float32Array.from(numbers(rows * columns, rows));
    const ptr = memory.alloc(x.byteLength);
    const g = allocMatrix(columns, columns);
    memory.f32(ptr, x.length).set(x);
    accumulateGram(g, ptr, rows);
    accumulateGram(g, ptr, rows);
    const xm = new Matrix(to2d(x, columns));
    const want = xm.transpose().mmul(xm).mul(2);
    expect(nonZeros(copyOf(g), (i, j) => j < i)).toBe(0);
    mirror(g, "upper");
    expect(copyOf(g).isSymmetric()).toBe(true);
    // sums of 2 rows products of size below 1
    near(copyOf(g), want, 2 * rows * rows * 2 ** -52);
    freeMatrix(g);
    memory.free(ptr);
  });
});

test("one thread and three give the same bits", () => {
  const n = 300;
  const h = flat(positive(n, 9));
  const run = (threads: number): Float64Array => {
    initSync({ threads });
    return withMatrix(h, n, n, (m) => {
      dampedFactor(m);
      return valuesOf(m).slice();
    });
  };
  expect(run(3)).toEqual(run(1));
});

test("scratch memory is given back", () => {
  const before = memory.live;
  withMatrix(flat(positive(70, 1)), 70, 70, (m) => dampedFactor(m));
  expect(memory.live).toBe(before);
});
