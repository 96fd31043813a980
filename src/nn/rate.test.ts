/** Rates at their ends and where they are known. */
import { expect, test } from "vitest";
import { oneCycle, type Rate, rateAt, warmUp } from "./rate.ts";

test("a warm-up before half a cosine is what recipes write", () => {
  const cosine: Rate = ({ step, steps }) => 0.1 + (0.9 * (1 + Math.cos((Math.PI * step) / steps))) / 2;
  const rate = warmUp(7, cosine);
  for (let step = 0; step < 50; step++) {
    const want = rateAt(step, { peak: 1, floor: 0.1, warmup: 7, steps: 50 });
    expect(rate({ step, steps: 50 })).toBeCloseTo(want, 12);
  }
  expect(warmUp(0, cosine)({ step: 0, steps: 10 })).toBe(1);
  expect(() => warmUp(2.5, cosine)).toThrow(/expected a whole number of steps, got 2.5/);
});

test("one cycle: a 25th of the peak, the peak after three tenths, half between, next to nothing at the end", () => {
  const rate = oneCycle({ peak: 0.5 });
  const at = (step: number): number => rate({ step, steps: 101 });
  expect(at(0)).toBeCloseTo(0.02, 12);
  expect(at(15)).toBeCloseTo((0.02 + 0.5) / 2, 12);
  expect(at(30)).toBeCloseTo(0.5, 12);
  expect(at(65)).toBeCloseTo((0.5 + 2e-6) / 2, 12);
  expect(at(100)).toBeCloseTo(2e-6, 15);
  for (let s = 1; s <= 100; s++) expect(at(s) > at(s - 1)).toBe(s <= 30);
});
