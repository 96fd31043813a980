/** Rewiring against brute force and closed forms: exact counts, who goes, who comes, what is remembered. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { Param } from "../nn/param.ts";
import { uniform } from "./budget.ts";
import { applyMasks, choose, collapsed, given, globally, sparsityOf } from "./choose.ts";
import { gradient, magnitude, random, saliency, unfired } from "./criteria.ts";
import { type Evidence, evidenceOf, History, lots } from "./evidence.ts";
import { maskOf } from "./mask.ts";
import { parsePattern } from "./pattern.ts";
import { type Rewire, rewired } from "./rewire.ts";
import { constant, everySteps } from "./schedule.ts";
import { type Site, siteOf } from "./site.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const site = (name: string, shape: readonly number[], values?: readonly number[], index = 0): Site => {
  const p = new Param(name, shape, (_, s) => (i) => s.normal(i), 4);
  if (values) p.assign(values);
  return siteOf(p, index);
};

const moment = (grads: ReadonlyMap<string, Float32Array> = new Map(), step = 10, history = new History()): Evidence =>
  evidenceOf({
    t: { step, steps: 100 },
    seed: 9,
    history,
    loss: 1,
    grad: (s) => grads.get(s.name) ?? new Float32Array(s.numel),
  });

const base: Rewire = {
  drop: magnitude,
  budget: uniform,
  target: constant(0.5),
  when: everySteps(1),
};
const kept = (bits: Uint8Array): number[] => [...bits.keys()].filter((i) => bits[i]);

test("SET drops the same share of either sign; RigL's rule does not look at signs", () => {
  const s = site("w", [2, 8], [-4, -3, -2, -1, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
  s.param.setMask(maskOf(Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])));
  const dropOnly = rewired({ ...base, strata: "sign" }, s, 6, 0, moment());
  expect(kept(dropOnly.bits)).toEqual([0, 1, 2, 5, 6, 7]);
  s.param.assign([-9, -8, -7, -6, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(kept(rewired({ ...base, strata: "sign" }, s, 4, 0, moment()).bits)).toEqual([0, 1, 6, 7]);
  expect(kept(rewired(base, s, 4, 0, moment()).bits)).toEqual([0, 1, 2, 3]);
});

test("RigL: smallest weights go, largest gradients of all that are not kept come, against brute force", () => {
  const s = site("w", [6, 7]);
  const bits = Uint8Array.from({ length: 42 }, (_, i) => (i % 2 === 0 ? 1 : 0));
  s.param.setMask(maskOf(bits));
  const g = Float32Array.from({ length: 42 }, (_, i) => Math.sin(3 * i + 1));
  const w = s.param.dense();
  const after = rewired({ ...base, grow: gradient }, s, 21, 6, moment(new Map([["w", g]])));
  const order = kept(bits).sort((a, b) => Math.abs(w[b]) - Math.abs(w[a]));
  const survivors = new Set(order.slice(0, 15));
  const candidates = Array.from({ length: 42 }, (_, i) => i).filter((i) => !survivors.has(i));
  const come = candidates.sort((a, b) => Math.abs(g[b]) - Math.abs(g[a])).slice(0, 6);
  expect(kept(after.bits)).toEqual([...survivors, ...come].sort((a, b) => a - b));
});

test("what was dropped comes back only where that is allowed, and counts stay exact even then", () => {
  const s = site("w", [1, 8], [1, 2, 3, 4, 5, 6, 0, 0]);
  s.param.setMask(maskOf(Uint8Array.from([1, 1, 1, 1, 1, 1, 0, 0])));
  const g = new Map([["w", Float32Array.from([9, 8, 0, 0, 0, 0, 0.1, 0.2])]]);
  const again = rewired({ ...base, grow: gradient }, s, 6, 2, moment(g));
  expect(kept(again.bits)).toEqual([0, 1, 2, 3, 4, 5]);
  const away = rewired({ ...base, grow: gradient, regrow: false }, s, 6, 2, moment(g));
  expect(kept(away.bits)).toEqual([2, 3, 4, 5, 6, 7]);
  // An exchange of five is more than the two that are inactive: it is capped.
  expect(rewired({ ...base, grow: gradient, regrow: false }, s, 6, 5, moment(g)).kept).toBe(6);
});

test("growth without any gradient falls by hash, not to the first row", () => {
  const s = site("w", [10, 100]);
  s.param.setMask(maskOf(Uint8Array.from({ length: 1000 }, (_, i) => (i >= 500 ? 1 : 0))));
  const after = rewired({ ...base, grow: gradient }, s, 500, 250, moment());
  const grown = kept(after.bits).filter((i) => i < 500);
  expect(after.kept).toBe(500);
  const inFirstRows = grown.filter((i) => i < 100).length;
  expect(grown.length).toBeGreaterThan(100);
  expect(inFirstRows / grown.length).toBeLessThan(0.35);
});

test("random growth is a function of (seed, step, site, element) and about uniform", () => {
  const a = lots(1, "w", 5);
  expect(Array.from({ length: 5 }, (_, i) => lots(1, "w", 5)(i))).toEqual(Array.from({ length: 5 }, (_, i) => a(i)));
  expect([lots(2, "w", 5)(0), lots(1, "v", 5)(0), lots(1, "w", 6)(0)]).not.toContain(a(0));
  const n = 20000;
  const bins = new Array<number>(16).fill(0);
  for (let i = 0; i < n; i++) bins[Math.floor(16 * a(i))]++;
  // chi-square with 15 degrees of freedom: above 45 with a chance of 1e-4
  expect(bins.reduce((x, b) => x + (b - n / 16) ** 2 / (n / 16), 0)).toBeLessThan(45);
});

test("unfired places come before those that have been tried", () => {
  const history = new History();
  const s = site("w", [4, 10]);
  const half = maskOf(Uint8Array.from({ length: 40 }, (_, i) => (i < 20 ? 1 : 0)));
  s.param.setMask(half);
  history.note([s]);
  s.param.setMask(maskOf(Uint8Array.from({ length: 40 }, (_, i) => (i < 10 ? 1 : 0))));
  const after = rewired({ ...base, grow: unfired }, s, 20, 10, moment(new Map(), 3, history));
  expect(kept(after.bits).filter((i) => i >= 10 && i < 20)).toEqual([]);
  expect(after.kept).toBe(20);
});

test("blocks stand and fall together", () => {
  const pattern = parsePattern("4x1");
  const s = site("w", [8, 6]);
  const e = moment();
  applyMasks([s], choose([s], { score: magnitude, budget: uniform, sparsity: 0.5, pattern }, e));
  expect(s.param.kept).toBe(24);
  const after = rewired({ ...base, grow: random, pattern }, s, 6, 3, e);
  expect(after.kept).toBe(24);
  for (let c = 0; c < 6; c++) {
    for (const top of [0, 4]) {
      const column = [0, 1, 2, 3].map((r) => after.bits[(top + r) * 6 + c]);
      expect(new Set(column).size).toBe(1);
    }
  }
});

test("one pool over all sites is the ranking of all weights; given counts shuffle it", () => {
  const sites = [site("a", [5, 7], undefined, 0), site("b", [9, 4], undefined, 1)];
  const e = moment();
  const masks = choose(sites, { score: magnitude, budget: globally(magnitude), sparsity: 0.7 }, e);
  const all = sites.flatMap((s) => [...s.param.dense()].map(Math.abs));
  const keep = 71 - Math.floor(0.7 * 71);
  const threshold = [...all].sort((x, y) => y - x)[keep - 1];
  const bits = masks.flatMap((m) => [...m.bits]);
  expect(bits).toEqual(all.map((v) => (v >= threshold ? 1 : 0)));
  const counts = masks.map((m) => m.kept);
  const shuffled = choose(sites, { score: random, budget: given(counts), sparsity: 0.7 }, e);
  expect(shuffled.map((m) => m.kept)).toEqual(counts);
  expect(shuffled.flatMap((m) => [...m.bits])).not.toEqual(bits);
  applyMasks(sites, masks);
  expect(sparsityOf(sites)).toBeCloseTo(1 - keep / 71, 12);
  expect(collapsed(sites, [maskOf(new Uint8Array(35)), masks[1]])).toEqual(["a"]);
});

test("nested choices never bring a pruned weight back", () => {
  const s = site("w", [4, 25]);
  const e = moment();
  applyMasks([s], choose([s], { score: magnitude, budget: uniform, sparsity: 0.3 }, e));
  const first = s.param.bits();
  const values = s.param.dense();
  values[first.indexOf(1)] = 0; // a kept weight that is 0 by chance
  s.param.assign(values);
  applyMasks(
    [s],
    choose([s], { score: magnitude, budget: globally(magnitude, { nested: true }), sparsity: 0.3, nested: true }, e),
  );
  expect(s.param.bits()).toEqual(first);
});

test("a score that is not a number is refused by name", () => {
  const s = site("w", [2, 2], [1, 2, 3, Number.NaN]);
  expect(() => choose([s], { score: magnitude, budget: uniform, sparsity: 0.5 }, moment())).toThrow(/magnitude of w/);
  expect(saliency.needs).toEqual(["grad"]);
});
