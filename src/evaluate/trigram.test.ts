import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { windowsOf } from "./protocol.ts";
import { type Discounting, discountsOf, kneserNey, kneserNeyFamily, ngramLosses } from "./trigram.ts";

/** The formulas of Chen & Goodman with strings and maps, nothing shared with the code under test. */
function slowProbability(tokens: number[], V: number, order: number, kind: Discounting, context: number[], w: number) {
  const text = tokens.map(String);
  const distinct = (n: number) => [
    ...new Set(text.slice(0, text.length - n + 1).map((_, i) => text.slice(i, i + n).join(" "))),
  ];
  const countsOf = (n: number): Map<string, number> => {
    const counts = new Map<string, number>();
    const add = (gram: string) => counts.set(gram, (counts.get(gram) ?? 0) + 1);
    if (n === order) for (let i = 0; i + n <= text.length; i++) add(text.slice(i, i + n).join(" "));
    // only left extensions that belong to an n-gram of the highest order exist in its counts
    else for (const gram of new Set(suffixes(n + 1))) add(gram.split(" ").slice(1).join(" "));
    return counts;
  };
  const suffixes = (n: number) =>
    distinct(order).map((gram) =>
      gram
        .split(" ")
        .slice(order - n)
        .join(" "),
    );
  const p = (n: number, history: number[]): number => {
    if (n === 0) return 1 / V;
    const counts = countsOf(n);
    const D = discountsOf(Int32Array.from(counts.values()), kind);
    const head = history.slice(history.length - n + 1).join(" ");
    const own = [...counts].filter(([gram]) => n === 1 || gram.startsWith(`${head} `));
    const lower = p(n - 1, history);
    if (own.length === 0) return lower;
    const total = own.reduce((sum, [, count]) => sum + count, 0);
    const free = own.reduce((sum, [, count]) => sum + D[Math.min(count, 3) - 1]!, 0) / total;
    const count = counts.get(n === 1 ? String(w) : `${head} ${w}`) ?? 0;
    return (count === 0 ? 0 : (count - D[Math.min(count, 3) - 1]!) / total) + free * lower;
  };
  return p(order, context);
}

describe("Kneser-Ney", () => {
  it("agrees with a bigram computed by hand", () => {
    // 0 1 0 2 0 1: bigrams 01 twice, 10, 02, 20 once: D = 3 / (3 + 2). Left neighbours: two of 0, one of 1, one of 2:
    // D = 2 / (2 + 2), free mass 3 * 0.5 / 4, so p(0) = 1.5/4 + 0.375/3 and p(1) = p(2) = 0.5/4 + 0.375/3.
    const tokens = Int32Array.of(0, 1, 0, 2, 0, 1);
    const model = kneserNey(tokens, { order: 2, vocabulary: 3, discounting: "plain" });
    expect(model.discounts.map(([d]) => d)).toEqual([0.5, 0.6]);
    const given = (context: number, token: number) => model.probability([context, token], 1, 0);
    expect(given(0, 0)).toBeCloseTo(0.4 * 0.5, 14);
    expect(given(0, 1)).toBeCloseTo(1.4 / 3 + 0.4 * 0.25, 14);
    expect(given(0, 2)).toBeCloseTo(0.4 / 3 + 0.4 * 0.25, 14);
    expect(given(1, 0)).toBeCloseTo(0.4 + 0.6 * 0.5, 14);
    expect(model.probability([2], 0, 0)).toBeCloseTo(0.25, 14);
  });

  it("estimates the modified discounts from counts of counts", () => {
    // n1 = 4, n2 = 2, n3 = 1, n4 = 1: Y = 4 / 8
    const counts = Int32Array.of(1, 1, 1, 1, 2, 2, 3, 4, 9);
    expect(discountsOf(counts, "modified")).toEqual([1 - 0.5, 2 - 0.75, 3 - 2]);
    expect(discountsOf(counts, "plain")).toEqual([0.5, 0.5, 0.5]);
    expect(discountsOf(Int32Array.of(7, 8), "modified")).toEqual([0.5, 0.5, 0.5]);
  });

  it("agrees with the formulas on random texts, and sums to 1 in seen and unseen contexts", () => {
    const text = fc.array(fc.nat(4), { minLength: 12, maxLength: 60 });
    const kinds = fc.constantFrom<Discounting>("modified", "plain");
    fc.assert(
      fc.property(text, kinds, fc.integer({ min: 1, max: 3 }), (tokens, discounting, order) => {
        const V = 6; // token 5 is never seen
        const model = kneserNey(Int32Array.from(tokens), { order, vocabulary: V, discounting });
        for (const context of [tokens.slice(3, 5), tokens.slice(7, 9), [5, 0], [0, 5], [5, 5]]) {
          let sum = 0;
          for (let w = 0; w < V; w++) {
            const p = model.probability([...context, w], 2, 0);
            expect(p).toBeGreaterThan(0);
            expect(p).toBeCloseTo(slowProbability(tokens, V, order, discounting, context, w), 12);
            sum += p;
          }
          expect(sum).toBeCloseTo(1, 12);
        }
        // fewer tokens of context, down to none
        for (const from of [1, 2]) {
          let sum = 0;
          for (let w = 0; w < V; w++) sum += model.probability([0, 1, w], 2, from);
          expect(sum).toBeCloseTo(1, 12);
        }
      }),
      { seed: 2, numRuns: 60 },
    );
  });

  it("scores the protocol's positions, in the window's context or the text's", () => {
    const train = Int32Array.from({ length: 300 }, (_, i) => (i * i + (i >> 2)) % 7);
    const models = kneserNeyFamily(train, { order: 3, vocabulary: 7 });
    const ids = Int32Array.from({ length: 11 }, (_, i) => (i * i * 3) % 7);
    const windows = windowsOf(ids.length, { length: 4 });
    const inside = ngramLosses(models, ids, windows, "window");
    const outside = ngramLosses(models, ids, windows, "text");
    expect(inside.map((own) => own.length)).toEqual([3, 3]);
    // token 5 is second in its window: a bigram inside, a trigram with tokens 3 and 4 outside
    expect(inside[1]![0]).toBe(-Math.log(models[1]!.probability(ids, 5, 4)));
    expect(outside[1]![0]).toBe(-Math.log(models[2]!.probability(ids, 5, 0)));
    expect(outside[1]![0]).not.toBe(inside[1]![0]);
    expect(inside[1]!.slice(1)).toEqual(outside[1]!.slice(1));
    expect(outside[0]).toEqual(inside[0]);
  });

  it("refuses orders whose n-grams it cannot number and texts that have none", () => {
    expect(() => kneserNey(Int32Array.of(1, 2, 3), { order: 6, vocabulary: 2048 })).toThrow(/order/);
    expect(() => kneserNey(Int32Array.of(1), { order: 3, vocabulary: 4 })).toThrow(/at least 3 tokens/);
  });
});
