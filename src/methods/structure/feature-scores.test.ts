/** Scores of features: worked examples. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { examples } from "../../data/examples.ts";
import { constantFeatures, laplacianScores, randomFeatures, varianceScores } from "./feature-scores.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const table = (rows: readonly (readonly number[])[]) =>
  examples({
    name: "table",
    shape: [rows[0].length],
    classes: 1,
    x: Float32Array.from(rows.flat()),
    y: new Uint8Array(rows.length),
  });

test("variance is that of the population, and 0 for a constant feature", () => {
  const e = table([
    [1, 5, 0],
    [3, 5, 1],
    [5, 5, 0],
    [7, 5, 1],
  ]);
  const [a, b, c] = varianceScores(e);
  expect(a).toBeCloseTo(5, 12);
  expect(b).toBe(0);
  expect(c).toBeCloseTo(0.25, 12);
  expect([...constantFeatures(e)]).toEqual([0, 1, 0]);
});

test("the Laplacian score of two pairs of neighbours, by hand", () => {
  // neighbours: 0-1 and 2-3, each at distance^2 1, so S = exp(-1) for both and cancels
  const e = table([
    [0, 0, 2],
    [0, 1, 2],
    [9, 0, 2],
    [9, 1, 2],
  ]);
  const scores = laplacianScores(e, { neighbours: 1 });
  // feature 0: no difference along an edge; feature 1: 2 of (2 edges), variance by degree 4 * 0.25; feature 2 is constant
  expect(scores[0]).toBeCloseTo(0, 12);
  expect(scores[1]).toBeCloseTo(-2, 12);
  expect(scores[2]).toBe(Number.NEGATIVE_INFINITY);
});

test("random features are distinct, rising, and another set for each draw", () => {
  const [a, b] = [randomFeatures(100, 20, 1, 0), randomFeatures(100, 20, 1, 1)];
  expect(new Set(a).size).toBe(20);
  expect([...a]).toEqual([...a].sort((x, y) => x - y));
  expect([...a]).not.toEqual([...b]);
});
