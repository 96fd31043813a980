import { expect, test } from "vitest";
import { applyMask } from "./mask.ts";
import { measure } from "./measure.ts";
import { layoutOf, parsePattern, printPattern } from "./pattern.ts";
import { magnitudeScore } from "./score.ts";
import { prunedCount, selectMask } from "./select.ts";

const shape = { name: "w", rows: 30, columns: 64 };
let state = 12345;
const weights = Float32Array.from({ length: 30 * 64 }, () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 31 - 1 + 1e-3;
});

test.each(["unstructured", "2:4", "4:8", "1:4", "4x1", "1x16", "2:4@4x1"])(
  "%s is found in weights pruned to it",
  (text) => {
    const pattern = parsePattern(text);
    const pruned = prunedCount(0.6, layoutOf(pattern, shape).units);
    const mask = selectMask(magnitudeScore(weights, 64), { shape, pattern, pool: "matrix", pruned });
    const found = measure(applyMask(weights, mask), shape);
    expect(found.pattern && printPattern(found.pattern)).toBe(text);
    expect(found.zeros).toBe(shape.rows * shape.columns - mask.kept);
  },
);

test("dense, empty rows and columns, all zero", () => {
  expect(measure(weights, shape)).toMatchObject({ zeros: 0, sparsity: 0, pattern: null, zeroRows: 0, zeroColumns: 0 });
  const cut = weights.map((w, i) => (i < 128 || i % 64 === 5 ? 0 : w));
  expect(measure(cut, shape)).toMatchObject({ zeroRows: 2, zeroColumns: 1, zeros: 128 + 28 });
  expect(measure(new Float32Array(8), { name: "w", rows: 2, columns: 4 })).toMatchObject({
    sparsity: 1,
    pattern: { kind: "layer" },
  });
});

test("one accidental zero among kept weights does not hide a block pattern", () => {
  const pattern = parsePattern("4x1");
  const big = { name: "w", rows: 64, columns: 64 };
  const values = new Float32Array(64 * 64).fill(1);
  const mask = selectMask(magnitudeScore(values, 64), { shape: big, pattern, pool: "row", pruned: 512 });
  const out = applyMask(values, mask);
  out[0] = 0;
  expect(measure(out, big).pattern).toEqual(pattern);
});
