/** Classifiers and clusterings that judge features: neighbours, trees, k-means, and the assignment behind it. */
import { describe, expect, it } from "vitest";
import { stream } from "../core/random.ts";
import { type Examples, examples, selectFeatures } from "../data/examples.ts";
import { fillNormal } from "../data/noise.ts";
import { plantedFeatures } from "../data/planted.ts";
import { assign } from "./assignment.ts";
import { accuracy } from "./classify.ts";
import { clusterAccuracy, kMeans } from "./clusters.ts";
import { extraTrees, treeShares } from "./extra-trees.ts";
import { classifyNearest, nearest, nearestAccuracy } from "./neighbours.ts";

const points = (rows: readonly (readonly number[])[], labels: readonly number[], classes = 2): Examples =>
  examples({
    name: "p",
    shape: [rows[0].length],
    classes,
    x: Float32Array.from(rows.flat()),
    y: Uint8Array.from(labels),
  });

/** `n` points around each of the corners of a square of side 10. */
function blobs(n: number, seed: number): Examples {
  const noise = new Float32Array(8 * n);
  fillNormal(noise, seed, "blobs");
  const rows = Array.from({ length: 4 * n }, (_, i) => [
    10 * (i % 2) + noise[2 * i],
    10 * (Math.floor(i / 2) % 2) + noise[2 * i + 1],
  ]);
  return points(
    rows,
    rows.map((_, i) => i % 4),
    4,
  );
}

describe("nearest neighbours", () => {
  it("are those of a full sort of exact distances, with equals and blocks", () => {
    const draws = stream(2, "neighbours");
    const whole = (n: number, from: number): Examples =>
      examples({
        name: "w",
        shape: [3],
        classes: 5,
        x: Uint8Array.from({ length: 3 * n }, (_, i) => draws.below(from + i, 6)),
        y: Uint8Array.from({ length: n }, (_, i) => i % 5),
      });
    const [train, test] = [whole(4500, 0), whole(300, 100_000)];
    const found = nearest(train, test, 3);
    for (let s = 0; s < 300; s += 7) {
      const d = Array.from({ length: 4500 }, (_, t) =>
        [0, 1, 2].reduce((sum, j) => sum + (train.x[3 * t + j] - test.x[3 * s + j]) ** 2, 0),
      );
      const sorted = d.map((_, t) => t).sort((a, b) => d[a] - d[b] || a - b);
      expect([...found.subarray(3 * s, 3 * s + 3)]).toEqual(sorted.slice(0, 3));
    }
  });

  it("vote; between equals the nearer one counts", () => {
    const train = points([[0], [1], [2], [10]], [0, 1, 1, 0]);
    expect([...classifyNearest(train, points([[0.2], [9]], [0, 0]))]).toEqual([0, 0]);
    expect([...classifyNearest(train, points([[0.2]], [0]), 3)]).toEqual([1]);
    expect([...classifyNearest(train, points([[0.2]], [0]), 2)]).toEqual([0]);
    expect(nearestAccuracy(train, points([[0], [2]], [0, 0]))).toBe(0.5);
    expect(() => nearest(train, points([[0, 1]], [0]))).toThrow(/examples alike in both sets/);
    expect(() => nearest(train, train, 5)).toThrow(/k from 1 to 4/);
  });

  it("takes selected features", () => {
    const e = points(
      [
        [0, 5, 1],
        [9, 6, 2],
      ],
      [0, 1],
    );
    expect([...selectFeatures(e, [2, 0]).x]).toEqual([1, 0, 2, 9]);
    expect(selectFeatures(e, [1]).shape).toEqual([1]);
    expect(() => selectFeatures(e, [3])).toThrow(/columns from 0 to 2, got 3/);
  });
});

