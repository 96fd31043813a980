/** Training of networks: hooks in order, masked and sparse twins, dynamic methods' promises, phases. Small planted data. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { batchMaker } from "../data/example-batches.ts";
import { type Examples, examples } from "../data/examples.ts";
import { imp } from "../methods/training/imp.ts";
import { itop } from "../methods/training/itop.ts";
import { rigl } from "../methods/training/rigl.ts";
import { set } from "../methods/training/set.ts";
import { staticRandom } from "../methods/training/static.ts";
import { mlp } from "../models/mlp.ts";
import { since, tally } from "../nn/cost.ts";
import { disposeNet, EVALUATE, type Net } from "../nn/net.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import { sumSquares } from "../nn/ops/loss-element.ts";
import { Adam, Sgd } from "../nn/optimiser.ts";
import { uniform } from "../sparsity/budget.ts";
import { sparsityOf } from "../sparsity/choose.ts";
import type { Hook, SparseTraining } from "../sparsity/hook.ts";
import { maskOf } from "../sparsity/mask.ts";
import { constant, everySteps } from "../sparsity/schedule.ts";
import { sitesOf } from "../sparsity/site.ts";
import { type FitOptions, sourceOf, fit as train } from "./fit.ts";
import { trainLoop } from "./loop.ts";
import { restore, snapshot } from "./phases.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const WIDTH = 40;

/** Four classes with a mean of their own each, in noise. */
function planted(count: number, name: string): Examples {
  const centre = stream(1, "centres");
  const noise = stream(2, name);
  const y = Uint8Array.from({ length: count }, (_, i) => i % 4);
  const x = Float32Array.from({ length: count * WIDTH }, (_, i) => {
    const [row, k] = [Math.floor(i / WIDTH), i % WIDTH];
    return 0.5 * centre.normal(y[row] * WIDTH + k) + noise.normal(i);
  });
  return examples({ name, shape: [WIDTH], classes: 4, x, y });
}

const data = planted(400, "train");
const make = (): Net => mlp([WIDTH, 64, 48, 4], { seed: 3 });

interface Trained {
  readonly net: Net;
  readonly losses: readonly number[];
}

async function trained(
  method: SparseTraining | undefined,
  options: Partial<FitOptions> & { momentum?: boolean } = {},
): Promise<Trained> {
  const net = make();
  const losses: number[] = [];
  const { momentum, ...rest } = options;
  await train(net, {
    source: sourceOf(data),
    optimiser: momentum ? new Sgd(net.params, { momentum: 0.9 }) : new Adam(net.params),
    epochs: 5,
    batch: 40,
    rate: momentum ? 0.05 : 3e-3,
    seed: 7,
    ...(method && { method }),
    onStep: ({ loss }) => {
      losses.push(loss);
    },
    ...rest,
  });
  return { net, losses };
}

const valuesOf = (net: Net): number[] => net.params.flatMap((p) => [...p.dense()]);

test("a network learns, twice the same bits; another seed is another run", async () => {
  const a = await trained(undefined);
  const b = await trained(undefined);
  const c = await trained(undefined, { seed: 8 });
  expect(a.losses.length).toBe(50);
  expect(a.losses.at(-1)).toBeLessThan(0.4 * a.losses[0]);
  expect(b.losses).toEqual(a.losses);
  expect(valuesOf(b.net)).toEqual(valuesOf(a.net));
  expect(c.losses).not.toEqual(a.losses);
  for (const { net } of [a, b, c]) disposeNet(net);
});

test("a method at density 1 is dense training, and an exchange of nothing is static training, bit for bit", async () => {
  const dense = await trained(undefined);
  const full = await trained(rigl({ sparsity: 0, every: 5 }), { storage: "masked" });
  expect(full.losses).toEqual(dense.losses);
  const fixed = await trained(staticRandom({ sparsity: 0.8 }), { storage: "masked" });
  const still = await trained(rigl({ sparsity: 0.8, every: 5, fraction: [0, 0] }), { storage: "masked" });
  expect(still.losses).toEqual(fixed.losses);
  expect(fixed.losses).not.toEqual(dense.losses);
});

