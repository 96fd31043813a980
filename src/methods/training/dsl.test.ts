/** DSL: its limits (dense, static), the schedule, which weights grow, exact budgets, and the tables that are shipped. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { scope } from "../../core/scope.ts";
import { interactions } from "../../data/interactions.ts";
import { lightGcn } from "../../models/lightgcn.ts";
import { matrixFactorisation } from "../../models/matrix-factorisation.ts";
import { bprLoss, type Recommender } from "../../models/recommender.ts";
import { constant as filled } from "../../nn/init.ts";
import { disposeNet, EVALUATE } from "../../nn/net.ts";
import { Adam } from "../../nn/optimiser.ts";
import { Param } from "../../nn/param.ts";
import { uniform } from "../../sparsity/budget.ts";
import { gradient, magnitude } from "../../sparsity/criteria.ts";
import { evidenceOf, History } from "../../sparsity/evidence.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import { maskOf } from "../../sparsity/mask.ts";
import { rewired } from "../../sparsity/rewire.ts";
import { constant, cosine, never } from "../../sparsity/schedule.ts";
import { siteOf } from "../../sparsity/site.ts";
import { trainByTriples } from "../../train/bpr.ts";
import { dsl, rowCounts, sparseTable, staticTables } from "./dsl.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

/** 12 users, 10 items; item i is taken by the users for whom (7 u + i) % 10 <= i / 2, so later items are more popular. */
const pairs = Array.from({ length: 120 }, (_, i) => [Math.floor(i / 10), i % 10]).filter(
  ([u, i]) => (7 * u + i) % 10 <= i / 2,
);
const took = interactions(
  12,
  10,
  pairs.map(([u]) => u),
  pairs.map(([, i]) => i),
);
const shape = { users: 12, items: 10, width: 6, seed: 4 };

interface Trained {
  readonly values: readonly (readonly number[])[];
  readonly masks: readonly (readonly number[])[];
  readonly kept: readonly number[][];
}

async function train(method?: SparseTraining, model: Recommender = matrixFactorisation(shape)): Promise<Trained> {
  const optimiser = new Adam(model.params);
  const kept: number[][] = [];
  await trainByTriples(model, {
    optimiser,
    train: took,
    steps: 40,
    batch: 16,
    rate: constant(0.02),
    penalty: 1e-3,
    seed: 3,
    ...(method && { method }),
    afterStep: () => void kept.push(model.params.map((p) => p.kept)),
  });
  const found = {
    values: model.params.map((p) => [...p.dense()]),
    masks: model.params.map((p) => [...p.bits()]),
    kept,
  };
  optimiser.dispose();
  disposeNet(model);
  return found;
}

describe("limits", () => {
  test("density 1 is dense training, bit for bit", async () => {
    expect((await train(dsl({ sparsity: 0, every: 5 }))).values).toEqual((await train()).values);
  });

  test("an exchange of 0 is static sparse training, bit for bit", async () => {
    const [still, fixed] = [
      await train(dsl({ sparsity: 0.5, every: 5, fraction: [0, 0] })),
      await train(staticTables(0.5)),
    ];
    expect(still.values).toEqual(fixed.values);
    expect(still.masks).toEqual(fixed.masks);
    expect((await train(dsl({ sparsity: 0.5, every: 5 }))).masks).not.toEqual(fixed.masks);
  });
});

