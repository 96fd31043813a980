/** Densities of ER, ERK and their variants against published closed forms, and exact totals on drawn shapes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { type BudgetLayer, keepCounts } from "./budget.ts";
import { er, erk, erkPlus, uniformPlus } from "./budget-shapes.ts";
import { unstructured } from "./pattern.ts";
import { prunedCount } from "./select.ts";

const layer = (shape: readonly number[], i = 0): BudgetLayer => {
  const units = shape.reduce((a, b) => a * b, 1);
  return { name: `w${i}`, rows: shape[0], columns: units / shape[0], shape, units };
};
const lenet = [
  [300, 784],
  [100, 300],
  [10, 100],
].map(layer);
const convs = [
  [8, 4, 3, 3],
  [8, 8, 3, 3],
  [16, 8, 3, 3],
  [16, 16, 3, 3],
].map(layer);
function close(got: readonly number[], want: readonly number[]): void {
  expect(got.length).toBe(want.length);
  for (const [i, w] of want.entries()) expect(got[i]).toBeCloseTo(w, 4);
}

test("ERK on LeNet-300-100: a layer over 1 is dense and the rest is solved anew", () => {
  close(erk.shares(lenet, 0.9), [0.07957, 0.23019, 1]);
  close(erk.shares(lenet, 0.95), [0.03848, 0.11133, 0.91851]);
  close(erk.shares(lenet, 0.98), [0.01539, 0.04453, 0.3674]);
});

test("ERK counts the kernel, ER does not; on matrices they are one", () => {
  close(erk.shares(convs, 0.75), [0.625, 0.3819, 0.2604, 0.1649]);
  close(er.shares(convs, 0.75), [0.5357, 0.3571, 0.2679, 0.1786]);
  expect(er.shares(lenet, 0.9)).toEqual(erk.shares(lenet, 0.9));
});

test("ERK+ keeps the last layer at its density", () => {
  const shares = erkPlus(1).shares(lenet, 0.9);
  close(shares, [0.07957, 0.23019, 1]);
  const half = erkPlus(0.5).shares(convs, 0.6);
  expect(half[3]).toBe(0.5);
  expect(() => erkPlus(1).shares(convs, 0.75)).toThrow(LacunaError);
});

test("uniform+: the first layer dense, the last at least a fifth; impossible on LeNet above 11.6 %", () => {
  const [first, ...rest] = uniformPlus().shares(convs, 0.5);
  expect(first).toBe(1);
  for (const d of rest) expect(d).toBeCloseTo(rest[0], 12);
  const tight = uniformPlus().shares(convs, 0.8);
  expect(tight[3]).toBe(0.2);
  expect(tight[1]).toBeCloseTo(tight[2], 12);
  expect(tight[1]).toBeLessThan(0.2);
  expect(() => uniformPlus().shares(lenet, 0.11)).not.toThrow();
  expect(() => uniformPlus().shares(lenet, 0.12)).toThrow(/uniform\+/);
});

test("counts sum exactly and no layer is overfull", () => {
  const side = fc.integer({ min: 1, max: 30 });
  const kernel = fc.constantFrom(1, 3);
  const shapes = fc.array(
    fc.tuple(side, side, kernel).map(([o, i, k]) => [o, i, k, k]),
    { minLength: 1, maxLength: 6 },
  );
  fc.assert(
    fc.property(shapes, fc.double({ min: 0, max: 0.99, noNaN: true }), fc.constantFrom(er, erk), (list, s, budget) => {
      const layers = list.map(layer);
      const total = layers.reduce((n, l) => n + l.units, 0);
      const keep = keepCounts(budget, layers, unstructured, s);
      expect(keep.reduce((a, b) => a + b, 0)).toBe(total - prunedCount(s, total));
      keep.forEach((k, i) => {
        expect(k).toBeGreaterThanOrEqual(0);
        expect(k).toBeLessThanOrEqual(layers[i].units);
      });
    }),
  );
});