test("SET: masked and truly sparse training give the same loss curve over 200 steps", async () => {
  for (const momentum of [false, true]) {
    const run = (storage: "masked" | "sparse") =>
      trained(set({ sparsity: 0.9, budget: uniform, when: everySteps(10) }), { storage, epochs: 20, momentum });
    const masked = await run("masked");
    const sparse = await run("sparse");
    expect(sparse.net.params.filter((p) => p.storage === "csr").length).toBe(3);
    expect(masked.losses.length).toBe(200);
    const apart = masked.losses.map((l, i) => Math.abs(l - sparse.losses[i]));
    // f32 sums in another order, 200 steps; random growth by hash keeps the masks the same
    expect(Math.max(...apart)).toBeLessThan(1e-4);
    expect(sparse.net.params.map((p) => p.bits())).toEqual(masked.net.params.map((p) => p.bits()));
    disposeNet(masked.net);
    disposeNet(sparse.net);
  }
});

test("RigL: at every update the twins' masks differ only between scores that agree to 1e-5", async () => {
  const nets = [make(), make()];
  const seen: { bits: Uint8Array; before: Uint8Array; weight: Float32Array; grad: Float32Array }[][][] = [[], []];
  const run = (k: number): Promise<void> => {
    const net = nets[k];
    const method = rigl({ sparsity: 0.9, budget: uniform, every: 10 });
    const sites = sitesOf(net);
    const [hook] = method.hooks;
    const watch: Hook = {
      id: "watch",
      needs: (t) => (t.step % 10 === 0 ? ["grad"] : []),
      step: ({ t, evidence }) => {
        if (t.step % 10 !== 0 || t.step > 150) return;
        seen[k].push(
          sites.map((s) => ({
            bits: s.param.bits(),
            before: s.param.bits(),
            weight: s.param.dense(),
            grad: evidence.grad(s).slice(),
          })),
        );
      },
    };
    // The sparse twin adopts the masked one's masks after each update, so that one swap does not become many.
    const adopt: Hook = {
      id: "adopt",
      step: ({ t }) => {
        if (t.step % 10 !== 0 || t.step >= 150) return;
        const record = seen[k].at(-1) as (typeof seen)[0][0];
        sites.forEach((s, i) => {
          record[i].bits = s.param.bits();
        });
        if (k === 1) {
          const other = seen[0][seen[1].length - 1];
          for (const [i, s] of sites.entries()) s.param.setMask(maskOf(other[i].bits));
        }
      },
    };
    return train(net, {
      source: sourceOf(data),
      optimiser: new Adam(net.params),
      epochs: 20,
      batch: 40,
      rate: 3e-3,
      seed: 7,
      method: { ...method, hooks: [watch, hook, adopt] },
      storage: k === 0 ? "masked" : "sparse",
    });
  };
  await run(0);
  await run(1);
  expect(nets[1].params.filter((p) => p.storage === "csr").length).toBe(3);
  expect(seen[0].length).toBe(15);
  let swaps = 0;
  for (const [u, sites] of seen[0].slice(0, 14).entries()) {
    for (const [i, a] of sites.entries()) {
      const b = seen[1][u][i];
      const differ = [...a.bits.keys()].filter((j) => a.bits[j] !== b.bits[j]);
      swaps += differ.length;
      expect(differ.length % 2).toBe(0);
      for (const scores of ["weight", "grad"] as const) {
        const largest = a[scores].reduce((m, x) => Math.max(m, Math.abs(x)), 0);
        const apart = a[scores].reduce((m, x, j) => Math.max(m, Math.abs(x - b[scores][j])), 0);
        expect(apart / largest, `${scores} at update ${u}, site ${i}`).toBeLessThan(1e-5);
      }
      // who was swapped stood within that distance of the border
      for (const j of differ) {
        const score = a.before[j] ? a.weight : a.grad;
        const others = differ.filter((q) => q !== j).map((q) => Math.abs(Math.abs(score[q]) - Math.abs(score[j])));
        expect(Math.min(...others)).toBeLessThan(1e-5 * score.reduce((m, x) => Math.max(m, Math.abs(x)), 0));
      }
    }
  }
  expect(swaps).toBeLessThan(10);
});

