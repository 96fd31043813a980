import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { lenet300 } from "../models/mlp.ts";
import { plainCnn } from "../models/plain-cnn.ts";
import { erk } from "./budget-shapes.ts";
import { applyMasks, choose } from "./choose.ts";
import { random } from "./criteria.ts";
import { probe } from "./evidence.ts";
import { figuresOf } from "./meter.ts";
import { sitesOf } from "./site.ts";
import { storeSparse } from "./store.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

test("LeNet-300-100 at 90 %: every figure by hand", () => {
  const net = lenet300({ seed: 1 });
  const dense = figuresOf(net);
  const weights = 784 * 300 + 300 * 100 + 100 * 10;
  expect(dense).toEqual({
    parameters: weights + 410,
    kept: weights + 410,
    siteSparsity: 0,
    weightSparsity: 0,
    storedBytes: 4 * (weights + 410),
    heldBytes: 4 * (weights + 410),
    macs: { dense: weights, kept: weights },
  });
  const sites = sitesOf(net, { roles: ["weight"] });
  const none = (): never => {
    throw new Error("no loss is needed");
  };
  applyMasks(sites, choose(sites, { score: random, budget: erk, sparsity: 0.9 }, probe(sites, none, 1)));
  const hidden = weights - 1000;
  const pruned = Math.floor(0.9 * hidden + 1e-6);
  const sparse = figuresOf(net, sites);
  expect(sparse.siteSparsity).toBeCloseTo(pruned / hidden, 12);
  expect(sparse.weightSparsity).toBeCloseTo(pruned / weights, 12);
  expect(sparse.storedBytes).toBe(4 * (weights + 410 - pruned) + hidden / 8);
  expect(sparse.macs).toEqual({ dense: weights, kept: weights - pruned });
  expect(sparse.heldBytes).toBe(dense.heldBytes + hidden);
  storeSparse(sites);
  const stored = figuresOf(net, sites);
  expect(stored.heldBytes).toBeLessThan(0.25 * dense.heldBytes);
  expect({ ...stored, heldBytes: 0 }).toEqual({ ...sparse, heldBytes: 0 });
});

test("a convolution's weight counts once for each output position", () => {
  const net = plainCnn({ seed: 1, stages: [{ channels: 4, stride: 2 }] });
  const { macs, parameters } = figuresOf(net);
  expect(macs.dense).toBeGreaterThan(100 * 4 * 9);
  expect(macs.kept).toBe(macs.dense);
  expect(parameters).toBeGreaterThan(36);
});
