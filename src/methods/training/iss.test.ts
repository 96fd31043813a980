/** Iterative soft shrinkage: its closed forms, its limits alpha = 0 and 1, the cut, and the variants. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { tensor } from "../../core/tensor.ts";
import { edsr } from "../../models/super-resolution.ts";
import { normal } from "../../nn/init.ts";
import { disposeNet, type Net } from "../../nn/net.ts";
import { mul } from "../../nn/ops/elementwise.ts";
import { meanAbsoluteError } from "../../nn/ops/loss-element.ts";
import { sum } from "../../nn/ops/reduce.ts";
import { Adam, type Optimiser, Sgd } from "../../nn/optimiser.ts";
import { Param } from "../../nn/param.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import { nm } from "../../sparsity/pattern.ts";
import { siteOf, sitesOf } from "../../sparsity/site.ts";
import { fitSteps } from "../../train/fit-steps.ts";
import { fromScratch, important, iss, issCount } from "./iss.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

/** A network of one weight whose loss is the sum of g w: its gradient is g in every step. */
function constantGradient(values: readonly number[], g: readonly number[]) {
  const weight = new Param("w", [2, values.length / 2], normal(1), 1);
  weight.assign(values);
  const net: Net = { params: [weight], forward: (x) => sum(mul(weight.value, x)) };
  const loss = () => net.forward(tensor(Float32Array.from(g), weight.shape), { train: true, t: at, seed: 0 });
  return { net, weight, loss, sites: [siteOf(weight, 0)] };
}
const at = { step: 0, steps: 1 };

async function descend(
  values: readonly number[],
  g: readonly number[],
  steps: number,
  rate: number,
  m: SparseTraining,
) {
  const { net, weight, loss, sites } = constantGradient(values, g);
  await fitSteps(net, { optimiser: new Sgd(net.params), steps, rate, seed: 1, sites, loss, method: m });
  const result = { values: [...weight.dense()], bits: [...weight.bits()] };
  disposeNet(net);
  return result;
}

const NEVER = 2;
const LARGE = [5, -6, 7, 8];

describe("closed forms", () => {
  test("without gradients the unimportant decay as alpha^k, and no other weight changes", async () => {
    const small = [0.5, -0.25, 0.125, 1];
    const { values } = await descend(
      [...small, ...LARGE],
      Array(8).fill(0),
      12,
      0.1,
      iss({ sparsity: 0.5, alpha: 0.9, until: NEVER }),
    );
    for (const [i, w] of small.entries()) expect(values[i]).toBeCloseTo(w * 0.9 ** 12, 6);
    expect(values.slice(4)).toEqual(LARGE);
  });

  test("under a constant gradient an unimportant weight goes to -alpha eta g / (1 - alpha): -19 eta g at 0.95", async () => {
    const g = [1, -2, 0.5, 0.1];
    const eta = 0.01;
    const method = iss({ sparsity: 0.5, alpha: 0.95, until: NEVER });
    const { values } = await descend([0, 0, 0, 0, ...LARGE], [...g, 0, 0, 0, 0], 400, eta, method);
    for (const [i, x] of g.entries()) expect(values[i]).toBeCloseTo(-19 * eta * x, 5);
    expect(method.meter.flips).toBe(0);
  });

  test("one whose gradient is strong enough becomes important, and the least of those takes its place", async () => {
    const method = iss({ sparsity: 0.5, alpha: 0.95, until: NEVER });
    const { values } = await descend([0, 0, 0, 0, ...LARGE], [-100, 0, 0, 0, 0, 0, 0, 0], 100, 0.01, method);
    expect(values[0]).toBeGreaterThan(5);
    expect(Math.abs(values[4])).toBeLessThan(5);
    expect(method.meter.flips).toBe(2);
  });

  test("counts are ceil(p n), at most 99.5 % of a layer", () => {
    expect([0.95, 0.9, 0.5, 0.999, 0].map((p) => issCount(p, 2304))).toEqual([2189, 2074, 1152, 2292, 0]);
    expect(issCount(0.7, 10)).toBe(7);
  });
});

const pixels = (name: string, step: number, size: number) =>
  tensor(
    Float32Array.from({ length: 2 * size * size }, (_, i) => stream(4, name).uniform(step * 1000 + i)),
    [2, 1, size, size],
  );
const STEPS = 20;