test("counts stay exact, the exchange shrinks, and exploration grows", async () => {
  const method = itop({ sparsity: 0.9, budget: uniform, every: 10 });
  const counts: number[][] = [];
  const { net } = await trained(method, {
    epochs: 20,
    hooks: [{ id: "count", step: (r) => counts.push(r.sites.map((s) => s.param.kept)) }],
  });
  expect(new Set(counts.map(String)).size).toBe(1);
  expect(method.meter.updates).toBe(19);
  expect(method.meter.dropped).toBe(method.meter.grown);
  // The union over random growth: 1 - prod(1 - r_i k / (n - k)) of the inactive, by update, about; at least thrice the density.
  expect(method.meter.explored).toBeGreaterThan(0.3);
  expect(method.meter.explored).toBeLessThan(0.9);
  expect(method.meter.fromFirst).toBeGreaterThan(0.5);
  expect(sparsityOf(sitesOf(net))).toBeCloseTo(0.9, 2);
});

test("a sparse step costs what its non-zeros cost; the dense gradient only where it is asked for", async () => {
  const steps: { forward: number; dX: number; dW: number }[] = [];
  let start = tally();
  const method = rigl({ sparsity: 0.9, budget: uniform, every: 10, until: 1 });
  const { net } = await trained(method, {
    epochs: 2,
    onStep: () => {
      steps.push(since(start).ran);
      start = tally();
    },
  });
  const kept = net.params.filter((p) => p.shape.length === 2).map((p) => p.kept);
  const all = net.params.filter((p) => p.shape.length === 2).map((p) => p.numel);
  const sum = (a: readonly number[]): number => 40 * a.reduce((x, y) => x + y, 0);
  // no dX into the data
  const usual = { forward: sum(kept), dX: sum(kept.slice(1)), dW: sum(kept) };
  expect(steps[4]).toEqual(usual);
  expect(steps[9]).toEqual({ ...usual, dW: sum(kept) + sum(all) });
  expect(steps[10]).toEqual(usual);
});

test("peak bytes of parameters, gradients and optimiser state follow the non-zeros", async () => {
  const peak = async (method: SparseTraining | undefined): Promise<number> => {
    const before = memory.live;
    const net = mlp([256, 512, 512, 4], { seed: 1 });
    const wide: Examples = examples({
      name: "wide",
      shape: [256],
      classes: 4,
      x: new Float32Array(2 * 256).fill(0.5),
      y: Uint8Array.of(0, 1),
    });
    const optimiser = new Adam(net.params);
    const options = { source: sourceOf(wide), optimiser, batch: 2, rate: 1e-3, seed: 1 };
    await train(net, { ...options, epochs: 2, ...(method && { method }) });
    memory.resetPeak();
    await train(net, { ...options, epochs: 5 });
    const most = memory.peak - before;
    optimiser.dispose();
    disposeNet(net);
    return most;
  };
  await peak(undefined);
  const dense = await peak(undefined);
  expect(await peak(staticRandom({ sparsity: 0.95, budget: uniform }))).toBeLessThan(0.2 * dense);
});

