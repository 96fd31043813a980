import fc from "fast-check";
import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { applyMask, maskOf, maskOfValues, maskSparsity, obeys } from "./mask.ts";
import { type LayerShape, layoutOf, type Pattern, parsePattern } from "./pattern.ts";
import { magnitudeScore, wandaScore } from "./score.ts";
import { keepBest, keepBestBySorting, keepInRuns, prunedCount, type Selection, selectMask } from "./select.ts";

/** Few distinct values, so that ties are the rule. */
const scoresWithTies = fc.array(fc.integer({ min: -3, max: 3 }), { maxLength: 200 }).map((a) => Float64Array.from(a));
const scores = fc.oneof(
  scoresWithTies,
  fc.array(fc.double({ noNaN: true }), { maxLength: 300 }).map((a) => Float64Array.from(a)),
);

test("the fast choice is the sorted one, ties and infinities included", () => {
  fc.assert(
    fc.property(scores, fc.double({ min: 0, max: 1, noNaN: true }), (s, share) => {
      const keep = Math.round(share * s.length);
      expect(keepBest(s, keep)).toEqual(keepBestBySorting(s, keep));
    }),
    { numRuns: 500 },
  );
});

test("among equals the lower index is kept", () => {
  expect([...keepBest(Float64Array.of(1, 1, 1, 1), 2)]).toEqual([1, 1, 0, 0]);
  expect([...keepBest(Float64Array.of(0, -0, 0, 5), 2)]).toEqual([1, 0, 0, 1]);
  expect([...keepInRuns(Float64Array.of(1, 1, 1, 1, 0, 2, 0, 1), 2, 4, new Uint8Array(8))]).toEqual([
    1, 1, 0, 0, 0, 1, 0, 1,
  ]);
});

test("hard orders stay fast: sorted, reversed, all equal, organ pipe", () => {
  const n = 200_000;
  const shapes = [(i: number) => i, (i: number) => -i, () => 7, (i: number) => Math.min(i, n - i)];
  for (const shape of shapes) {
    const s = Float64Array.from({ length: n }, (_, i) => shape(i));
    expect(keepBest(s, n / 4).reduce((a, b) => a + b, 0)).toBe(n / 4);
  }
});

test("counts are floor(s n + 1e-6)", () => {
  expect(prunedCount(0.7, 10)).toBe(7); // 0.7 * 10 is 7.000000000000001 or 6.999... depending on the engine's mood
  expect(prunedCount(0.29, 100)).toBe(29); // 28.999999999999996
  expect(prunedCount(0.5, 7)).toBe(3);
});

const patterns = ["unstructured", "4x1", "1x16", "2x3", "2:4", "4:8", "1:4", "2:4@4x1", "row", "column"];
const cases = fc.record({
  pattern: fc.constantFrom(...patterns).map(parsePattern),
  rows: fc.integer({ min: 1, max: 11 }),
  runs: fc.integer({ min: 1, max: 5 }),
  pool: fc.constantFrom("matrix" as const, "row" as const),
  sparsity: fc.double({ min: 0, max: 0.99, noNaN: true }),
  seed: fc.integer({ min: 0, max: 1e6 }),
});

/** The definition, one unit at a time: score every unit by its mean, sort its pool, keep the best. */
function slowMask(weights: Float32Array, { shape, pattern, pool, pruned }: Selection): Uint8Array {
  const { height, width, unitRows, unitColumns, units, quota } = layoutOf(pattern, shape);
  const members = Array.from({ length: units }, (): number[] => []);
  for (let r = 0; r < shape.rows; r++)
    for (let c = 0; c < shape.columns; c++)
      members[Math.floor(r / height) * unitColumns + Math.floor(c / width)].push(r * shape.columns + c);
  const mean = members.map((m) => m.reduce((sum, i) => sum + Math.abs(weights[i]), 0) / m.length);
  const poolOf = (u: number): number =>
    quota ? Math.floor(u / quota.of) : pool === "row" ? Math.floor(u / unitColumns) : 0;
  const bits = new Uint8Array(weights.length);
  const pools: number[][] = [];
  for (const u of mean.keys()) (pools[poolOf(u)] ??= []).push(u);
  for (const list of pools) {
    const keep = quota ? quota.keep : pool === "row" ? list.length - Math.floor(pruned / unitRows) : units - pruned;
    const best = list.toSorted((a, b) => mean[b] - mean[a] || a - b).slice(0, keep);
    for (const u of best) for (const i of members[u]) bits[i] = 1;
  }
  return bits;
}

/** Quarters, so that means are exact and ties common. */
function drawn(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 20) % 33) / 4 - 4;
  });
}