describe("exchange", () => {
  test("the share falls from 0.5 over 0.2525 to 0.005", () => {
    const share = cosine(0.5, 0.005, { end: 1 });
    const at = (step: number) => share({ step, steps: 1000 });
    expect([at(0), at(500), at(1000)].map((x) => Number(x.toFixed(12)))).toEqual([0.5, 0.2525, 0.005]);
  });

  test("the smallest of a 5x4 table go and the largest gradients among inactive places come, by brute force", () => {
    const p = new Param("users.weight", [5, 4], filled(0), 1, { role: "embedding" });
    const weights = Float32Array.from({ length: 20 }, (_, i) => Math.cos(3 * i + 1));
    const gradients = Float32Array.from({ length: 20 }, (_, i) => Math.sin(5 * i + 2));
    const bits = Uint8Array.from({ length: 20 }, (_, i) => (i % 5 < 2 ? 1 : 0));
    p.assign(weights);
    p.setMask(maskOf(bits));
    const site = siteOf(p, 0);
    const moment = { t: { step: 1, steps: 2 }, seed: 1, history: new History(), loss: 0, grad: () => gradients };
    const rule = {
      drop: magnitude,
      grow: gradient,
      budget: uniform,
      target: constant(0.6),
      when: never,
      regrow: false,
    };
    const k = 3; // of 8 active
    const mask = rewired(rule, site, 8, k, evidenceOf(moment));
    const places = Array.from({ length: 20 }, (_, i) => i);
    const active = places.filter((i) => bits[i] === 1).sort((a, b) => Math.abs(weights[a]) - Math.abs(weights[b]));
    const rest = places.filter((i) => bits[i] === 0).sort((a, b) => Math.abs(gradients[b]) - Math.abs(gradients[a]));
    const want = [...active.slice(k), ...rest.slice(0, k)].sort((a, b) => a - b);
    expect(places.filter((i) => mask.bits[i] === 1)).toEqual(want);
    p.dispose();
  });

  test("every table has the same exact count in every step, also where few rows have a gradient", async () => {
    for (const growth of ["gradient", "random", "momentum"] as const) {
      const method = dsl({ sparsity: 0.7, every: 5, growth });
      const { kept, masks } = await train(method);
      const want = [72, 60].map((n) => n - Math.floor(0.7 * n + 1e-6));
      // one count over both: floors, then the largest remainder
      expect(kept[0].reduce((a, b) => a + b)).toBe(132 - Math.floor(0.7 * 132 + 1e-6));
      want.forEach((n, i) => {
        expect(Math.abs(kept[0][i] - n)).toBeLessThanOrEqual(1);
      });
      for (const k of kept) expect(k).toEqual(kept[0]);
      expect(masks.map((m) => m.reduce((a, b) => a + b))).toEqual(kept[0]);
      expect(method.meter.updates).toBe(7); // at 5, 10 .. 35 of 40
    }
  });
});

test("LightGCN on two nodes and one edge swaps the rows, so one layer gives their mean", () => {
  const net = lightGcn({ users: 1, items: 1, width: 2, seed: 1, layers: 1, interactions: { from: [0], to: [0] } });
  net.params[0].assign([1, 5]);
  net.params[1].assign([3, -1]);
  scope(() => {
    const { users, items } = net.tables(EVALUATE);
    expect([...users.toArray(), ...items.toArray()]).toEqual([2, 2, 2, 2]);
  });
  net.dispose();
  disposeNet(net);
});

test("DSL trains LightGCN's tables, too, and they stay sparse", async () => {
  const net = lightGcn({
    ...shape,
    layers: 2,
    interactions: { from: pairs.map(([u]) => u), to: pairs.map(([, i]) => i) },
  });
  const { values, masks } = await train(dsl({ sparsity: 0.5, every: 5 }), net);
  values.forEach((v, i) => {
    expect(v.every((x, j) => masks[i][j] === 1 || x === 0)).toBe(true);
  });
  net.dispose();
});

test("BPR costs ln 2 at embeddings of 0", () => {
  const net = matrixFactorisation({ ...shape, spread: 0 });
  const batch = { users: Int32Array.of(1, 2), positives: Int32Array.of(3, 4), negatives: Int32Array.of(0, 1) };
  scope(() => {
    expect(bprLoss(net, batch, 1, EVALUATE).item()).toBeCloseTo(Math.LN2, 6);
  });
  disposeNet(net);
});

test("a shipped table holds the kept weights by row, and no more bytes than values, dimensions and row starts", () => {
  const p = new Param("items.weight", [3, 4], filled(0), 1, { role: "embedding" });
  p.assign([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  p.setMask(maskOf(Uint8Array.of(0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0)));
  const t = sparseTable(p);
  expect([...t.starts]).toEqual([0, 2, 2, 5]);
  expect([...t.dimensions]).toEqual([1, 3, 0, 1, 2]);
  expect([...t.values]).toEqual([2, 4, 9, 10, 11]);
  expect(t.bytes).toBe(5 * 4 + 5 + 4 * 4);
  expect([...rowCounts(p)]).toEqual([2, 0, 3]);
  p.dispose();
});
