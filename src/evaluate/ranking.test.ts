import { describe, expect, it } from "vitest";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { tensor } from "../core/tensor.ts";
import { interactions, itemsOf } from "../data/interactions.ts";
import { dotScorer, popularityScorer, rank, topItems } from "./ranking.ts";

describe("the best items", () => {
  it("come best first, the lower item of equals, without those left out", () => {
    expect([...topItems([1, 5, 3, 5, 2], 3)]).toEqual([1, 3, 2]);
    expect([...topItems([1, Number.NEGATIVE_INFINITY, 0], 3)]).toEqual([0, 2]);
    expect([...topItems([2, 2, 2, 2], 2)]).toEqual([0, 1]);
  });

  it("are those of a full sort, with many equals", () => {
    const draws = stream(1, "top");
    for (let trial = 0; trial < 30; trial++) {
      const scores = Float32Array.from({ length: 60 }, (_, i) => draws.below(trial * 60 + i, 20));
      const sorted = Array.from(scores, (_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
      expect([...topItems(scores, 13)]).toEqual(sorted.slice(0, 13));
    }
  });
});

describe("ranking", () => {
  // user 0 has item 4 and wants 0 and 2; user 1 has nothing and wants 3; user 2 wants nothing
  const known = interactions(3, 5, [0, 2], [4, 1]);
  const wanted = interactions(3, 5, [0, 0, 1], [0, 2, 3]);
  const table = [
    [0.9, 0.8, 0.7, 0.1, 1.0],
    [0.5, 0.4, 0.3, 0.2, 0.1],
    [0, 0, 0, 0, 0],
  ];
  const scores = (users: Int32Array): Float32Array => Float32Array.from([...users].flatMap((u) => table[u]));

  it("has the closed form of recall, precision, hit rate and NDCG", () => {
    for (const batch of [1, 256]) {
      // user 0 ranks 0, 1, 2: finds one in two, then both in three; user 1 finds nothing in three
      const two = rank({ scores, known: [known], wanted, k: 2, batch });
      expect(two).toMatchObject({ users: 2, recall: 0.25, precision: 0.25, hitRate: 0.5 });
      expect(two.ndcg).toBeCloseTo(0.5 / (1 + 1 / Math.log2(3)), 14);
      const three = rank({ scores, known: [known], wanted, k: 3, batch });
      expect(three.recall).toBe(0.5);
      expect(three.ndcg).toBeCloseTo((0.5 * (1 + 1 / 2)) / (1 + 1 / Math.log2(3)), 14);
      const four = rank({ scores, known: [known], wanted, k: 4, batch });
      expect(four.recall).toBe(1);
      expect(four.ndcg).toBeCloseTo(0.5 * (1.5 / (1 + 1 / Math.log2(3))) + 0.5 / Math.log2(5), 14);
    }
  });

  it("lets known items in where they are not left out", () => {
    expect(rank({ scores, known: [], wanted, k: 2 }).recall).toBe(0.25);
    expect(rank({ scores, known: [], wanted, k: 3 }).recall).toBe(0.25);
  });

  it("is perfect for an oracle", () => {
    const oracle = (users: Int32Array): Float32Array =>
      Float32Array.from(
        [...users].flatMap((u) => [0, 1, 2, 3, 4].map((i) => (itemsOf(wanted, u).includes(i) ? 1 : 0))),
      );
    expect(rank({ scores: oracle, known: [known], wanted, k: 2 })).toMatchObject({ recall: 1, ndcg: 1, hitRate: 1 });
  });

  it("refuses NaN, other sizes, and parts of another split", () => {
    const bad = (users: Int32Array): Float32Array => new Float32Array(users.length * 5).fill(Number.NaN);
    expect(() => rank({ scores: bad, known: [], wanted })).toThrow(/NaN for user 0, item 0/);
    expect(() => rank({ scores: () => new Float32Array(3), known: [], wanted })).toThrow(/\[2, 5\], got 3 values/);
    expect(() => rank({ scores, known: [interactions(3, 4, [], [])], wanted })).toThrow(
      /3 users and 5 items everywhere/,
    );
  });

  it("scores by popularity and by products of embeddings", () => {
    const train = interactions(3, 4, [0, 1, 2, 0], [2, 2, 2, 3]);
    expect([...popularityScorer(train)(Int32Array.of(1, 0))]).toEqual([0, 0, 3, 1, 0, 0, 3, 1]);
    scope(() => {
      const [u, i] = [tensor([1, 2, 3, 4], [2, 2]), tensor([1, 0, 0, 1, 2, 2], [3, 2])];
      expect([...dotScorer(u, i)(Int32Array.of(1, 0))]).toEqual([3, 4, 14, 1, 2, 6]);
      expect(() => dotScorer(u, tensor([1, 2, 3], [1, 3]))).toThrow(/\[2, 2\] and \[1, 3\]/);
    });
  });
});
