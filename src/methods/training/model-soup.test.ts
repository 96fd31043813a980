/** Sparse model soups: averages, shares of phases, one copy is IMP, statistics after averaging, retraining rates. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { noGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { examples } from "../../data/examples.ts";
import { mlp } from "../../models/mlp.ts";
import { plainCnn } from "../../models/plain-cnn.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { batchNormLayer, recalibrate } from "../../nn/layers/norm.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { Sgd } from "../../nn/optimiser.ts";
import { sparsityOf } from "../../sparsity/choose.ts";
import { sitesOf } from "../../sparsity/site.ts";
import { fit, sourceOf } from "../../train/fit.ts";
import { equalShares, restore, type Snapshot, snapshot } from "../../train/phases.ts";
import * as rate from "../../train/retraining-rate.ts";
import { imp } from "./imp.ts";
import { average, greedySoup, modelSoups, pour } from "./model-soup.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(50, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

/** Three classes by the largest of three features, among noise. */
function table(count: number) {
  const x = draws(count * 8, "table");
  const y = Uint8Array.from({ length: count }, (_, i) => {
    const three = x.subarray(i * 8, i * 8 + 3);
    return three.indexOf(Math.max(...three));
  });
  return examples({ name: "drawn", shape: [8], classes: 3, x, y });
}

const SET = table(256);

const train = (net: Net, seed: number): Promise<void> =>
  fit(net, {
    optimiser: new Sgd(net.params, { momentum: 0.9, nesterov: true, weightDecay: 1e-4 }),
    source: sourceOf(SET),
    epochs: 1,
    batch: 32,
    rate: rate.linear(0.1),
    seed,
  });

const outputs = (net: Net, x: Float32Array, shape: readonly number[]): Float32Array =>
  scope(() => noGrad(() => net.forward(tensor(x, shape), EVALUATE).toArray()));

test("an average of equal models is that model, bit for bit", () => {
  const net = mlp([8, 16, 3], { seed: 1 });
  const one = snapshot(net);
  expect(average([one, one, one])).toEqual(one);
  disposeNet(net);
});

test("a soup of linear models gives the mean of their outputs", () => {
  const net = linearLayer("l", 8, 3, { seed: 1 });
  const models: Snapshot[] = [1, 2, 3].map((i) => ({
    params: [draws(24, `w${i}`), draws(3, `b${i}`)],
    buffers: [],
  }));
  const x = draws(40, "inputs");
  const each = models.map((m) => {
    restore(net, m);
    return outputs(net, x, [5, 8]);
  });
  pour(net, models);
  // f32 rounding of weights and sums
  outputs(net, x, [5, 8]).forEach((v, i) => {
    expect(Math.abs(v - (each[0][i] + each[1][i] + each[2][i]) / 3)).toBeLessThan(2e-6);
  });
  disposeNet(net);
});

test("three phases to 90, 95, 98 % prune 0.5358, 0.6316, 0.7286 of what is left, each time", () => {
  for (const [target, share] of [
    [0.9, 0.5358],
    [0.95, 0.6316],
    [0.98, 0.7286],
  ]) {
    const at = equalShares(target, 3);
    for (const k of [1, 2, 3]) {
      const before = k === 1 ? 1 : 1 - at(k - 1);
      expect(1 - (1 - at(k)) / before).toBeCloseTo(share, 4);
    }
  }
});

test("one copy a phase is iterative magnitude pruning, bit for bit", async () => {
  const [a, b] = [mlp([8, 16, 3], { seed: 2 }), mlp([8, 16, 3], { seed: 2 })];
  const common = { sparsity: 0.8, phases: 3 };
  await imp(a, { ...common, retrain: (k) => train(a, k) });
  await modelSoups(b, { ...common, copies: 1, retrain: (k) => train(b, k) });
  expect(snapshot(b)).toEqual(snapshot(a));
  expect(sitesOf(b).map((s) => s.param.bits())).toEqual(sitesOf(a).map((s) => s.param.bits()));
  disposeNet(a);
  disposeNet(b);
});

test("copies start alike, differ, and share the mask; the soup has its exact sparsity and no other non-zeros", async () => {
  const net = mlp([8, 16, 3], { seed: 3 });
  await train(net, 1);
  const parents: Snapshot[] = [];
  let candidates: readonly Snapshot[] = [];
  await modelSoups(net, {
    sparsity: 0.9,
    phases: 2,
    copies: 3,
    retrain(k, j) {
      parents.push(snapshot(net));
      for (const p of net.params) for (const s of p.slots.values()) expect(s.f32.every((v) => v === 0)).toBe(true);
      return train(net, 10 * k + j);
    },
    after(_, all) {
      candidates = all;
    },
  });
  expect(parents).toHaveLength(6);
  expect(parents[1]).toEqual(parents[0]);
  expect(parents[4]).toEqual(parents[3]);
  expect(candidates[1]).not.toEqual(candidates[0]);
  expect(sparsityOf(sitesOf(net))).toBeCloseTo(Math.floor(0.9 * 176) / 176, 12);
  const soup = snapshot(net);
  for (const [i, p] of net.params.entries()) {
    const bits = p.bits();
    for (const model of [...candidates, soup]) {
      model.params[i].forEach((w, j) => {
        if (bits[j] === 0) expect(w).toBe(0);
      });
    }
  }
  expect(soup).toEqual(average(candidates));
  disposeNet(net);
});

