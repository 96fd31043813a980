/** Budgets in multiply-adds: the most weights that fit, against a search by hand; what cannot fit is refused. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { plainCnn } from "../models/plain-cnn.ts";
import { keepCounts, uniform } from "./budget.ts";
import { atMacs, keepForMacs, macsOf } from "./budget-macs.ts";
import { erk } from "./budget-shapes.ts";
import { probe } from "./evidence.ts";
import { unstructured } from "./pattern.ts";
import { sitesOf } from "./site.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const net = () => plainCnn({ seed: 1, size: 14, stages: [4, 8, 16].map((channels) => ({ channels, stride: 2 })) });
const sitesOfNet = () => sitesOf(net(), { roles: ["weight"] });

test("layers of different cost: what is left over is less than the dearest weight", () => {
  const sites = sitesOfNet();
  expect(sites.map((s) => s.macs / s.numel)).toEqual([16, 4]);
  const dense = sites.reduce((n, s) => n + s.macs, 0);
  for (const budget of [uniform, erk]) {
    for (const share of [0.05, 0.31, 0.5, 0.999]) {
      const keep = keepForMacs(sites, share * dense, budget);
      const macs = macsOf(sites, keep);
      expect(macs).toBeLessThanOrEqual(share * dense);
      expect(macs).toBeGreaterThan(share * dense - 16 - 1e-6);
      // the counts are the budget's at the sparsity that was found
      const units = sites.reduce((n, s) => n + s.numel, 0);
      const pruned = units - keep.reduce((n, k) => n + k, 0);
      expect(keep).toEqual(keepCounts(budget, sites, unstructured, pruned / units));
    }
  }
  expect([...keepForMacs(sites, 2 * dense)]).toEqual(sites.map((s) => s.numel));
});

test("too small a budget and a site without a group are refused", () => {
  const sites = sitesOfNet();
  expect(() => keepForMacs(sites, -1)).toThrow(LacunaError);
  expect(() => keepForMacs(sites, 3)).toThrow(LacunaError);
  const none = (): never => {
    throw new Error("no loss is needed");
  };
  const budget = atMacs([{ names: [sites[0].name], macs: 1600 }]);
  expect([...budget.keep([sites[0]], unstructured, 0, probe(sites, none, 1))]).toEqual([100]);
  expect(() => budget.keep(sites, unstructured, 0, probe(sites, none, 1))).toThrow(LacunaError);
});
