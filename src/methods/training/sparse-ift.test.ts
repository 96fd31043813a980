/** Sparse iso-FLOP transformations: sizes in closed form, costs, what each is at sparsity 0 and without anything between. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { examples } from "../../data/examples.ts";
import { plainCnn } from "../../models/plain-cnn.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { Sgd } from "../../nn/optimiser.ts";
import { figuresOf } from "../../sparsity/meter.ts";
import { fit, sourceOf } from "../../train/fit.ts";
import {
  copies,
  dopedRank,
  factorChannels,
  foldedDecay,
  type IsoCnnOptions,
  isoCnn,
  isoSites,
  type Member,
  type SparseIftOptions,
  sparseIft,
  widened,
} from "./sparse-ift.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(20, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

const STAGES = [
  { channels: 4 },
  { channels: 8, stride: 2 },
  { channels: 8 },
  { channels: 16, stride: 2 },
  { channels: 16 },
];
const MEMBERS: readonly Member[] = ["wide", "parallel", "factorised", "doped"];
const shape = { seed: 7, size: 14, stages: STAGES };
const make = (member: Member, sparsity: number, rest: Partial<IsoCnnOptions> = {}) =>
  isoCnn({ ...shape, member, sparsity, ...rest });

const X = [3, 1, 14, 14];
const outputs = (net: Net): Float32Array =>
  scope(() => net.forward(tensor(draws(3 * 196, "x"), X), EVALUATE).toArray());

/** Gains, shifts and running statistics that are not those of a new norm. */
function disturb(net: Net): void {
  for (const p of net.params) {
    if (p.role === "norm") p.assign(draws(p.numel, p.name).map((v) => 1 + 0.2 * v));
  }
  for (const b of net.buffers ?? []) b.value.f32.set(draws(b.value.size, b.name).map((v) => 1 + 0.2 * Math.abs(v)));
}

const named = (net: Net, name: string) => net.params.find((p) => p.name === name) as (typeof net.params)[number];

function close(got: Float32Array, want: Float32Array): void {
  const most = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  expect(got.reduce((m, v, i) => Math.max(m, Math.abs(v - want[i])), 0)).toBeLessThan(1e-5 * most);
}

const data = (n: number) =>
  examples({
    name: "noise",
    shape: [1, 14, 14],
    classes: 10,
    x: draws(n * 196, "images"),
    y: Uint8Array.from({ length: n }, (_, i) => i % 10),
  });

async function train(net: ReturnType<typeof make>, options: SparseIftOptions, epochs = 1) {
  const method = sparseIft(net, options);
  const source = sourceOf(data(160));
  await fit(net, {
    optimiser: new Sgd(net.params, { momentum: 0.9 }),
    source,
    epochs,
    batch: 16,
    rate: 0.02,
    seed: 1,
    method,
  });
  return method;
}

describe("sizes", () => {
  test("64 to 64 channels, 3x3, at 50, 75 and 90 %", () => {
    const layer = { inputs: 64, outputs: 64, kernel: 3 };
    const s = [0.5, 0.75, 0.9];
    expect(s.map(copies)).toEqual([2, 4, 10]);
    expect(s.map((x) => widened(64, x))).toEqual([90, 128, 202]);
    expect(s.map((x) => factorChannels(layer, x))).toEqual([116, 231, 577]);
    expect(s.map((x) => dopedRank(layer, x))).toEqual([28, 43, 51]);
  });

  test("linear 64 to 64: 320 in exact arithmetic is 321 as released", () => {
    const layer = { inputs: 64, outputs: 64, kernel: 1 };
    expect([0.5, 0.75, 0.9].map((x) => factorChannels(layer, x))).toEqual([64, 128, 321]);
    expect([0.5, 0.75, 0.9].map((x) => dopedRank(layer, x))).toEqual([16, 24, 28]);
  });
});

describe("cost", () => {
  test.each(MEMBERS)("%s: multiply-adds of the network are those of the dense one, within half a percent", (member) => {
    const dense = figuresOf(plainCnn(shape)).macs.dense;
    for (const sparsity of [0.5, 0.75, 0.9]) {
      const net = make(member, sparsity);
      sparseIft(net, { growth: "none" }).begin?.({
        net,
        sites: isoSites(net),
        seed: 1,
        inputShape: X,
        loss: () => tensor([0]),
      });
      const { macs } = figuresOf(net);
      expect(macs.kept).toBeLessThanOrEqual(dense);
      expect(macs.kept).toBeGreaterThan(0.995 * dense);
      if (member !== "doped") expect(macs.dense).toBeGreaterThan(1.4 * dense);
      // Stem, classifier, and the factors of doped, stay dense.
      const names = net.groups.flatMap((g) => g.names);
      for (const p of net.params) expect(p.kept < p.numel, p.name).toBe(names.includes(p.name));
      disposeNet(net);
    }
  });

  test("weights to choose from, over the dense ones: 1 / (1 - s), and 1 for doped", () => {
    const all = isoSites(make("wide", 0)).reduce((n, s) => n + s.numel, 0);
    const over = (member: Member): number => isoSites(make(member, 0.75)).reduce((n, s) => n + s.numel, 0) / all;
    expect(over("wide")).toBe(4);
    expect(over("parallel")).toBe(4);
    // the number of channels between is rounded up
    expect(over("factorised")).toBeGreaterThanOrEqual(4);
    expect(over("factorised")).toBeLessThan(4.1);
    expect(over("doped")).toBe(1);
  });
});