test("a greedy soup takes what does not harm, best first, and no more", () => {
  const net = linearLayer("l", 1, 1, { seed: 1, bias: false });
  const model = (w: number): Snapshot => ({ params: [Float32Array.of(w)], buffers: [] });
  // as near to 1 as possible; the average of 1.5 and 0.75 is 1.125, with 2.5 it is worse
  const score = (n: Net): number => -Math.abs(n.params[0].dense()[0] - 1);
  expect(greedySoup(net, [model(2.5), model(1.5), model(0.75)], score)).toEqual([2, 1]);
  expect(net.params[0].dense()[0]).toBe(1.125);
  disposeNet(net);
});

describe("statistics", () => {
  test("recalibration on the data that statistics came from gives those back", () => {
    const layer = batchNormLayer("n", 4, { seed: 1, momentum: 1 });
    const x = draws(48, "features");
    scope(() => noGrad(() => layer.forward(tensor(x, [12, 4]), { ...EVALUATE, train: true })));
    const before = snapshot(layer).buffers;
    layer.buffers?.forEach((b) => {
      b.value.f32.fill(7);
    });
    scope(() => recalibrate(layer, [tensor(x, [12, 4])]));
    expect(snapshot(layer).buffers).toEqual(before);
    disposeNet(layer);
  });

  test("a soup's own statistics make the output of each channel standard again; averaged ones do not", () => {
    const net = plainCnn({ seed: 1, stages: [{ channels: 4 }], size: 6 });
    const images = draws(8 * 36, "images");
    const look = (n: Net): void => scope(() => recalibrate(n, [tensor(images, [8, 1, 6, 6])]));
    const models = [1, 2].map((i) => {
      net.params[0].assign(draws(36, `kernel ${i}`));
      look(net);
      return snapshot(net);
    });
    const own = average(models);
    pour(net, models, { recalibrate: look });
    const wanted = snapshot(net).buffers;
    // variance of a mean of two independent filters is half of the mean of their variances
    own.buffers[1].forEach((averaged, c) => {
      expect(wanted[1][c]).toBeLessThan(0.9 * averaged);
    });
    look(net);
    expect(snapshot(net).buffers).toEqual(wanted);
    disposeNet(net);
  });
});

describe("retraining rates", () => {
  const original = { rate: (t: { step: number; steps: number }) => 0.1 * (1 - t.step / t.steps), steps: 200 };

  test("LLR rises in a tenth, is half of its peak in the middle of the fall, and ends near 0", () => {
    const r = rate.rates(rate.linear(0.2), 100);
    expect(r[0]).toBe(0);
    expect(r[5]).toBeCloseTo(0.1, 12); // half a cosine at its half
    expect(r[10]).toBe(0.2);
    expect(r[55]).toBeCloseTo(0.1, 12);
    expect(r[99]).toBeCloseTo(0.2 / 90, 12);
  });

  test("FT stays at the last rate, LRW runs the last ones again, SLR all of them compressed", () => {
    const last = 0.1 / 200;
    for (const v of rate.rates(rate.fineTuning(original), 4)) expect(v).toBeCloseTo(last, 12);
    rate.rates(rate.rewinding(original), 4).forEach((v, i) => {
      expect(v).toBeCloseTo((4 - i) * last, 12);
    });
    const slr = rate.rates(rate.scaled(original), 20);
    expect(slr[0]).toBe(0);
    expect(slr[2]).toBeCloseTo(0.1, 12);
    expect(slr[11]).toBeCloseTo(0.05, 12);
    expect(() => rate.rates(rate.rewinding(original), 201)).toThrow(/at most the 200 steps/);
  });

  test("CLR is half a cosine from the peak to the floor", () => {
    const r = rate.rates(rate.cyclic(0.3, 0.1), 20);
    expect(r[2]).toBeCloseTo(0.3, 12);
    expect(r[11]).toBeCloseTo(0.2, 12);
    expect(r[19]).toBeGreaterThan(0.1);
  });

  test("ALLR's peak: pruning nothing gives the lower bound, a change of the root of the share gives the peak", () => {
    expect(rate.adaptivePeak(0.1, { share: 0.5, change: 0, length: 0.25 })).toBeCloseTo(0.025, 12);
    expect(rate.adaptivePeak(0.1, { share: 0.49, change: 0.7, length: 0.25 })).toBeCloseTo(0.1, 12);
    expect(rate.adaptivePeak(0.1, { share: 0.49, change: 0.35, length: 0.25 })).toBeCloseTo(0.05, 12);
    expect(rate.adaptivePeak(0.1, { share: 0.49, change: 0.99, length: 3 })).toBe(0.1);
    // values of equal size: pruning a share q changes the norm by sqrt(q)
    expect(rate.normChange([[1, 1, 1, 1]], [[1, 0, 1, 1]])).toBeCloseTo(0.5, 12);
  });
});
