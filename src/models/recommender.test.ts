/** Recommenders and the graph convolutional network: closed forms, gradients, and structure small enough to be found. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { normalisedAdjacency } from "../nn/graph.ts";
import { disposeNet, EVALUATE, type Net } from "../nn/net.ts";
import { checkGradients, drawer } from "../nn/ops/gradient-check.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import { Adam } from "../nn/optimiser.ts";
import { gcn } from "./gcn.ts";
import { lightGcn } from "./lightgcn.ts";
import { matrixFactorisation } from "./matrix-factorisation.ts";
import { bprLoss, scoreItems, type TripleBatch } from "./recommender.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const valuesOf = (net: Net): Tensor[] => net.params.map((p) => p.value);

function train(net: Net, steps: number, rate: number, loss: (step: number) => Tensor): number {
  const optimiser = new Adam(net.params);
  let last = 0;
  for (let step = 0; step < steps; step++) {
    scope(() => {
      const { value, gradients } = valueAndGrad(() => loss(step), valuesOf(net));
      optimiser.step(gradients, rate);
      last = value.item();
    });
  }
  return last;
}

const batch = (users: number[], positives: number[], negatives: number[]): TripleBatch => ({
  users: Int32Array.from(users),
  positives: Int32Array.from(positives),
  negatives: Int32Array.from(negatives),
});

test("BPR costs ln 2 where all embeddings are 0, and the penalty is half the squared norms of a triple's embeddings", () => {
  const net = matrixFactorisation({ users: 3, items: 4, width: 2, seed: 1 });
  const b = batch([0, 2], [1, 3], [2, 2]);
  for (const p of net.params) p.assign(new Float32Array(p.numel));
  expect(bprLoss(net, b, 0.1, EVALUATE).item()).toBeCloseTo(Math.LN2, 6);
  net.params[0].assign(Float32Array.from([1, 0, 9, 9, 0, 2]));
  net.params[1].assign(Float32Array.from([9, 9, 0, 0, 0, 0, 0, 0]));
  // ||u0||^2 + ||u2||^2 = 5 over two triples; scores stay 0
  expect(bprLoss(net, b, 0.1, EVALUATE).item()).toBeCloseTo(Math.LN2 + (0.1 / 2) * (5 / 2), 6);
  disposeNet(net);
});

test("gradients of both models' loss", () => {
  const b = batch([0, 2, 0], [1, 3, 0], [2, 2, 3]);
  const shape = { users: 3, items: 4, width: 3, seed: 2, spread: 1 };
  const interactions = { from: [0, 0, 1, 2], to: [0, 1, 1, 3] };
  const flat = matrixFactorisation(shape);
  const smooth = lightGcn({ ...shape, layers: 2, interactions });
  for (const net of [flat, smooth]) checkGradients(valuesOf(net), () => bprLoss(net, b, 0.3, EVALUATE), 1e-3);
  smooth.dispose();
  disposeNet(flat);
  disposeNet(smooth);
});

test("LightGCN of one user, one item and one layer: both rows are the mean of both embeddings", () => {
  const net = lightGcn({ users: 1, items: 1, width: 2, seed: 0, layers: 1, interactions: { from: [0], to: [0] } });
  net.params[0].assign([1, 2]);
  net.params[1].assign([30, 40]);
  const t = net.tables(EVALUATE);
  expect([...t.users.toArray(), ...t.items.toArray()]).toEqual([15.5, 21, 15.5, 21]);
  net.dispose();
  disposeNet(net);
});

/** Users 0, 1, items 0, 1: u0 took both, u1 took item 1; s = 1 / sqrt(2). */
test("LightGCN on four nodes by hand, two layers", () => {
  const interactions = { from: [0, 0, 1], to: [0, 1, 1] };
  const net = lightGcn({ users: 2, items: 2, width: 1, seed: 0, layers: 2, interactions });
  const [a, b, c, d] = [1, 10, 100, 1000];
  net.params[0].assign([a, b]);
  net.params[1].assign([c, d]);
  const s = Math.SQRT1_2;
  const next = ([u0, u1, i0, i1]: number[]): number[] => [s * i0 + i1 / 2, s * i1, s * u0, u0 / 2 + s * u1];
  const stages = [[a, b, c, d]];
  for (let k = 0; k < 2; k++) stages.push(next(stages[k]));
  const t = net.tables(EVALUATE);
  const got = [...t.users.toArray(), ...t.items.toArray()];
  got.forEach((v, i) => {
    expect(Math.abs(v - stages.reduce((sum, x) => sum + x[i], 0) / 3)).toBeLessThan(1e-3);
  });
  net.dispose();
  disposeNet(net);
});