describe("extra trees", () => {
  it("fit their training set, generalise on blobs, and repeat by seed", () => {
    const [train, test] = [blobs(60, 1), blobs(50, 2)];
    const model = extraTrees(train, { seed: 3, trees: 20 });
    expect(accuracy(treeShares(model, train), train.y)).toBe(1);
    expect(accuracy(treeShares(model, test), test.y)).toBeGreaterThan(0.99);
    expect(treeShares(extraTrees(train, { seed: 3, trees: 20 }), test)).toEqual(treeShares(model, test));
    expect(treeShares(extraTrees(train, { seed: 4, trees: 20 }), test)).not.toEqual(treeShares(model, test));
  });

  it("learn what no line separates", () => {
    const rows = Array.from({ length: 400 }, (_, i) => [(i % 20) / 10 - 0.95, Math.floor(i / 20) / 10 - 0.95]);
    const xor = points(
      rows,
      rows.map(([a, b]) => (a > 0 === b > 0 ? 1 : 0)),
    );
    const even = points(
      rows.map(([a, b]) => [a * 0.97, b * 0.97]),
      [...xor.y],
    );
    expect(accuracy(treeShares(extraTrees(xor, { seed: 1, trees: 30 }), even), even.y)).toBeGreaterThan(0.97);
  });

  it("take the best of the splits drawn: the feature that separates, where all are drawn", () => {
    const noise = new Float32Array(200);
    fillNormal(noise, 1, "second feature");
    const rows = Array.from(noise, (z, i) => [z, 100 * (i % 2) + (i % 7)]);
    const model = extraTrees(
      points(
        rows,
        rows.map((_, i) => i % 2),
      ),
      { seed: 2, features: 2, trees: 10 },
    );
    // a threshold falls between the classes, 6 to 100, in nearly all draws from 0 to 106; noise never separates
    expect(model.trees.map((t) => t.feature[0])).toEqual(new Array(10).fill(1));
  });

  it("give the class shares where examples cannot be told apart", () => {
    const same = points([[1], [1], [1], [1]], [0, 0, 0, 1]);
    expect([...treeShares(extraTrees(same, { seed: 0, trees: 2 }), same).subarray(0, 2)]).toEqual([0.75, 0.25]);
    expect(() => extraTrees(same, { seed: 0, features: 2 })).toThrow(/1 to 1 features/);
  });

  it("tell features that matter from those that do not", () => {
    const p = plantedFeatures({ rows: 300, signals: 1, copies: 2, distractors: 6, seed: 5 });
    const e = examples({
      name: "planted",
      shape: [p.columns],
      classes: 2,
      x: p.x,
      y: Uint8Array.from({ length: 300 }, (_, i) => (p.x[i * p.columns + p.planted[0]] > 0 ? 1 : 0)),
    });
    const of = (columns: ArrayLike<number>): number => {
      const s = selectFeatures(e, columns);
      return accuracy(treeShares(extraTrees(first200(s), { seed: 1, trees: 20 }), last100(s)), last100(s).y);
    };
    const noise = Array.from({ length: p.columns }, (_, j) => j).filter((j) => p.signalOf[j] < 0);
    expect(of([p.planted[1]])).toBeGreaterThan(0.8);
    expect(of(noise.slice(0, 2))).toBeLessThan(0.65); // 0.5 with a standard error of 0.05
  });
});

const part = (e: Examples, from: number, to: number): Examples => {
  const w = e.shape[0];
  return { ...e, count: to - from, x: e.x.subarray(from * w, to * w), y: e.y.subarray(from, to) };
};
const first200 = (e: Examples): Examples => part(e, 0, 200);
const last100 = (e: Examples): Examples => part(e, 200, 300);

describe("assignment", () => {
  it("is the best of all permutations", () => {
    const permutations = (n: number): number[][] =>
      n === 0
        ? [[]]
        : permutations(n - 1).flatMap((p) =>
            Array.from({ length: n }, (_, at) => [...p.slice(0, at), n - 1, ...p.slice(at)]),
          );
    const draws = stream(3, "assign");
    for (let trial = 0; trial < 120; trial++) {
      const n = 1 + (trial % 6);
      // whole numbers, negative too; small ones have many ties
      const range = trial < 60 ? 9 : 1000;
      const cost = Float64Array.from({ length: n * n }, (_, i) => draws.below(trial * 100 + i, range) - 4);
      const total = (p: ArrayLike<number>): number => Array.from(p).reduce((s, c, r) => s + cost[r * n + c], 0);
      const found = assign(cost, n);
      expect(new Set(found).size).toBe(n);
      expect(total(found)).toBe(Math.min(...permutations(n).map(total)));
    }
    expect(() => assign([1, 2], 2)).toThrow(/2 x 2 costs, got 2/);
  });
});

describe("k-means", () => {
  it("finds blobs, with centres that are means", () => {
    const e = blobs(100, 4);
    const c = kMeans(e, { seed: 1, runs: 3 });
    expect(clusterAccuracy(c.cluster, e.y, 4)).toBeGreaterThan(0.99);
    const mean = (cluster: number): number[] => {
      const mine = Array.from(c.cluster, (k, i) => (k === cluster ? i : -1)).filter((i) => i >= 0);
      return [0, 1].map((j) => mine.reduce((s, i) => s + e.x[2 * i + j], 0) / mine.length);
    };
    for (let k = 0; k < 4; k++) {
      expect(c.centres[2 * k]).toBeCloseTo(mean(k)[0], 10);
      expect(c.centres[2 * k + 1]).toBeCloseTo(mean(k)[1], 10);
    }
    expect(kMeans(e, { seed: 1, runs: 3 }).cluster).toEqual(c.cluster);
    expect(kMeans(e, { seed: 1, runs: 3 }).spread).toBeLessThanOrEqual(kMeans(e, { seed: 1 }).spread);
    expect(() => kMeans(e, { seed: 1, k: 0 })).toThrow(/1 to 400 clusters/);
  });

  it("copes with fewer different points than clusters", () => {
    const c = kMeans(points([[1], [1], [1]], [0, 0, 0]), { seed: 0, k: 2 });
    expect(c.spread).toBe(0);
  });

  it("matches clusters to classes at best", () => {
    expect(clusterAccuracy([1, 1, 0, 0, 2], [0, 0, 1, 1, 2], 3)).toBe(1);
    expect(clusterAccuracy([0, 0, 0, 0], [0, 1, 2, 0], 3)).toBe(0.5);
    expect(() => clusterAccuracy([3], [0], 3)).toThrow(/clusters and labels below 3/);
  });
});
