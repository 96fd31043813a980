/** How work is cut into shares, against the definition; what streams hold is judged by the kernels' trials. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { evenCuts } from "./streams.ts";

test("a cut lies behind the first group with which the shares so far are full", () => {
  const some = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 30 });
  fc.assert(
    fc.property(some, fc.integer({ min: 1, max: 9 }), (work, pieces) => {
      const before = Array.from({ length: work.length + 1 }, (_, g) =>
        work.slice(0, g).reduce((sum, w) => sum + w + 16, 0),
      );
      const total = before[work.length];
      const full = (piece: number): number => before.findIndex((b, g) => g > 0 && b * pieces >= total * piece);
      const want = Array.from({ length: pieces + 1 }, (_, p) => (p === 0 || work.length === 0 ? 0 : full(p)));
      expect([...evenCuts(work, pieces)]).toEqual(want);
    }),
    { seed: 7, numRuns: 200 },
  );
});

test("equal work is cut into equal shares", () => {
  expect([...evenCuts(Array(12).fill(5), 4)]).toEqual([0, 3, 6, 9, 12]);
});
