import fc from "fast-check";
import { expect, it } from "vitest";
import { readOff, rising } from "./curve.ts";

it("pools neighbours that fall, by the worked example and by the definition of the nearest rising sequence", () => {
  expect(rising([1, 3, 2, 2, 5, 4])).toEqual([1, 7 / 3, 7 / 3, 7 / 3, 4.5, 4.5]);
  expect(rising([])).toEqual([]);
  const numbers = fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(numbers, numbers, (values, other) => {
      const got = rising(values);
      got.slice(1).forEach((v, i) => {
        expect(v).toBeGreaterThanOrEqual(got[i]);
      });
      // the projection on a convex cone: no rising sequence is nearer, and sums are kept
      const far = (to: readonly number[]): number => to.reduce((s, v, i) => s + (v - values[i]) ** 2, 0);
      const rival = [...values.keys()].map((i) => other[i % other.length]).sort((a, b) => a - b);
      expect(far(got)).toBeLessThanOrEqual(far(rival) + 1e-9);
      expect(got.reduce((a, b) => a + b)).toBeCloseTo(
        values.reduce((a, b) => a + b),
        9,
      );
    }),
  );
});

it("reads between points, holds the ends, and takes the first of points that share an x", () => {
  const [xs, ys] = [
    [50, 52, 52, 53],
    [1, 2, 3, 5],
  ];
  expect([40, 50, 51, 52, 52.5, 53, 60].map((x) => readOff(xs, ys, x))).toEqual([1, 1, 1.5, 2, 3.5, 5, 5]);
});
