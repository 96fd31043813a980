import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { LAYOUT_NAMES, LAYOUTS } from "../../kernels/sparse/layouts.ts";
import { productTwin } from "../../kernels/sparse/twin.ts";
import { initSync, memory, shutdown } from "../engine.ts";
import { LacunaError } from "../errors.ts";
import {
  type SparseFormat,
  type SparseOptions,
  type SparseValues,
  sparseForward,
  sparseMatrix,
  toDense,
} from "./sparse.ts";

afterAll(shutdown);

/** Numbers in [0, 1) by a hash; any well-mixed one will do. */
function unit(index: number, seed: number): number {
  let h = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
}

const values = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 2 * unit(i, seed) - 1);

/** Makes every value exact in a type; f16's subnormal numbers become 0. */
function exactIn(type: SparseValues, v: Float32Array): Float32Array {
  const bits = new Uint32Array(v.buffer);
  if (type === "bf16") for (let i = 0; i < bits.length; i++) bits[i] &= 0xffff0000;
  if (type === "f16") for (let i = 0; i < bits.length; i++) bits[i] &= Math.abs(v[i]) < 2 ** -14 ? 0 : 0xffffe000;
  return v;
}

interface Shape {
  readonly out: number;
  readonly in: number;
  readonly format: SparseFormat;
  readonly sparsity: number;
  readonly type: SparseValues;
  readonly seed: number;
}

/** A weight with the pattern of the format: blocks of its size, or 2:4 by its units. */
function weight({ out, in: width, format, sparsity, type, seed }: Shape): Float32Array {
  const w = values(out * width, seed);
  const { rows, columns, index } = LAYOUTS[format];
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < width; k++) {
      const unit0 = Math.floor(o / rows) * width;
      const lot = unit(unit0 + Math.floor(k / columns), seed + 1);
      // Two neighbours of each four, at one of three places.
      const place = Math.floor(3 * unit(unit0 + k - (k % 4), seed + 1));
      const kept = index === "steps" ? k % 4 >= place && k % 4 < place + 2 : lot >= sparsity;
      if (!kept) w[o * width + k] = 0;
    }
  }
  return exactIn(type, w);
}

function forward(s: Shape, tokens: number, options: SparseOptions = {}, w = weight(s)) {
  const x = values(tokens * s.in, s.seed + 7);
  const matrix = sparseMatrix(w, s.out, s.in, s.format, options);
  const xs = memory.alloc(4 * x.length);
  const ys = memory.alloc(4 * tokens * s.out);
  memory.f32(xs, x.length).set(x);
  memory.f32(ys, tokens * s.out).fill(Number.NaN);
  sparseForward(xs, tokens, matrix, ys);
  const y = memory.f32(ys, tokens * s.out).slice();
  memory.free(xs);
  memory.free(ys);
  return { w, x, y, matrix };
}

function expectClose(got: Float32Array, want: Float64Array, bounds: Float64Array): void {
  for (let i = 0; i < want.length; i++) {
    if (!(Math.abs(got[i] - want[i]) <= bounds[i])) {
      throw new Error(`[${i}] got ${got[i]}, want ${want[i]}, allowed ${bounds[i]}`);
    }
  }
}

const FORMATS: readonly SparseFormat[] = LAYOUT_NAMES;

const shapes = fc.record({
  out: fc.integer({ min: 1, max: 40 }),
  in: fc.integer({ min: 1, max: 20 }),
  format: fc.constantFrom(...FORMATS),
  sparsity: fc.constantFrom(0, 0.3, 0.7, 0.95, 1),
  type: fc.constantFrom("f32" as const, "bf16" as const, "f16" as const),
  seed: fc.nat(1000),
});

