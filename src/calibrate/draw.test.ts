import fc from "fast-check";
import { expect, test } from "vitest";
import { drawWindows } from "./draw.ts";

const text = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);

test("windows have the asked length, lie in the text, in order, without overlap", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(40),
      fc.nat(),
      (L, n, more, seed) => {
        const found = drawWindows(text(n * L + more), { length: L, samples: n, seed });
        let end = 0;
        for (const w of found) {
          expect(w[0]).toBeGreaterThanOrEqual(end);
          expect(Array.from(w)).toEqual(Array.from({ length: L }, (_, i) => w[0] + i));
          end = w[0] + L;
        }
        expect(end).toBeLessThanOrEqual(n * L + more);
        expect(found.length).toBe(n);
      },
    ),
  );
});

test("every placement comes up, and every part of the text is used", () => {
  // Two windows of 2 in 6 tokens: gaps a <= b out of {0, 1, 2}; 9 ordered pairs of draws, 6 sorted ones.
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 900; seed++) {
    const key = drawWindows(text(6), { length: 2, samples: 2, seed })
      .map((w) => w[0])
      .join();
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  expect([...counts.keys()].sort()).toEqual(["0,2", "0,3", "0,4", "1,3", "1,4", "2,4"]);
  // Sorted pairs of unlike draws come from two ordered ones: about 200 of 900, like ones 100; 5 standard deviations.
  for (const [key, count] of counts) {
    const like = ["0,2", "1,3", "2,4"].includes(key);
    expect(Math.abs(count - (like ? 100 : 200)), key).toBeLessThan(like ? 47 : 62);
  }
});

test("without a number: all that fit, at most 128", () => {
  expect(drawWindows(text(35), { length: 10 }).map((w) => w.length)).toEqual([10, 10, 10]);
  expect(drawWindows(text(1000), { length: 2 }).length).toBe(128);
});

test("says what is too short", () => {
  expect(() => drawWindows(text(0), { length: 4 })).toThrow(/at least 4 tokens.*got an empty text/);
  expect(() => drawWindows(text(3), { length: 4 })).toThrow(/at least 4 tokens.*got 3.*shorter length/);
  expect(() => drawWindows(text(11), { length: 4, samples: 3 })).toThrow(/at least 12 tokens.*at most 2 windows/);
  expect(() => drawWindows(text(11), { length: 4, samples: 0 })).toThrow(/samples/);
});