describe("what the members are", () => {
  test.each(["wide", "parallel", "doped"] as const)("%s at sparsity 0 is the dense network, bit for bit", (member) => {
    const [net, dense] = [make(member, 0), plainCnn(shape)];
    expect(net.params.map((p) => p.name)).toEqual(dense.params.map((p) => p.name));
    expect(isoSites(net).every((s) => s.param.kept === s.numel)).toBe(true);
    for (const n of [net, dense]) disturb(n);
    expect(outputs(net)).toEqual(outputs(dense));
  });

  test("parallel without norms is one layer with the sum of the branches' weights", () => {
    const [net, dense] = [make("parallel", 0.75, { between: "nothing" }), plainCnn(shape)];
    for (const n of [net, dense]) disturb(n);
    for (let i = 1; i < STAGES.length; i++) {
      const branches = [0, 1, 2, 3].map((j) => named(net, `conv${i}${j === 0 ? "" : `.${j}`}.weight`).dense());
      named(dense, `conv${i}.weight`).assign(branches[0].map((_, e) => branches.reduce((n, b) => n + b[e], 0)));
    }
    close(outputs(net), outputs(dense));
    // with norms it is not
    const apart = make("parallel", 0.75);
    disturb(apart);
    expect(apart.params.length).toBeGreaterThan(net.params.length);
  });

  test.each(["doped", "factorised"] as const)(
    "%s without anything between is one layer with V U in its weight",
    (member) => {
      const [net, dense] = [make(member, 0.75, { between: "nothing" }), plainCnn(shape)];
      for (const n of [net, dense]) disturb(n);
      for (let i = 1; i < STAGES.length; i++) {
        const [u, v] = ["u", "v"].map((f) => named(net, `conv${i}.${f}.weight`));
        const [rank, outs] = [u.shape[0], v.shape[0]];
        const width = u.numel / rank;
        const [uw, vw] = [u.dense(), v.dense()];
        const own = member === "doped" ? named(net, `conv${i}.weight`).dense() : new Float32Array(outs * width);
        for (let o = 0; o < outs; o++) {
          for (let k = 0; k < width; k++)
            for (let r = 0; r < rank; r++) own[o * width + k] += vw[o * rank + r] * uw[r * width + k];
        }
        named(dense, `conv${i}.weight`).assign(own);
      }
      close(outputs(net), outputs(dense));
    },
  );

  test("decay of the folded product: value and gradient of decay / 2 |V U|^2", () => {
    const net = make("doped", 0.75, { folded: true });
    const decay = 0.3;
    let want = 0;
    for (const { u, v } of net.factors) {
      expect([u.decay, v.decay]).toEqual([false, false]);
      const [rank, outs] = [u.shape[0], v.shape[0]];
      const width = u.numel / rank;
      const [uw, vw] = [u.dense(), v.dense()];
      for (let o = 0; o < outs; o++) {
        for (let k = 0; k < width; k++) {
          let w = 0;
          for (let r = 0; r < rank; r++) w += vw[o * rank + r] * uw[r * width + k];
          want += (decay / 2) * w * w;
        }
      }
    }
    scope(() => {
      const { u, v } = net.factors[1];
      const penalty = foldedDecay(net, decay).penalty as () => ReturnType<typeof tensor>;
      const { value, gradients } = valueAndGrad(penalty, [u.value, v.value]);
      expect(value.item()).toBeCloseTo(want, 3);
      // d/dV = decay V (U U^T)
      const [rank, outs] = [u.shape[0], v.shape[0]];
      const width = u.numel / rank;
      const [uw, vw] = [u.dense(), v.dense()];
      const dv = new Float32Array(v.numel);
      for (let o = 0; o < outs; o++) {
        for (let r = 0; r < rank; r++) {
          for (let q = 0; q < rank; q++) {
            let inner = 0;
            for (let k = 0; k < width; k++) inner += uw[r * width + k] * uw[q * width + k];
            dv[o * rank + r] += decay * vw[o * rank + q] * inner;
          }
        }
      }
      close(gradients[1].toArray(), dv);
      // d/dU = decay (V^T V) U
      const du = new Float32Array(u.numel);
      for (let r = 0; r < rank; r++) {
        for (let q = 0; q < rank; q++) {
          let inner = 0;
          for (let o = 0; o < outs; o++) inner += vw[o * rank + r] * vw[o * rank + q];
          for (let k = 0; k < width; k++) du[r * width + k] += decay * inner * uw[q * width + k];
        }
      }
      close(gradients[0].toArray(), du);
    });
  });
});

describe("training", () => {
  test("RigL moves masks at constant cost; without growth they stay", async () => {
    const net = make("wide", 0.75);
    const before = () => isoSites(net).map((s) => s.param.kept);
    const method = await train(net, { every: 3 }, 2);
    const counts = before();
    expect(method.meter?.updates).toBe(5);
    expect(method.meter?.fromFirst).toBeGreaterThan(0.05);
    const still = make("wide", 0.75);
    const fixed = await train(still, { growth: "none" });
    expect(fixed.meter).toBeUndefined();
    expect(isoSites(still).map((s) => s.param.kept)).toEqual(counts);
  });
});