test("without layers LightGCN is matrix factorisation, bit for bit; a row of scores is what pairs score", () => {
  const shape = { users: 5, items: 6, width: 4, seed: 7 };
  const flat = matrixFactorisation(shape);
  const smooth = lightGcn({ ...shape, layers: 0, interactions: { from: [0], to: [0] } });
  const pairs = tensor(Int32Array.of(3, 0, 3, 5, 1, 2), [3, 2]);
  const scores = flat.forward(pairs, EVALUATE).toArray();
  expect(smooth.forward(pairs, EVALUATE).toArray()).toEqual(scores);
  const all = scoreItems(flat, [3, 1], EVALUATE);
  expect(all.shape).toEqual([2, 6]);
  [all.f32[0], all.f32[5], all.f32[6 + 2]].forEach((v, i) => {
    expect(Math.abs(v - scores[i])).toBeLessThan(1e-6);
  });
  smooth.dispose();
  disposeNet(flat);
  disposeNet(smooth);
});

test("two crowds with tastes of their own are told apart: items of the own crowd rank first, those never seen too", () => {
  const took = (u: number, i: number): boolean => u % 2 === i % 2 && (u + 2 * i) % 5 !== 0;
  const pairs = Array.from({ length: 200 }, (_, n) => [Math.floor(n / 10), n % 10]).filter(([u, i]) => took(u, i));
  const interactions = { from: pairs.map(([u]) => u), to: pairs.map(([, i]) => i) };
  const shape = { users: 20, items: 10, width: 8, seed: 3 };
  const triples = batch(
    pairs.flatMap(([u]) => [u, u]),
    pairs.flatMap(([, i]) => [i, i]),
    pairs.flatMap(([u, i]) => [(i + 1) % 10, (i + 3) % 10].map((j) => (j % 2 === u % 2 ? (j + 1) % 10 : j))),
  );
  const models = [matrixFactorisation(shape), lightGcn({ ...shape, layers: 2, interactions })];
  for (const net of models) {
    const last = train(net, 120, 0.05, () => bprLoss(net, triples, 1e-4, EVALUATE));
    expect(last).toBeLessThan(0.05);
    const scores = scoreItems(
      net,
      Array.from({ length: 20 }, (_, u) => u),
      EVALUATE,
    ).toArray();
    for (let u = 0; u < 20; u++) {
      const order = [...Array(10).keys()].sort((i, j) => scores[10 * u + j] - scores[10 * u + i]);
      expect(
        order.slice(0, 5).every((i) => i % 2 === u % 2),
        `user ${u}`,
      ).toBe(true);
    }
    disposeNet(net);
  }
});

test("a graph convolution is A X W^T + b, and gradients go through two of them", () => {
  const graph = normalisedAdjacency(5, { from: [0, 1, 2, 3], to: [1, 2, 3, 4] });
  const x = drawer(9)([5, 3]);
  const net = gcn({ widths: [3, 2], graph, seed: 5 });
  const [w, b] = net.params;
  b.assign([0.5, -0.25]);
  const degree = [2, 3, 3, 3, 2];
  const y = net.forward(x, EVALUATE).toArray();
  for (let r = 0; r < 5; r++) {
    for (let o = 0; o < 2; o++) {
      let want = b.value.f32[o];
      for (const n of [r - 1, r, r + 1].filter((k) => k >= 0 && k < 5)) {
        const product = [0, 1, 2].reduce((sum, k) => sum + x.f32[3 * n + k] * w.value.f32[3 * o + k], 0);
        want += product / Math.sqrt(degree[r] * degree[n]);
      }
      expect(Math.abs(y[2 * r + o] - want)).toBeLessThan(1e-6);
    }
  }
  const deep = gcn({ widths: [3, 4, 2], graph, seed: 6 });
  const targets = tensor(Int32Array.of(0, -1, 1, -1, -1));
  checkGradients(valuesOf(deep), () => crossEntropy(deep.forward(x, EVALUATE), targets), 1e-3);
  graph.dispose();
  disposeNet(net);
  disposeNet(deep);
});

test("two rings with one bridge: one label each names all nodes", () => {
  const ring = (first: number): number[][] => Array.from({ length: 8 }, (_, i) => [first + i, first + ((i + 1) % 8)]);
  const chords = (first: number): number[][] => Array.from({ length: 4 }, (_, i) => [first + i, first + i + 4]);
  const edges = [...ring(0), ...ring(8), ...chords(0), ...chords(8), [0, 8]];
  const graph = normalisedAdjacency(16, { from: edges.map(([a]) => a), to: edges.map(([, b]) => b) });
  // Every node knows only its own name.
  const x = tensor(
    Float32Array.from({ length: 256 }, (_, i) => (Math.floor(i / 16) === i % 16 ? 1 : 0)),
    [16, 16],
  );
  const targets = tensor(Int32Array.from({ length: 16 }, (_, i) => (i === 4 ? 0 : i === 12 ? 1 : -1)));
  const net = gcn({ widths: [16, 16, 8, 2], graph, seed: 1 });
  train(net, 60, 0.05, () => crossEntropy(net.forward(x, EVALUATE), targets));
  const y = net.forward(x, EVALUATE).toArray();
  const right = Array.from({ length: 16 }, (_, i) => y[2 * i] > y[2 * i + 1] === i < 8).filter(Boolean).length;
  expect(right).toBe(16);
  graph.dispose();
  disposeNet(net);
});
