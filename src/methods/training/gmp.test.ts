/** Gradual magnitude pruning: the ramp's values, exact counts, what held weights do, and storage after the ramp. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { tensor } from "../../core/tensor.ts";
import { lstmLanguageModel } from "../../models/lstm.ts";
import { mlp } from "../../models/mlp.ts";
import { disposeNet, type Net } from "../../nn/net.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { Adam } from "../../nn/optimiser.ts";
import { random } from "../../sparsity/criteria.ts";
import type { Hook } from "../../sparsity/hook.ts";
import { cubic, linear } from "../../sparsity/schedule.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";
import { fitSteps } from "../../train/fit-steps.ts";
import { reader } from "../../train/text-streams.ts";
import { type GmpOptions, gmp } from "./gmp.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const at = (step: number) => ({ step, steps: 100 });
const SIZES = [6, 11, 4];
const make = (): Net => mlp(SIZES, { seed: 3 });

/** Random inputs, 16 a step, whose label is the place of the largest of the first four. */
function batch(step: number) {
  const x = Float32Array.from({ length: 16 * 6 }, (_, i) => stream(8, "inputs").normal(step * 96 + i));
  const y = Int32Array.from({ length: 16 }, (_, r) => {
    const row = [...x.subarray(6 * r, 6 * r + 4)];
    return row.indexOf(Math.max(...row));
  });
  return { x: tensor(x, [16, 6]), y: tensor(y) };
}

interface Seen {
  readonly step: number;
  readonly bits: readonly Uint8Array[];
  readonly values: readonly Float32Array[];
}