describe("sparseForward", () => {
  test("agrees with the f64 twin, and the stored weight is the given one", () => {
    initSync({ threads: 1 });
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 40 }), (s, tokens) => {
        const l = LAYOUTS[s.format];
        const shape = { ...s, in: l.index === "steps" ? 4 * s.in : l.columns - 1 + s.in };
        const live = memory.live;
        const { w, x, y, matrix } = forward(shape, tokens);
        const dense = toDense(matrix);
        matrix.free();
        expect(memory.live).toBe(live);
        expect(dense).toEqual(w.map((v) => v || 0));
        expect(matrix.nonZeros).toBe(w.filter((v) => v !== 0).length);
        if (shape.type === "bf16") expect(matrix.values).toBe("bf16");
        if (shape.type === "f16") expect(matrix.values).not.toBe("f32");
        const want = productTwin(w, x, tokens, shape.out, shape.in);
        expectClose(y, want.values, want.bounds);
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  test("one token or many, and in any layout, a token's result is within rounding of the same", () => {
    initSync({ threads: 1 });
    const shape: Shape = { out: 21, in: 48, format: "nm4x1", sparsity: 0, type: "bf16", seed: 4 };
    const w = weight(shape);
    for (const format of FORMATS) {
      for (const tokens of [1, 2, 3, 4, 5, 6]) {
        const { x, y, matrix } = forward({ ...shape, format }, tokens, {}, w);
        matrix.free();
        const want = productTwin(w, x, tokens, shape.out, shape.in);
        expectClose(y, want.values, want.bounds);
      }
    }
  });

  test("gives the same bits for any number of threads and for either type of values", () => {
    // 2 x stored x tokens is above the threshold for threads: by panels of tokens (wide ones, too), by rows, one vector.
    const cases = [
      [64, 96, 200],
      [64, 96, 60],
      [262, 256, 17],
      [1002, 1100, 1],
    ];
    const runs = FORMATS.flatMap((format) =>
      cases.map(([out, width, tokens]) => {
        const shape: Shape = { out, in: width, format, sparsity: 0.5, type: "bf16", seed: 3 };
        return { shape, tokens, w: weight(shape), results: [] as Buffer[] };
      }),
    );
    for (const threads of [1, 2, 3]) {
      initSync({ threads });
      for (const { shape, tokens, w, results } of runs) {
        for (const type of ["f32", "bf16"] as const) {
          const { y, matrix } = forward(shape, tokens, { values: type }, w);
          matrix.free();
          results.push(Buffer.from(y.buffer));
        }
      }
    }
    for (const { results } of runs) for (const y of results) expect(y.equals(results[0])).toBe(true);
  });

  test("packs many tokens in pieces of bounded size", () => {
    initSync({ threads: 1 });
    // 8 MiB of packed activations hold 32 tokens of 65,536 columns.
    const shape: Shape = { out: 5, in: 65536, format: "block4x1", sparsity: 0.99, type: "f32", seed: 5 };
    const { w, x, y } = forward(shape, 45);
    const want = productTwin(w, x, 45, shape.out, shape.in);
    expectClose(y, want.values, want.bounds);
  });
});

describe("sparseMatrix", () => {
  test("counts what it holds", () => {
    initSync({ threads: 1 });
    // Groups of 4 rows keep 3 and 0 of 8 columns: 3 blocks padded to 4.
    const w = new Float32Array(8 * 8);
    for (const k of [0, 5, 7]) for (let o = 0; o < 4; o++) w[o * 8 + k] = k + o + 1;
    const m = sparseMatrix(w, 8, 8, "block4x1");
    expect(m).toMatchObject({ values: "bf16", nonZeros: 12, stored: 16, bytesPerToken: 16 * 2 + 4 * 2 + 3 * 4 });
    m.free();
    const f = sparseMatrix(w, 8, 8, "block4x1", { values: "f32" });
    expect(f.bytesPerToken).toBe(16 * 4 + 4 * 2 + 3 * 4);
    f.free();
    // 2:4 always stores 4 of 8 columns for both groups, one byte each.
    const nm = new Float32Array(8 * 8);
    nm[0] = 1;
    const g = sparseMatrix(nm, 8, 8, "nm4x1", { values: "f32" });
    expect(g).toMatchObject({ nonZeros: 1, stored: 32, bytesPerToken: 32 * 4 + 8 });
    g.free();
  });

  test("drops -0", () => {
    const m = sparseMatrix(Float32Array.of(-0, 1, -0, 0), 2, 2, "csr");
    expect(m.nonZeros).toBe(1);
    expect(toDense(m)).toEqual(Float32Array.of(0, 1, 0, 0));
    m.free();
  });

  test("says what is wrong", () => {
    const live = memory.live;
    const full = new Float32Array(8 * 8).fill(1);
    expect(() => sparseMatrix(full, 8, 9, "csr")).toThrow(LacunaError);
    expect(() => sparseMatrix(new Float32Array(65537), 1, 65537, "block4x1")).toThrow(/at most 65536 input columns/);
    expect(() => sparseMatrix(full, 8, 8, "nm4x1")).toThrow(/2:4 weight \[8, 8\].*rows from 0, columns from 0/);
    expect(() => sparseMatrix(new Float32Array(8 * 6), 8, 6, "nm4x1")).toThrow(/a width that 4 divides/);
    expect(() => sparseMatrix(new Float32Array(7 * 7), 7, 7, "nm4x1", { n: 3, m: 7 })).toThrow(/divisor of 4M/);
    expect(() => sparseMatrix(new Float32Array(128), 1, 128, "nm4x1", { n: 1, m: 64 })).toThrow(/at most 32/);
    expect(() => sparseMatrix(new Float32Array(15), 1, 15, "block1x16")).toThrow(/at least 16 input columns/);
    expect(() => sparseMatrix(Float32Array.of(0.1), 1, 1, "csr", { values: "bf16" })).toThrow(/without rounding/);
    // A second group that keeps three of four, behind a first that is right.
    const late = new Float32Array(8 * 8);
    late.set([1, 1, 1], 5 * 8 + 4);
    expect(() => sparseMatrix(late, 8, 8, "nm4x1")).toThrow(/rows from 4, columns from 4/);
    // Every row keeps two of four, but not the same two.
    const loose = new Float32Array(4 * 4);
    for (let o = 0; o < 4; o++) loose.set([1, 2], 4 * o + (o % 3));
    expect(() => sparseMatrix(loose, 4, 4, "nm4x1")).toThrow(/rows from 0/);
    const rows = sparseMatrix(loose, 4, 4, "nm1x1");
    expect(toDense(rows)).toEqual(loose);
    rows.free();
    loose[2] = 3;
    loose[3] = 3;
    expect(() => sparseMatrix(loose, 4, 4, "nm1x1")).toThrow(/more in row 0, columns from 0/);
    expect(memory.live).toBe(live);
  });
});