test("masks of every pattern and pool follow the definition", () => {
  fc.assert(
    fc.property(cases, ({ pattern, rows, runs, pool, sparsity, seed }) => {
      const shape: LayerShape = { name: "w", rows, columns: runs * (pattern.kind === "nm" ? pattern.of : 5) };
      const weights = drawn(rows * shape.columns, seed);
      const selection = { shape, pattern, pool, pruned: prunedCount(sparsity, layoutOf(pattern, shape).units) };
      const mask = selectMask(magnitudeScore(weights, shape.columns), selection);
      expect(mask.bits).toEqual(slowMask(weights, selection));
      expect(mask.kept).toBe(mask.bits.reduce((a, b) => a + b, 0));
      expect(obeys(mask, pattern, shape)).toBe(true);
    }),
    { numRuns: 400 },
  );
});

test("unstructured counts are exact, per matrix and per row", () => {
  const shape = { name: "w", rows: 8, columns: 30 };
  const score = magnitudeScore(drawn(240, 3), 30);
  const base = { shape, pattern: parsePattern("unstructured"), pruned: prunedCount(0.7, 240) };
  expect(selectMask(score, { ...base, pool: "matrix" }).kept).toBe(72);
  const rows = selectMask(score, { ...base, pool: "row" });
  for (let r = 0; r < 8; r++) expect(rows.bits.subarray(r * 30, r * 30 + 30).reduce((a, b) => a + b, 0)).toBe(9);
});

test("a NaN score is an error that names the layer", () => {
  const weights = Float32Array.of(1, Number.NaN, 2, 3);
  const shape = { name: "model.layers.3.self_attn.q_proj", rows: 1, columns: 4 };
  for (const pattern of ["unstructured", "2:4", "1x2"].map(parsePattern)) {
    const run = () => selectMask(magnitudeScore(weights, 4), { shape, pattern, pool: "row", pruned: 1 });
    expect(run).toThrow(LacunaError);
    expect(run).toThrow(/layers\.3\.self_attn\.q_proj.*NaN/);
  }
});

test("Wanda with equal norms is magnitude per row, even where f32 products would collide", () => {
  // 1 + 2^-23 and 1 + 2^-22 differ, yet both times 1/3 round to few f32 values; in f64 they stay apart.
  const near = Float32Array.from({ length: 64 }, (_, i) => 1 + ((i * 37) % 64) * 2 ** -23);
  const shape = { name: "w", rows: 2, columns: 32 };
  const selection: Selection = { shape, pattern: parsePattern("unstructured"), pool: "row", pruned: 40 };
  const wanda = selectMask(wandaScore(near, 32, new Float32Array(32).fill(1 / 3)), selection);
  expect(wanda).toEqual(selectMask(magnitudeScore(near, 32), selection));
});

test("Wanda keeps a small weight on a loud input over a large one on a quiet input", () => {
  const shape = { name: "w", rows: 1, columns: 2 };
  const selection: Selection = { shape, pattern: parsePattern("unstructured"), pool: "row", pruned: 1 };
  expect([...selectMask(wandaScore(Float32Array.of(1, 3), 2, [10, 1]), selection).bits]).toEqual([1, 0]);
});

test("masks: counting, values, application", () => {
  expect(maskOf(Uint8Array.of(1, 0, 1)).kept).toBe(2);
  expect(maskOfValues([0, -0, 3, Number.NaN]).bits).toEqual(Uint8Array.of(0, 0, 1, 1));
  expect(maskSparsity(maskOf(Uint8Array.of(1, 0, 0, 0)))).toBe(0.75);
  const out = applyMask(Float32Array.of(-1, -2, 3), maskOf(Uint8Array.of(0, 1, 1)));
  expect(Object.is(out[0], 0)).toBe(true);
  expect([...out]).toEqual([0, -2, 3]);
  expect(() => applyMask(new Float32Array(2), maskOf(new Uint8Array(3)))).toThrow(LacunaError);
});

test("a mask that breaks its pattern is seen", () => {
  const shape = { name: "w", rows: 4, columns: 4 };
  const mask = (f: (r: number, c: number) => number) =>
    maskOf(Uint8Array.from({ length: 16 }, (_, i) => f(Math.floor(i / 4), i % 4)));
  const shared: Pattern = parsePattern("2:4@4x1");
  expect(
    obeys(
      mask((_, c) => Number(c < 2)),
      shared,
      shape,
    ),
  ).toBe(true);
  expect(
    obeys(
      mask((r, c) => Number((c + r) % 2)),
      shared,
      shape,
    ),
  ).toBe(false);
  expect(
    obeys(
      mask((r, c) => Number((c + r) % 2)),
      parsePattern("2:4"),
      shape,
    ),
  ).toBe(true);
  expect(
    obeys(
      mask((_, c) => Number(c < 3)),
      parsePattern("2:4"),
      shape,
    ),
  ).toBe(false);
  expect(
    obeys(
      mask((r) => Number(r < 2)),
      parsePattern("4x1"),
      shape,
    ),
  ).toBe(false);
});
