import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { drawImage, drawNet } from "../models/convnets/drawn.ts";
import type { ConvNet, NetShape } from "../models/convnets/net.ts";
import { efficientNetLite0, mobileNetV1, mobileNetV2 } from "../models/convnets/shapes.ts";
import { netTwin } from "../models/convnets/twin.ts";
import { ConvRunner } from "./convnet.ts";
import { placeBuffers } from "./convnet-buffers.ts";
import { choosePointwise, pointwiseFacts } from "./convnet-choose.ts";
import { sparsifyPointwise } from "./convnet-sparsify.ts";

afterAll(() => shutdown());

const SMALL = { resolution: 32, classes: 10 } as const;
const NETS: readonly NetShape[] = [
  mobileNetV1({ ...SMALL, width: 0.25, firstStride: 1 }),
  mobileNetV2({ ...SMALL, width: 0.35 }),
  efficientNetLite0({ ...SMALL, width: 0.25, resolution: 37 }),
];

/** Largest |a - b| over the largest |b|. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let [most, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    most = Math.max(most, Number.isNaN(a[i]) ? Number.POSITIVE_INFINITY : Math.abs(a[i] - b[i]));
    size = Math.max(size, Math.abs(b[i]));
  }
  return most / Math.max(size, 1e-30);
}

describe("convolutional networks", () => {
  for (const shape of NETS) {
    it(`${shape.name}: every layer agrees with the twin, dense and sparse by blocks of 1, 2 and 4`, () => {
      initSync({ threads: 1 });
      const drawn = drawNet(shape, 7);
      const image = drawImage(shape, 7);
      for (const block of [0, 1, 2, 4] as const) {
        const net = block === 0 ? drawn : sparsifyPointwise(drawn, { sparsity: 0.8, block });
        const want = netTwin(net, image);
        const runner = new ConvRunner(net, {
          keep: true,
          fused: block === 2,
          kernels: block === 0 ? "auto" : "sparse",
        });
        runner.run(image);
        for (let i = 0; i < want.length; i++) {
          // f32 against f64: each layer adds about 1e-7 of its own, which later layers carry along
          expect(apart(runner.output(i), want[i]), shape.layers[i].name).toBeLessThan(1e-5);
        }
        const kept = runner.output(want.length - 1);
        runner.dispose();
        const shared = new ConvRunner(net, { fused: block === 2, kernels: block === 0 ? "auto" : "sparse" });
        // twice: nothing of one image may stay for the next
        shared.run(drawImage(shape, 8));
        expect(shared.run(image)).toEqual(kept);
        expect(shared.bytes.activations).toBeLessThan(runner.bytes.activations);
        shared.dispose();
      }
    });
  }

  it("gives the same bits on two threads", () => {
    const shape = mobileNetV2({ width: 0.5, resolution: 64, classes: 10 });
    const drawn = drawNet(shape, 3);
    const image = drawImage(shape, 3);
    for (const net of [drawn, sparsifyPointwise(drawn, { sparsity: 0.7, block: 4 })]) {
      const results = [1, 2].map((threads) => {
        initSync({ threads });
        const runner = new ConvRunner(net, { kernels: "sparse", fused: false });
        return runner.run(image);
      });
      expect(results[1]).toEqual(results[0]);
    }
  });

  it("picks the form that fits the mask, and says why", () => {
    initSync({ threads: 1 });
    const drawn = drawNet(NETS[0], 5);
    const formOf = (net: ConvNet): string => {
      const runner = new ConvRunner(net);
      const layer = runner.layers.filter((l) => l.kind === "pointwise")[6];
      runner.dispose();
      return layer.choice.reason;
    };
    expect(formOf(drawn)).toBe("dense: no zeros");
    expect(formOf(sparsifyPointwise(drawn, { sparsity: 0.9 }))).toMatch(
      /^csr: 90 % zeros, [\d.]+ times dense by the rules$/,
    );
    expect(formOf(sparsifyPointwise(drawn, { sparsity: 0.9, block: 2 }))).toMatch(/^block2x1: 90 % zeros/);
    expect(formOf(sparsifyPointwise(drawn, { sparsity: 0.9, block: 4 }))).toMatch(/^block4x1: 90 % zeros/);
    expect(formOf(sparsifyPointwise(drawn, { sparsity: 0.2 }))).toMatch(
      /^dense: 20 % zeros (lose|gain too little) by the rules/,
    );
  });

  it("frees what it took, and nothing stays when it fails", () => {
    initSync({ threads: 1 });
    const before = memory.live;
    const net = drawNet(NETS[1], 1);
    const runner = new ConvRunner(net);
    expect(memory.live).toBeGreaterThanOrEqual(before + runner.bytes.weights + runner.bytes.activations);
    runner.dispose();
    expect(memory.live).toBe(before);
    const shape: NetShape = {
      ...net.shape,
      layers: net.shape.layers.map((l) => (l.kind === "depthwise" ? { ...l, size: 7 as unknown as 3 } : l)),
    };
    const weights = net.weights.map((w, i) =>
      shape.layers[i].kind === "depthwise" ? { ...w, weight: new Float32Array(49 * w.bias.length) } : w,
    );
    expect(() => new ConvRunner({ shape, weights })).toThrow(/3x3 or 5x5 with stride 1 or 2, got 7x7/);
    expect(memory.live).toBe(before);
  });

  it("shares activations with a runner of the same shape, and with no other", () => {
    initSync({ threads: 1 });
    const net = drawNet(NETS[1], 2);
    const image = drawImage(NETS[1], 2);
    const owner = new ConvRunner(net, { kernels: "dense" });
    const before = memory.live;
    const guest = new ConvRunner(sparsifyPointwise(net, { sparsity: 0.5 }), {
      activationsOf: owner,
      kernels: "sparse",
    });
    expect(memory.live - before).toBeLessThan(guest.bytes.weights + 64 * 200);
    const want = owner.run(image);
    const other = guest.run(image);
    expect(apart(other, want)).toBeGreaterThan(1e-3);
    expect(owner.run(image)).toEqual(want);
    expect(() => new ConvRunner(drawNet(NETS[0], 2), { activationsOf: owner })).toThrow(
      /activations of another network/,
    );
    guest.dispose();
    owner.dispose();
  });

  it("refuses an image of another size and weights that do not fit", () => {
    initSync({ threads: 1 });
    const net = drawNet(NETS[0], 1);
    const runner = new ConvRunner(net);
    expect(() => runner.run(new Float32Array(3 * 31 * 32))).toThrow(LacunaError);
    runner.dispose();
    expect(() => new ConvRunner({ ...net, weights: net.weights.slice(1) })).toThrow(/weights of 29 layers, got 28/);
  });
});

describe("choice of a form", () => {
  it("counts blocks and the outputs beyond the last", () => {
    // rows 0 and 1 share column 0; row 2 stands alone in its block of 2 and 4
    const weight = Float32Array.of(1, 0, 2, 0, 0, 3);
    const facts = pointwiseFacts("x", weight, 3, 2, 49);
    expect(facts.sparsity).toBe(0.5);
    expect(facts.density).toEqual({ csr: 3 / 6, block2x1: 4 / 6, block4x1: 8 / 6 });
  });

  it("stays dense where nothing is known, and obeys `kernels`", () => {
    const facts = pointwiseFacts("x", Float32Array.of(1, 0), 2, 1, 49);
    const speeds = { where: "here", ratio: () => undefined };
    expect(choosePointwise(facts, { speeds }).reason).toBe("dense: speed of 50 % zeros not known here");
    expect(choosePointwise(facts, { kernels: "dense" })).toEqual({ form: "dense", reason: "dense: asked for" });
    const slow = { where: "here", ratio: () => 0.5 };
    expect(choosePointwise(facts, { speeds: slow }).form).toBe("dense");
    expect(choosePointwise(facts, { speeds: slow, kernels: "sparse" }).form).toBe("csr");
  });
});

it("buffers that live at the same time do not overlap, and no placement is larger than all of them", () => {
  const lives = fc.array(fc.record({ size: fc.integer({ min: 0, max: 9 }), from: fc.nat(9), length: fc.nat(4) }), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(lives, (drawn) => {
      const all = drawn.map((d) => ({ bytes: 64 * d.size, from: d.from, to: d.from + d.length }));
      const { offsets, bytes } = placeBuffers(all);
      all.forEach((a, i) => {
        expect(offsets[i] + a.bytes).toBeLessThanOrEqual(bytes);
        all.slice(0, i).forEach((b, k) => {
          if (a.to < b.from || b.to < a.from) return;
          expect(offsets[i] + a.bytes <= offsets[k] || offsets[k] + b.bytes <= offsets[i]).toBe(true);
        });
      });
      expect(bytes).toBeLessThanOrEqual(all.reduce((sum, a) => sum + a.bytes, 0));
    }),
  );
  expect(placeBuffers([]).bytes).toBe(0);
  // a chain needs the two largest neighbours
  const chain = [8, 4, 2].map((n, i) => ({ bytes: 64 * n, from: i, to: i + 1 }));
  expect(placeBuffers(chain)).toEqual({ offsets: [0, 512, 0], bytes: 768 });
});
