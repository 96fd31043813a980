import fc from "fast-check";
import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { type Budget, budgetNamed, keepCounts, largestRemainder, uniform } from "./budget.ts";
import { layoutOf, parsePattern } from "./pattern.ts";
import { prunedCount } from "./select.ts";

const layers = fc.array(
  fc.record({
    name: fc.constant("w"),
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 40 }),
  }),
  { minLength: 1, maxLength: 12 },
);
const sparsity = fc.double({ min: 0, max: 0.999, noNaN: true });

test("uniform: the total is exact and every layer is within one unit of its share", () => {
  fc.assert(
    fc.property(layers, sparsity, fc.constantFrom("unstructured", "4x1", "1x16"), (list, s, text) => {
      const pattern = parsePattern(text);
      const units = list.map((l) => layoutOf(pattern, l).units);
      const keep = keepCounts(uniform, list, pattern, s);
      const total = units.reduce((a, b) => a + b, 0);
      expect(keep.reduce((a, b) => a + b, 0)).toBe(total - prunedCount(s, total));
      for (const [i, k] of keep.entries()) expect(Math.abs(units[i] - k - s * units[i])).toBeLessThan(1 + 1e-5);
    }),
  );
});

test("one layer prunes floor(s n)", () => {
  const one = [{ name: "w", rows: 7, columns: 3 }];
  expect([...keepCounts(uniform, one, parsePattern("unstructured"), 0.5)]).toEqual([11]);
});

test("N:M counts come from the pattern", () => {
  const list = [
    { name: "a", rows: 3, columns: 8 },
    { name: "b", rows: 6, columns: 4 },
  ];
  expect([...keepCounts(uniform, list, parsePattern("2:4"), 0.5)]).toEqual([12, 12]);
  expect([...keepCounts(uniform, list, parsePattern("1:4@4x1"), 0.75)]).toEqual([2, 2]);
});

test("largest remainder: sums exactly, respects caps, ties to the lower index", () => {
  expect([...largestRemainder([1.5, 1.5, 1], 4, [9, 9, 9])]).toEqual([2, 1, 1]);
  expect([...largestRemainder([2.2, 0.9, 0.9], 4, [2, 9, 9])]).toEqual([2, 1, 1]);
  expect([...largestRemainder([1, 1], 6, [1, 9])]).toEqual([1, 5]);
  expect(() => largestRemainder([1, 1], 6, [1, 2])).toThrow(RangeError);
});

test("a budget of another shape needs only its shares", () => {
  const skewed: Budget = { id: "skewed", shares: () => [1, 0.25] };
  const list = [
    { name: "a", rows: 10, columns: 10 },
    { name: "b", rows: 10, columns: 20 },
  ];
  expect([...keepCounts(skewed, list, parsePattern("unstructured"), 0.5)]).toEqual([100, 50]);
});

test("bad input is a LacunaError", () => {
  expect(() => budgetNamed("unifrom")).toThrow(/Did you mean uniform/);
  expect(budgetNamed("uniform")).toBe(uniform);
  expect(() => keepCounts(uniform, [], parsePattern("unstructured"), 1)).toThrow(LacunaError);
  const wild: Budget = { id: "wild", shares: () => [1.2] };
  expect(() => keepCounts(wild, [{ name: "a", rows: 1, columns: 9 }], parsePattern("unstructured"), 0.1)).toThrow(
    /wild/,
  );
});