/** Trains with the method; the losses, and masks and values after every step. */
async function train(net: Net, steps: number, options?: GmpOptions) {
  const seen: Seen[] = [];
  const losses: number[] = [];
  const watch: Hook = {
    id: "watch",
    step: ({ sites, t }) => {
      seen.push({ step: t.step, bits: sites.map((s) => s.param.bits()), values: sites.map((s) => s.param.dense()) });
    },
  };
  const method = options && gmp(options);
  await fitSteps(net, {
    optimiser: new Adam(net.params),
    steps,
    rate: 0.02,
    seed: 1,
    loss: (mode) => {
      const { x, y } = batch(mode.t.step);
      return crossEntropy(net.forward(x, mode), y);
    },
    ...(method && { method }),
    hooks: [watch],
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  return { seen, losses, meter: method?.meter };
}

describe("the ramp", () => {
  test("to 0.9 it is 0, .2439, .52031, .7875, .88594, .9 at 0, .1, .25, .5, .75, 1 of the way", () => {
    const ramp = cubic(0, 0.9);
    [0, 0.2439, 0.5203125, 0.7875, 0.8859375, 0.9].forEach((s, i) => {
      expect(ramp(at([0, 10, 25, 50, 75, 100][i]))).toBeCloseTo(s, 12);
    });
  });

  test("counts after every update are floor(s n) pruned over all layers, and stand still after the ramp", async () => {
    const net = make();
    const { seen, meter } = await train(net, 100, { sparsity: 0.9, begin: 0.1, end: 0.6, every: 5 });
    const n = 6 * 11 + 11 * 4;
    const ramp = cubic(0, 0.9, { begin: 0.1, end: 0.6 });
    for (const { step, bits } of seen) {
      const update = step <= 10 ? 0 : Math.min(60, step - (step % 5));
      const kept = bits.reduce((sum, b) => sum + b.reduce((a, x) => a + x, 0), 0);
      expect([step, n - kept]).toEqual([step, Math.floor(ramp(at(update)) * n + 1e-6)]);
    }
    expect(meter?.updates).toBe(10);
    expect(seen[99].bits).toEqual(seen[59].bits);
    disposeNet(net);
  });

  test("exponent 1 is `ramp: linear`", async () => {
    const net = make();
    const { seen } = await train(net, 40, {
      sparsity: 0.5,
      every: 1,
      ramp: linear(0, 1, { begin: 0, end: 1 }),
      begin: 0,
      end: 1,
    });
    for (const { step, bits } of seen) {
      const kept = bits.reduce((sum, b) => sum + b.reduce((a, x) => a + x, 0), 0);
      expect(110 - kept).toBe(Math.floor((0.5 * step * 110) / 40 + 1e-6));
    }
    disposeNet(net);
  });

  test("a ramp that ends between updates reaches its target at the next one, or at the end of the run", async () => {
    for (const every of [7, 64]) {
      const net = make();
      const { seen } = await train(net, 30, { sparsity: 0.8, every, begin: 0.2, end: 0.5 });
      expect(seen[29].bits.reduce((sum, b) => sum + b.reduce((a, x) => a + x, 0), 0)).toBe(110 - 88);
      disposeNet(net);
    }
  });
});

describe("masked weights", () => {
  test("a held one keeps its value to the bit until it returns, and some return", async () => {
    const net = make();
    const { seen, meter } = await train(net, 60, { sparsity: 0.7, every: 2, begin: 0, end: 0.9 });
    let held = 0;
    for (let k = 1; k < seen.length; k++) {
      seen[k - 1].bits.forEach((before, i) => {
        for (let j = 0; j < before.length; j++) {
          if (before[j]) continue;
          held++;
          expect(seen[k].values[i][j]).toBe(seen[k - 1].values[i][j]);
        }
      });
    }
    expect(held).toBeGreaterThan(500);
    expect(meter?.grown).toBeGreaterThan(0);
    for (const { param } of sitesOf(net)) {
      const bits = param.bits();
      for (const slot of ["m", "v"])
        for (const [j, v] of param.denseSlot(slot).entries()) expect(bits[j] === 1 || v === 0).toBe(true);
    }
    disposeNet(net);
  });

  test("the smallest of each layer go, held ones among the candidates", async () => {
    const net = make();
    const { seen } = await train(net, 10, { sparsity: () => 0.5, every: 10, begin: 0.5, end: 1 });
    seen[9].bits.forEach((bits, i) => {
      const size = seen[9].values[i].map(Math.abs);
      const kept = Math.min(...size.filter((_, j) => bits[j] === 1));
      expect(Math.max(...size.filter((_, j) => bits[j] === 0))).toBeLessThanOrEqual(kept);
    });
    disposeNet(net);
  });

  test("without recovery they are 0, and masks are nested", async () => {
    const net = make();
    const { seen, meter } = await train(net, 60, { sparsity: 0.7, every: 2, begin: 0, end: 0.9, recover: false });
    expect(meter?.grown).toBe(0);
    for (let k = 1; k < seen.length; k++) {
      seen[k].bits.forEach((bits, i) => {
        bits.forEach((b, j) => {
          expect(b).toBeLessThanOrEqual(seen[k - 1].bits[i][j]);
          if (!b) expect(seen[k].values[i][j]).toBe(0);
        });
      });
    }
    disposeNet(net);
  });

  test("a final sparsity of 0 is dense training, bit for bit", async () => {
    const [pruned, dense] = [make(), make()];
    const a = await train(pruned, 20, { sparsity: 0, every: 2 });
    const b = await train(dense, 20);
    expect(a.losses).toEqual(b.losses);
    expect(pruned.params.map((p) => [...p.dense()])).toEqual(dense.params.map((p) => [...p.dense()]));
    for (const net of [pruned, dense]) disposeNet(net);
  });

  test("another score keeps the same counts and other weights", async () => {
    const [a, b] = [make(), make()];
    const options = { sparsity: 0.8, every: 4 };
    const bySize = await train(a, 20, options);
    const atRandom = await train(b, 20, { ...options, score: random, recover: false });
    const kept = ({ bits }: Seen): number[] => bits.map((x) => x.reduce((s, y) => s + y, 0));
    expect(kept(atRandom.seen[19])).toEqual(kept(bySize.seen[19]));
    expect(atRandom.seen[19].bits).not.toEqual(bySize.seen[19].bits);
    for (const net of [a, b]) disposeNet(net);
  });
});

describe("sites of their own", () => {
  const tokens = Int32Array.from({ length: 400 }, (_, i) => (i * i + (i >> 3)) % 13);
  const model = () => lstmLanguageModel({ vocabulary: 13, embedding: 4, units: 8, layers: 2, seed: 5 });
  const final = (s: Site): number => (s.role === "head" ? 0.25 : 0.75);

  async function read(store: boolean, steps = 30) {
    const net = model();
    const text = reader(net, tokens, { batch: 4, length: 6 });
    const losses: number[] = [];
    await fitSteps(net, {
      optimiser: new Adam(net.params, { clip: 1 }),
      steps,
      rate: 5e-3,
      seed: 1,
      loss: (mode) => text.loss(mode.t.step, mode),
      method: gmp({ sparsity: final, every: 3, store }),
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    });
    text.dispose();
    const sites = sitesOf(net).map(({ name, param }) => ({
      name,
      share: param.kept / param.numel,
      storage: param.storage,
      bits: param.bits(),
    }));
    disposeNet(net);
    return { losses, sites };
  }

  test("each is pruned to its own sparsity: input and hidden weights apart, embeddings not at all", async () => {
    const { sites } = await read(false);
    expect(sites.map((s) => [s.name, s.share])).toEqual([
      ["lstm.0.input", 0.25],
      ["lstm.0.hidden", 0.25],
      ["lstm.1.input", 0.25],
      ["lstm.1.hidden", 0.25],
      ["head.weight", 0.75],
    ]);
  });

  test("stored as CSR after the ramp, training goes on as under masks", async () => {
    const [masked, stored] = [await read(false), await read(true)];
    expect(stored.sites.map((s) => s.storage)).toEqual(Array(5).fill("csr"));
    expect(masked.sites.map((s) => s.storage)).toEqual(Array(5).fill("masked"));
    expect(stored.sites.map((s) => s.bits)).toEqual(masked.sites.map((s) => s.bits));
    // Up to the end of the ramp, at step 18, bits agree; then sums run in another order.
    expect(stored.losses.slice(0, 18)).toEqual(masked.losses.slice(0, 18));
    for (const [i, loss] of stored.losses.entries()) expect(Math.abs(loss - masked.losses[i])).toBeLessThan(1e-4);
  });
});
