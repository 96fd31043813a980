/** QuickSelection: strengths, the exchange, the update, gradients from CSR, and planted features that it must find. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { type Examples, examples } from "../../data/examples.ts";
import { plantedFeatures } from "../../data/planted.ts";
import { constant } from "../../nn/init.ts";
import { disposeNet, EVALUATE, type Mode } from "../../nn/net.ts";
import { checkGradients, drawer } from "../../nn/ops/gradient-check.ts";
import { Sgd } from "../../nn/optimiser.ts";
import { Param } from "../../nn/param.ts";
import { er } from "../../sparsity/budget-shapes.ts";
import { magnitude, random } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import { maskOf } from "../../sparsity/mask.ts";
import { rewired } from "../../sparsity/rewire.ts";
import { never, constant as steady } from "../../sparsity/schedule.ts";
import { siteOf } from "../../sparsity/site.ts";
import { trainLoop } from "../../train/loop.ts";
import {
  denoisingAutoencoder,
  denoisingSource,
  inputStrength,
  outputStrength,
  plainDecay,
  quickSelection,
  reconstructionLoss,
  sparsityFor,
  strongest,
} from "./quickselection.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const TRAIN: Mode = { train: true, t: { step: 0, steps: 10 }, seed: 3 };

const tableOf = (x: Float32Array, columns: number): Examples =>
  examples({ name: "table", shape: [columns], classes: 1, x, y: new Uint8Array(x.length / columns) });

function planted(rows: number, distractors = 50) {
  const p = plantedFeatures({ rows, distractors, seed: 5 });
  return { ...p, table: tableOf(p.x, p.columns) };
}

describe("ranking", () => {
  test("strength of W1 = [[1, -2, 0], [0, 0, 3]] (inputs x hidden) is [3, 3]", () => {
    expect([...inputStrength([1, 0, -2, 0, 0, 3], 2)]).toEqual([3, 3]);
    expect([...outputStrength([1, 0, -2, 0, 0, 3], 2)]).toEqual([1, 2, 3]);
  });

  test("the strongest are the largest sums, the lower place first among equals", () => {
    expect([...strongest(Float64Array.of(1, 5, 2, 5, 2), 3)]).toEqual([1, 2, 3]);
    expect(() => strongest(Float64Array.of(1, 2), 3)).toThrow(/1 to 2 features/);
  });

  test("784 inputs and 1000 neurons at epsilon 13 are 23,192 connections a layer, 2.96 %", () => {
    expect(Math.round((1 - sparsityFor(13, 784, 1000)) * 784000)).toBe(23192);
    expect(sparsityFor(Number.POSITIVE_INFINITY, 4, 3)).toBe(0);
    expect(sparsityFor(13, 4, 3)).toBe(0);
  });
});

describe("training", () => {
  test("gradients of the reconstruction are those of finite differences", () => {
    const net = denoisingAutoencoder(5, 4, { seed: 1, dropout: 0 });
    const x = drawer(2)([3, 5]);
    const inputs = net.params.map((p) => p.value);
    checkGradients(inputs, () => reconstructionLoss(net.forward(x, EVALUATE), x));
    disposeNet(net);
  });

  test("the loss is half the squared error of an example, so its gradient is (y - x) / B", () => {
    const [y, x] = [tensor([1, 2, 3, 4], [2, 2]), tensor([0, 0, 1, 1], [2, 2])];
    const { value, gradients } = valueAndGrad(() => reconstructionLoss(y, x), [y]);
    expect(value.item()).toBeCloseTo((1 + 4 + 4 + 9) / 4, 6);
    expect([...gradients[0].toArray()]).toEqual([0.5, 1, 1, 1.5]);
  });

  test("gradients of CSR layers are those of dense ones at the stored places", () => {
    const x = drawer(7)([6, 20]);
    const gradients = (["csr", "masked"] as const).map((storage) => {
      const net = denoisingAutoencoder(20, 30, { seed: 4, dropout: 0.2 });
      const weights = [net.params[0], net.params[2]];
      const masks = weights.map((p) => Uint8Array.from({ length: p.numel }, (_, i) => ((i * 7919) % 11 < 2 ? 1 : 0)));
      weights.forEach((p, i) => {
        p.setMask(maskOf(masks[i]));
        p.as(storage);
      });
      const { gradients: g } = valueAndGrad(
        () => reconstructionLoss(net.forward(x, TRAIN), x),
        weights.map((p) => p.value),
      );
      const dense = g.map((t, i) => {
        const all = new Float64Array(weights[i].numel);
        const values = t.toArray();
        if (weights[i].sparse) weights[i].sparse.forEach((entry, flat) => void (all[flat] = values[entry]));
        else for (let j = 0; j < all.length; j++) all[j] = masks[i][j] * values[j];
        return all;
      });
      disposeNet(net);
      return dense;
    });
    gradients[0].forEach((g, i) => {
      g.forEach((v, j) => {
        // both are f32 sums of 6 products
        expect(Math.abs(v - gradients[1][i][j])).toBeLessThan(1e-6 * Math.max(1, Math.abs(v)));
      });
    });
  });

  test("dropout masks without rescaling in training and multiplies by 1 - p at test", () => {
    const net = denoisingAutoencoder(2, 400, { seed: 1, dropout: 0.2 });
    const decode = net.params[2];
    decode.assign(new Float32Array(decode.numel).fill(1));
    net.params[0].assign(new Float32Array(net.params[0].numel)); // every hidden neuron gives sigmoid(0) = 0.5
    const x = tensor([1, 1], [1, 2]);
    const kept = net.forward(x, TRAIN).f32[0] / 0.5;
    expect(Math.abs(kept - Math.round(kept))).toBeLessThan(1e-4); // a count: nothing was rescaled
    expect(Math.abs(kept - 320)).toBeLessThan(5 * Math.sqrt(400 * 0.16));
    expect(net.forward(x, EVALUATE).f32[0]).toBeCloseTo(0.8 * 0.5 * 400, 3);
    disposeNet(net);
  });

  test("a step is W + v - decay W, with decay apart from rate and momentum", async () => {
    const w = new Param("w", [2, 2], constant(2), 1);
    const optimiser = new Sgd([w], { momentum: 0.5 });
    const net = { params: [w], forward: () => w.value };
    const x = tensor([0, 1, 2, 3], [2, 2]);
    await trainLoop(
      { optimiser, loss: () => reconstructionLoss(w.value, x) },
      { rate: { at: steady(0.1), steps: 2 }, hooked: { net, hooks: [plainDecay(0.01)], seed: 1 } },
    );
    const want = [0, 1, 2, 3].map((target) => {
      let [value, v] = [2, 0];
      for (let step = 0; step < 2; step++) {
        v = 0.5 * v - (0.1 * (value - target)) / 2;
        value = value + v - 0.01 * value;
      }
      return value;
    });
    w.value.toArray().forEach((v, i) => {
      expect(v).toBeCloseTo(want[i], 5);
    });
    optimiser.dispose();
    w.dispose();
  });

  test("noise stays with its example through all epochs, and 0 noise is the clean input", () => {
    const { table } = planted(20, 4);
    scope(() => {
      const source = denoisingSource(table, 0.2, 9);
      const [a, b] = [source.make(Int32Array.of(3, 8), 0), source.make(Int32Array.of(8), 4)];
      const w = table.shape[0];
      expect([...a.x.f32.subarray(w)]).toEqual([...b.x.f32]);
      expect([...a.x.f32]).not.toEqual([...a.clean.f32]);
      const quiet = denoisingSource(table, 0, 9).make(Int32Array.of(1), 0);
      expect([...quiet.x.f32]).toEqual([...quiet.clean.f32]);
    });
  });
});

describe("the exchange", () => {
  test("on -4 .. 4 with zeta 0.25 the positive and the negative nearest to 0 go", () => {
    // two further places are empty, so that the exchange has somewhere to grow
    const values = Float32Array.of(-4, -3, -2, -1, 1, 2, 3, 4, 0, 0);
    const w = new Param("w", [1, 10], constant(0), 1);
    w.assign(values);
    w.setMask(maskOf(Uint8Array.from(values, (v) => (v === 0 ? 0 : 1))));
    const rule = {
      drop: magnitude,
      grow: random,
      budget: er,
      target: steady(0.2),
      when: never,
      regrow: false,
    } as const;
    const site = siteOf(w, 0);
    const mask = rewired(
      { ...rule, strata: "sign" },
      site,
      8,
      2,
      probe([site], () => w.value, 1),
    );
    const left = [...values].filter((v, i) => v !== 0 && mask.bits[i] === 1);
    expect(left).toEqual([-4, -3, -2, 2, 3, 4]);
    expect(mask.kept).toBe(8);
    w.dispose();
  });

  test("connections stay exact, epochs but the last exchange, and grown ones of the last do not count", async () => {
    const { table } = planted(64, 14);
    const all = await quickSelection(table, { seed: 2, epochs: 3, hidden: 40, epsilon: 4, batch: 16 });
    const each = 4 * (64 + 40);
    expect(all.connections).toBe(2 * each);
    expect(all.meter.updates).toBe(2);
    expect(all.meter.grown).toBe(all.meter.dropped);
    // ceil(0.2 k) of both layers in each of two exchanges
    expect(all.meter.grown).toBe(2 * 2 * Math.ceil(0.2 * each));
    expect(all.degree.reduce((a, b) => a + b, 0)).toBe(each - Math.ceil(0.2 * each));
  });

  test("zeta 0 is training with fixed connections", async () => {
    const { table } = planted(64, 14);
    const options = { seed: 2, hidden: 40, epsilon: 4, batch: 16 };
    const [still, before] = [
      await quickSelection(table, { ...options, zeta: 0, epochs: 3 }),
      await quickSelection(table, { ...options, zeta: 0, epochs: 1, rate: 0, decay: 0 }),
    ];
    expect([...still.degree]).toEqual([...before.degree]);
    expect([...before.strength]).toEqual([...before.initial]);
    expect([...still.strength]).not.toEqual([...still.initial]);
    expect(still.meter.updates).toBe(0);
  });

  test("CSR and masked storage train alike", async () => {
    const { table } = planted(96, 14);
    const options = { seed: 2, epochs: 3, hidden: 40, epsilon: 4, batch: 16 };
    const [sparse, masked] = [
      await quickSelection(table, options),
      await quickSelection(table, { ...options, storage: "masked" }),
    ];
    expect([...sparse.degree]).toEqual([...masked.degree]);
    sparse.strength.forEach((s, i) => {
      expect(s).toBeCloseTo(masked.strength[i], 4);
    });
    expect(sparse.bytes).toBeLessThan(masked.bytes);
  });
});

test("planted features are found among noise beyond chance, and not before training", async () => {
  const { table, planted: places } = planted(500);
  const found = (scores: Float64Array): number => strongest(scores, 50).filter((f) => places.includes(f)).length;
  const r = await quickSelection(table, { seed: 1, epochs: 30, hidden: 300, epsilon: 5, batch: 25 });
  // 50 of 100 columns are planted: chance finds 25 with a deviation of 2.5; four of those are asked
  expect(found(r.initial)).toBeLessThan(33);
  expect(found(r.strength)).toBeGreaterThanOrEqual(35);
  expect(r.losses[r.losses.length - 1]).toBeLessThan(r.losses[0]);
});
