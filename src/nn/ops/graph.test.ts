/** Propagation against dense products, central differences and graphs worked out by hand. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { full, type Tensor, tensor } from "../../core/tensor.ts";
import { bipartiteGraph, normalisedAdjacency, type SparseGraph, sparseGraph } from "../graph.ts";
import { checkGradients, drawer, weigh } from "./gradient-check.ts";
import { propagate } from "./graph.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(51);

/** [rows][columns] of the graph's values. */
function dense(g: SparseGraph): number[][] {
  const out = Array.from({ length: g.rows }, () => new Array<number>(g.columns).fill(0));
  for (let r = 0; r < g.rows; r++) {
    for (let e = g.starts.i32[r]; e < g.starts.i32[r + 1]; e++) out[r][g.ids.i32[e]] = g.values.f32[e];
  }
  return out;
}

const close = (got: ArrayLike<number>, want: readonly number[], within: number): void => {
  expect(got.length).toBe(want.length);
  want.forEach((w, i) => {
    expect(Math.abs(got[i] - w), `element ${i}`).toBeLessThan(within);
  });
};

const drawn = (): SparseGraph =>
  sparseGraph(5, 4, {
    from: [4, 0, 0, 2, 4, 1, 4],
    to: [3, 1, 0, 2, 0, 3, 1],
    values: [0.5, -1, 2, 0.25, 1.5, -0.75, 3],
  });

test("a list of edges in any order becomes rows in rising order, and its transpose", () => {
  const g = drawn();
  expect(dense(g)).toEqual([
    [2, -1, 0, 0],
    [0, 0, 0, -0.75],
    [0, 0, 0.25, 0],
    [0, 0, 0, 0],
    [1.5, 3, 0, 0.5],
  ]);
  const t = g.transposed;
  expect([...t.starts.i32]).toEqual([0, 2, 4, 5, 7]);
  expect([...t.ids.i32]).toEqual([0, 4, 0, 4, 2, 1, 4]);
  expect(Array.from(t.order.i32, (e) => g.values.f32[e])).toEqual([2, 1.5, -1, 3, 0.25, -0.75, 0.5]);
  g.dispose();
});

test("propagation is the dense product, with gradients of features and of values", () => {
  const g = drawn();
  const x = random([4, 37]);
  const want = dense(g).flatMap((row) =>
    Array.from({ length: 37 }, (_, k) => row.reduce((sum, v, j) => sum + v * x.f32[j * 37 + k], 0)),
  );
  close(propagate(g, x).toArray(), want, 1e-5);
  checkGradients([x], () => weigh(propagate(g, x)));
  const values = random([7]);
  checkGradients([x, values], () => weigh(propagate(g, x, values)));
  g.dispose();
});

test("two nodes and one edge: propagation swaps their rows", () => {
  const g = bipartiteGraph(1, 1, { from: [0], to: [0] });
  expect([...propagate(g, tensor(Float32Array.of(1, 2, 30, 40), [2, 2])).toArray()]).toEqual([30, 40, 1, 2]);
  g.dispose();
});

/** Users 0, 1 and items 0, 1: u0 took both, u1 took item 1. Degrees 2, 1 | 1, 2. */
test("four nodes by hand: LightGCN's normalisation", () => {
  const g = bipartiteGraph(2, 2, { from: [0, 0, 1], to: [0, 1, 1] });
  const s = Math.SQRT1_2;
  close(dense(g).flat(), [0, 0, s, 0.5, 0, 0, 0, s, s, 0, 0, 0, 0.5, s, 0, 0], 1e-7);
  const [a, b, c, d] = [1, 10, 100, 1000];
  const x: Tensor = tensor(Float32Array.of(a, b, c, d), [4, 1]);
  close(propagate(g, x).toArray(), [s * c + d / 2, s * d, s * a, a / 2 + s * b], 1e-4);
  g.dispose();
});

/** A path 0 - 1 - 2 with loops: degrees 2, 3, 2. */
test("three nodes by hand: the normalisation of graph convolutions; a lonely node keeps itself", () => {
  const g = normalisedAdjacency(4, { from: [1, 1], to: [0, 2] });
  const e = 1 / Math.sqrt(6);
  close(dense(g).flat(), [1 / 2, e, 0, 0, e, 1 / 3, e, 0, 0, e, 1 / 2, 0, 0, 0, 0, 1], 1e-7);
  // The vector of root degrees is the eigenvector of eigenvalue 1.
  const roots = tensor(Float32Array.from([2, 3, 2, 1], Math.sqrt), [4, 1]);
  close(propagate(g, roots).toArray(), [...roots.toArray()], 1e-6);
  g.dispose();
});

test("edges out of range or listed twice, and features of another length, say what was expected", () => {
  expect(() => sparseGraph(2, 2, { from: [0], to: [2] })).toThrow(
    /edge 0 of a graph: expected .* column below 2, got 0, 2/,
  );
  expect(() => sparseGraph(2, 2, { from: [0, 0], to: [1, 1] })).toThrow(/row 0 of a graph: expected each edge once/);
  const g = drawn();
  expect(() => propagate(g, full([5, 2], 1))).toThrow(/expected features \[4, F\]/);
  g.dispose();
});