test("hooks are called in their order; gradients and updates can be changed; examples can be removed", async () => {
  const order: string[] = [];
  const note = (what: string): void => {
    order.push(what);
  };
  const hook: Hook = {
    id: "note",
    needs: () => {
      note("needs");
      return ["grad"];
    },
    penalty: ({ net }) => {
      note("penalty");
      return sumSquares(net.params[1].value);
    },
    grad: (p, g) => {
      if (p.name === "fc1.weight") note("grad");
      if (p.name === "fc3.bias") g.f32.fill(0);
    },
    update: (p, delta) => {
      if (p.name === "fc1.weight") note("update");
      if (p.name === "fc2.bias") delta.f32.fill(0.5);
    },
    step: ({ t, evidence, sites }) => {
      note(`step ${t.step}`);
      expect(evidence.grad(sites[0]).length).toBe(64 * WIDTH);
    },
    epoch: (r) => {
      note(`epoch ${r.t.epoch}`);
      if (r.t.epoch === 1) r.remove(Int32Array.from({ length: 240 }, (_, i) => i));
    },
    task: () => note("task"),
    seen: (ids, correct) => {
      expect(ids.length).toBe(correct.length);
      note(`seen ${ids.length}`);
    },
  };
  const { net, losses } = await trained(undefined, { epochs: 2, batch: 160, hooks: [hook] });
  const step = ["needs", "penalty", "grad", "update"];
  expect(order).toEqual([
    ...[...step, "step 1", "seen 160"],
    ...[...step, "step 2", "seen 160"],
    ...[...step, "step 3", "epoch 1", "seen 80"],
    // 160 examples are left: one step more
    ...[...step, "step 4", "epoch 2", "task", "seen 160"],
  ]);
  expect(losses.length).toBe(4);
  expect([...net.params[5].dense()]).toEqual([0, 0, 0, 0]);
  expect(net.params[3].dense()[0]).toBe(2);
});

test("a loop may stop and go on with the same bits", async () => {
  const whole = await trained(undefined, { epochs: 1 });
  const net = make();
  const optimiser = new Adam(net.params);
  const batch = batchMaker(data);
  const places = Int32Array.from({ length: 40 }, (_, i) => i);
  const run = async (steps: number): Promise<void> =>
    trainLoop(
      {
        optimiser,
        loss: () => {
          const { x, y } = batch(places);
          return crossEntropy(net.forward(x, EVALUATE), y);
        },
      },
      { rate: { at: constant(1e-3), steps } },
    );
  await run(3);
  await run(6);
  const twin = make();
  const other = new Adam(twin.params);
  for (let i = 0; i < 6; i++) {
    scope(() => {
      const { x, y } = batch(places);
      const wrt = twin.params.map((p) => p.value);
      other.step(valueAndGrad(() => crossEntropy(twin.forward(x, EVALUATE), y), wrt).gradients, 1e-3);
    });
  }
  expect(valuesOf(net)).toEqual(valuesOf(twin));
  expect(optimiser.steps).toBe(6);
  expect(whole.losses.length).toBe(10);
});

test("IMP prunes equal shares of what is left, globally, and can rewind", async () => {
  const { net } = await trained(undefined, { epochs: 1 });
  const start = snapshot(net);
  const sites = sitesOf(net);
  const at: number[] = [];
  await imp(net, {
    sparsity: 0.9,
    phases: 3,
    rewind: start,
    retrain: async () => {
      at.push(sparsityOf(sites));
    },
  });
  const total = sites.reduce((n, s) => n + s.numel, 0);
  for (const [i, s] of [0.5358, 0.7846, 0.9].entries()) expect(at[i]).toBeCloseTo(s, 3);
  const bits = sites.flatMap((s) => [...s.param.bits()]);
  const sizes = sites.flatMap((s) => [...start.params[net.params.indexOf(s.param)]].map(Math.abs));
  const least = [...sizes].sort((a, b) => b - a)[total - Math.floor(0.9 * total + 1e-6) - 1];
  expect(bits).toEqual(sizes.map((v) => (v >= least ? 1 : 0)));
  restore(net, start);
  const rewound = make();
  await imp(net, { sparsity: 0.95, phases: 1, rewind: "init", retrain: async () => {} });
  net.params.forEach((p, i) => {
    const kept = p.bits();
    expect(p.dense()).toEqual(rewound.params[i].dense().map((v, j) => (kept[j] ? v : 0)));
  });
});
