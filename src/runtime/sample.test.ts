import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { argmax, candidates, makeSampler } from "./sample.ts";

const logits = [1, 3, 2, -1, 3, 0.5];

/** softmax by Math.exp, which is good to 1e-15 here. */
function softmax(values: readonly number[]): number[] {
  const e = values.map((v) => Math.exp(v));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

describe("candidates", () => {
  test("all tokens: the softmax of logits / temperature, in order, ties by lower id", () => {
    const c = candidates(logits, { temperature: 0.5 });
    expect([...c.ids]).toEqual([1, 4, 2, 0, 5, 3]);
    const p = softmax(logits.map((l) => l / 0.5));
    c.ids.forEach((id, i) => {
      expect(c.probabilities[i]).toBeCloseTo(p[id], 13);
    });
  });

  test("top-k keeps the k largest, ties by lower id", () => {
    expect([...candidates(logits, { topK: 1 }).ids]).toEqual([1]);
    expect([...candidates(logits, { topK: 3 }).ids]).toEqual([1, 4, 2]);
    expect([...candidates([5, 5, 5, 5], { topK: 2 }).ids]).toEqual([0, 1]);
    expect([...candidates(logits, { topK: 100 }).ids]).toHaveLength(6);
    const { probabilities } = candidates(logits, { temperature: 1, topK: 3 });
    softmax([3, 3, 2]).forEach((p, i) => {
      expect(probabilities[i]).toBeCloseTo(p, 13);
    });
  });

  test("top-p keeps the smallest set with at least the mass", () => {
    // masses 0.5, 0.25, 0.125, 0.125
    const powers = [2, 0.5, 0.5, 1].map((x) => Math.log(x));
    const ids = (topP: number, topK = 0) => [...candidates(powers, { temperature: 1, topP, topK }).ids];
    expect(ids(0.49)).toEqual([0]);
    expect(ids(0.51)).toEqual([0, 3]);
    expect(ids(0.74)).toEqual([0, 3]);
    expect(ids(0.76)).toEqual([0, 3, 1]);
    expect(ids(0.9)).toEqual([0, 3, 1, 2]);
    expect(ids(1e-9)).toEqual([0]);
    // After top-k of two the masses are 2/3 and 1/3.
    expect(ids(0.66, 2)).toEqual([0]);
    expect(ids(0.67, 2)).toEqual([0, 3]);
  });

  test("the set of top-p is minimal and no token outside is more probable (drawn logits)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 1, maxLength: 40 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer({ min: 0, max: 40 }),
        (values, topP, topK) => {
          const c = candidates(values, { temperature: 1, topP, topK });
          const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
          expect([...c.ids]).toEqual(order.slice(0, c.ids.length));
          const pool = topK === 0 ? order : order.slice(0, topK);
          const p = softmax(pool.map((i) => values[i]));
          const mass = (n: number) => p.slice(0, n).reduce((a, b) => a + b, 0);
          expect(mass(c.ids.length)).toBeGreaterThan(topP - 1e-12);
          expect(mass(c.ids.length - 1)).toBeLessThan(topP + 1e-12);
          expect(c.probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
        },
      ),
    );
  });
});

/** Pearson's statistic of counts against probabilities. */
function chiSquare(counts: readonly number[], p: readonly number[], n: number): number {
  return counts.reduce((sum, c, i) => sum + (c - n * p[i]) ** 2 / (n * p[i]), 0);
}

describe("draws", () => {
  const n = 20_000;
  const count = (options: Parameters<typeof makeSampler>[0]): number[] => {
    const sample = makeSampler(options);
    const counts = logits.map(() => 0);
    for (let i = 0; i < n; i++) counts[sample(logits, i)]++;
    return counts;
  };

  // The seeds are fixed, so these either always pass or always fail; 20.5 is the 0.999 quantile for 5 degrees.
  test("follow the softmax", () => {
    for (const temperature of [0.7, 1, 2]) {
      const p = softmax(logits.map((l) => l / temperature));
      expect(chiSquare(count({ temperature, seed: 4 }), p, n)).toBeLessThan(20.5);
      expect(chiSquare(count({ temperature, seed: 5 }), p, n)).toBeLessThan(20.5);
    }
    // The statistic has teeth: a temperature that is a little off fails.
    expect(chiSquare(count({ temperature: 1.1, seed: 4 }), softmax(logits), n)).toBeGreaterThan(40);
  });

  test("follow the renormalised head under top-k and top-p", () => {
    const counts = count({ temperature: 1, topK: 3, seed: 6 });
    expect([counts[0], counts[3], counts[5]]).toEqual([0, 0, 0]);
    // 13.8 is the 0.999 quantile for 2 degrees.
    expect(chiSquare([counts[1], counts[4], counts[2]], softmax([3, 3, 2]), n)).toBeLessThan(13.8);
    const two = count({ temperature: 1, topP: 0.6, seed: 6 });
    expect(two[1] + two[4]).toBe(n);
    expect(chiSquare([two[1], two[4]], [0.5, 0.5], n)).toBeLessThan(10.9);
  });

  test("are a function of seed and position", () => {
    const a = makeSampler({ seed: 1, temperature: 2 });
    const b = makeSampler({ seed: 1, temperature: 2 });
    const c = makeSampler({ seed: 2, temperature: 2 });
    const texts = [a, b, c].map((s) => Array.from({ length: 50 }, (_, i) => s(logits, 49 - i)).join());
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toBe(texts[2]);
  });

  test("greedy: the largest, the first of equals, whatever the seed", () => {
    expect(argmax(logits)).toBe(1);
    for (const seed of [1, 2, 3]) expect(makeSampler({ temperature: 0, seed })(logits, 7)).toBe(1);
    for (let i = 0; i < 50; i++) expect(makeSampler({ topK: 1, seed: 8 })(logits, i)).toBe(1);
  });

  test("impossible tokens are never drawn", () => {
    const s = makeSampler({ temperature: 1, seed: 1 });
    const half = [Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY, 0];
    for (let i = 0; i < 200; i++) expect(s(half, i) % 2).toBe(1);
  });
});

test("errors", () => {
  for (const bad of [
    { temperature: -1 },
    { temperature: Number.NaN },
    { topK: 1.5 },
    { topK: -1 },
    { topP: 0 },
    { topP: 2 },
    { seed: 0.5 },
  ])
    expect(() => makeSampler(bad), JSON.stringify(bad)).toThrow(LacunaError);
  expect(() => makeSampler({ temperature: 0 })([1, Number.NaN], 0)).toThrow(/token 1/);
  expect(() => makeSampler()([1, Number.POSITIVE_INFINITY], 0)).toThrow(/token 1/);
});