/** Trains a small network for super-resolution; losses, values and masks after every step. */
async function train(method?: SparseTraining, hooks: readonly Hook[] = []) {
  const net = edsr({ seed: 2, width: 4, blocks: 1, size: 6 });
  const sites = sitesOf(net, { roles: ["weight"] });
  const losses: number[] = [];
  const seen: { readonly values: readonly Float32Array[]; readonly bits: readonly Uint8Array[] }[] = [];
  const watch: Hook = {
    id: "watch",
    step: (r) => {
      seen.push({ values: r.sites.map((s) => s.param.dense()), bits: r.sites.map((s) => s.param.bits()) });
    },
  };
  const optimiser: Optimiser = new Adam(net.params);
  await fitSteps(net, {
    optimiser,
    steps: STEPS,
    rate: 1e-2,
    seed: 1,
    sites,
    loss: (mode) =>
      meanAbsoluteError(net.forward(pixels("low", mode.t.step, 6), mode), pixels("high", mode.t.step, 12)),
    ...(method && { method }),
    hooks: [...hooks, watch],
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  disposeNet(net);
  return { losses, seen };
}

/** Zeroes the ceil(p n) smallest after every step, by sorting: hard thresholding written anew. */
const hard = (sparsity: number, until: number): Hook => ({
  id: "hard",
  step({ sites, t }) {
    if (t.step > until * t.steps) return;
    for (const { param } of sites) {
      const w = param.value.f32;
      const order = [...w.keys()].sort((a, b) => Math.abs(w[a]) - Math.abs(w[b]) || b - a);
      for (const i of order.slice(0, Math.ceil(sparsity * w.length))) w[i] = 0;
    }
  },
});

describe("on a network", () => {
  test("alpha = 1 is dense training up to the cut, bit for bit", async () => {
    const [shrunk, dense] = [await train(iss({ sparsity: 0.75, alpha: 1, until: 0.5 })), await train()];
    expect(shrunk.losses.slice(0, 10)).toEqual(dense.losses.slice(0, 10));
    expect(shrunk.seen[8].values).toEqual(dense.seen[8].values);
    expect(shrunk.losses.slice(10)).not.toEqual(dense.losses.slice(10));
  });

  test("alpha = 0 is iterative hard thresholding", async () => {
    const soft = await train(iss({ sparsity: 0.75, alpha: 0, until: NEVER }));
    const twin = await train(undefined, [hard(0.75, 1)]);
    expect(soft.losses).toEqual(twin.losses);
    expect(soft.seen[19].values.map((v) => [...v].map(Math.abs))).toEqual(
      twin.seen[19].values.map((v) => [...v].map(Math.abs)),
    );
  });

  test("there is no mask before the cut; behind it the mask stands and what it hides is 0", async () => {
    const { seen } = await train(iss({ sparsity: 0.75, alpha: 0.9, until: 0.5 }));
    for (const { bits } of seen.slice(0, 9)) for (const b of bits) expect(b.every((x) => x === 1)).toBe(true);
    for (const { bits, values } of seen.slice(9)) {
      expect(bits).toEqual(seen[9].bits);
      bits.forEach((b, k) => {
        expect(b.reduce((n, x) => n + x, 0)).toBe(b.length - Math.ceil(0.75 * b.length));
        for (const [i, x] of b.entries()) expect(x === 1 || values[k][i] === 0).toBe(true);
      });
    }
  });

  test("what is cut are the weights shrunk last; choosing again from the shrunk ones gives the same", async () => {
    const uncut = await train(iss({ sparsity: 0.75, alpha: 0.9, until: NEVER }));
    const cut = await train(iss({ sparsity: 0.75, alpha: 0.9, until: 0.5 }));
    cut.seen[9].bits.forEach((bits, k) => {
      const values = uncut.seen[9].values[k];
      const shape = { index: k, name: "w", rows: 4, columns: values.length / 4, numel: values.length };
      const site = { ...shape, shape: [4, values.length / 4], role: "weight", macs: 0, param: null } as never;
      expect([...important(values, site, 0.75, { kind: "unstructured" }).bits]).toEqual([...bits]);
    });
  });

  test("the mask from scratch is the one of the initial magnitudes and never changes", async () => {
    const net = edsr({ seed: 2, width: 4, blocks: 1, size: 6 });
    const [site] = sitesOf(net, { roles: ["weight"] });
    const order = [...site.param.dense()].map((w, i) => [Math.abs(w), i]).sort((a, b) => b[0] - a[0]);
    const kept = new Set(order.slice(0, 36).map(([, i]) => i));
    disposeNet(net);
    const { seen } = await train(fromScratch(0.75));
    expect([...seen[0].bits[0]]).toEqual(Array.from({ length: 144 }, (_, i) => (kept.has(i) ? 1 : 0)));
    for (const { bits } of seen) expect(bits).toEqual(seen[0].bits);
  });
});

describe("variants", () => {
  test("1:4 shrinks all but the largest of four neighbours", async () => {
    const start = [1, 2, 3, 4, -8, 7, 6, 5];
    const method = iss({ sparsity: 0.75, alpha: 0.5, until: 1, pattern: nm(1, 4) });
    const { values, bits } = await descend(start, Array(8).fill(0), 3, 0.1, method);
    expect(bits).toEqual([0, 0, 0, 1, 1, 0, 0, 0]);
    expect(values).toEqual([0, 0, 0, 4, -8, 0, 0, 0]);
  });

  test("the penalty grows by its step while a weight is unimportant: w (1 - eta lambda) in every step", async () => {
    const eta = 0.5;
    const method = iss({ sparsity: 0.5, until: NEVER, penalty: { by: 0.01, every: 2 } });
    const { values } = await descend([1, 1, 1, 1, ...LARGE], Array(8).fill(0), 9, eta, method);
    // lambda is 0 in steps 1 and 2, 0.01 in 3 and 4, and so on.
    let w = 1;
    for (let step = 1; step <= 9; step++) w *= 1 - eta * 0.01 * Math.floor((step - 1) / 2);
    for (const v of values.slice(0, 4)) expect(v).toBeCloseTo(w, 6);
    expect(values.slice(4)).toEqual(LARGE);
  });
});
