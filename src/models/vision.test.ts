/**
 * Vision models: shapes and counts by hand, every parameter's gradient against a difference along it, a few steps on a
 * fixed batch, running statistics, and the same bits for any number of threads.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { noGrad, valueAndGrad } from "../core/tape.ts";
import { numel, type Tensor, tensor } from "../core/tensor.ts";
import { since, tally } from "../nn/cost.ts";
import { recalibrate } from "../nn/layers/norm.ts";
import { disposeNet, EVALUATE, type Mode, type Net } from "../nn/net.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import { meanSquaredError } from "../nn/ops/loss-element.ts";
import { Adam } from "../nn/optimiser.ts";
import { autoencoder, convAutoencoder } from "./autoencoder.ts";
import { lenet5 } from "./lenet.ts";
import { mobilenet } from "./mobilenet.ts";
import { plainCnn } from "./plain-cnn.ts";
import { resnet } from "./resnet.ts";
import { edsr, swinIr, windowOrder } from "./super-resolution.ts";
import { vit } from "./vit.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

function noise(shape: readonly number[], name: string): Tensor {
  const s = stream(3, name);
  return tensor(
    Float32Array.from({ length: numel(shape) }, (_, i) => s.normal(i)),
    shape,
  );
}
const labels = (count: number, classes: number): Tensor =>
  tensor(Int32Array.from({ length: count }, (_, i) => i % classes));
const TRAIN: Mode = { train: true, t: { step: 0, steps: 10 }, seed: 1 };
const weightsOf = (net: Net): number => net.params.reduce((n, p) => n + p.numel, 0);

interface Case {
  readonly name: string;
  readonly make: () => Net;
  readonly x: readonly number[];
  /** what comes out; [B, classes] is trained by cross-entropy, images by squared error against noise */
  readonly y: readonly number[];
  readonly rate?: number;
}
const cases: Case[] = [
  { name: "LeNet-5", make: () => lenet5({ seed: 1, size: 12 }), x: [6, 1, 12, 12], y: [6, 10] },
  { name: "ResNet-8", make: () => resnet({ seed: 1, width: 4, size: 12 }), x: [6, 3, 12, 12], y: [6, 10] },
  {
    name: "MobileNet",
    make: () => mobilenet({ seed: 1, width: 0.25, size: 11, classes: 5 }),
    x: [7, 3, 11, 11],
    y: [7, 5],
  },
  {
    name: "plain CNN",
    make: () =>
      plainCnn({
        seed: 1,
        size: 10,
        stages: [{ channels: 4 }, { channels: 8, stride: 2 }, { channels: 6, kernel: 1 }],
      }),
    x: [5, 1, 10, 10],
    y: [5, 10],
  },
  {
    name: "ViT with dropout",
    make: () => vit({ seed: 1, size: 12, patch: 4, width: 16, heads: 2, ff: 24, dropout: 0.1 }),
    x: [5, 1, 12, 12],
    y: [5, 10],
  },
  { name: "autoencoder", make: () => autoencoder([20, 9, 4], { seed: 1 }), x: [6, 20], y: [6, 20] },
  {
    name: "convolutional autoencoder",
    make: () => convAutoencoder({ seed: 1, size: 11, widths: [4, 6] }),
    x: [3, 1, 11, 11],
    y: [3, 1, 11, 11],
  },
  {
    name: "EDSR class",
    make: () => edsr({ seed: 1, width: 6, blocks: 2, residualScale: 0.5 }),
    x: [2, 1, 7, 6],
    y: [2, 1, 14, 12],
  },
  {
    name: "SwinIR class",
    make: () => swinIr({ seed: 1, width: 8, heads: 2, window: 4, scale: 3, channels: 2 }),
    x: [2, 2, 8, 12],
    y: [2, 2, 24, 36],
  },
];

/** Loss of a fixed batch. */
function lossOf(t: Case, net: Net, mode: Mode): () => Tensor {
  const x = noise(t.x, "x");
  const target = t.y.length === 2 && t.x.length === 4 ? labels(t.y[0], t.y[1]) : noise(t.y, "target");
  return () => {
    const y = net.forward(x, mode);
    return target.dtype === "i32" ? crossEntropy(y, target) : meanSquaredError(y, target);
  };
}

describe.each(cases)("$name", (t) => {
  test("shapes, unique names, and the same weights from the same seed", () => {
    const net = t.make();
    const again = t.make();
    scope(() => expect(net.forward(noise(t.x, "x"), EVALUATE).shape).toEqual(t.y));
    const names = [...net.params.map((p) => p.name), ...(net.buffers ?? []).map((b) => b.name)];
    expect(new Set(names).size).toBe(names.length);
    net.params.forEach((p, i) => {
      expect(p.dense()).toEqual(again.params[i].dense());
    });
    disposeNet(net);
    disposeNet(again);
  });

  test("each parameter's gradient is the slope of the loss along it", () => {
    const net = t.make();
    scope(() => {
      const loss = lossOf(t, net, TRAIN);
      const { gradients } = valueAndGrad(
        loss,
        net.params.map((p) => p.value),
      );
      net.params.forEach((p, i) => {
        const g = gradients[i].toArray();
        expect(g.length, p.name).toBe(p.numel);
        const norm = Math.sqrt(g.reduce((a, b) => a + b * b, 0));
        const before = p.value.toArray();
        // Along the gradient by h the loss changes by h |g|: the slope must be |g|. A small step keeps ReLU's kinks few,
        // and f32 losses carry 1e-7 of noise, which is why both sides may differ by 1e-3 at any slope.
        const h = 5e-4;
        const at = (by: number): number => {
          p.value.f32.set(before.map((v, j) => v + (by * g[j]) / Math.max(norm, 1e-12)));
          return noGrad(() => scope(() => loss().item()));
        };
        const slope = (at(h) - at(-h)) / (2 * h);
        p.value.f32.set(before);
        expect(Math.abs(slope - norm), `${p.name}: slope ${slope}, gradient ${norm}`).toBeLessThan(0.04 * norm + 1e-3);
      });
    });
    disposeNet(net);
  });

  test("a few steps bring the loss of a fixed batch down", () => {
    const net = t.make();
    scope(() => {
      const loss = lossOf(t, net, TRAIN);
      const optimiser = new Adam(net.params);
      const losses: number[] = [];
      for (let i = 0; i < 25; i++) {
        scope(() => {
          const { value, gradients } = valueAndGrad(
            loss,
            net.params.map((p) => p.value),
          );
          losses.push(value.item());
          optimiser.step(gradients, t.rate ?? 5e-3);
        });
      }
      expect(losses[24], losses.map((l) => l.toFixed(3)).join(" ")).toBeLessThan(0.8 * losses[0]);
      optimiser.dispose();
    });
    disposeNet(net);
  });
});

test("parameters and multiply-adds of known networks", () => {
  // LeNet-5: 156 + 2,416 + 48,120 + 10,164 + 850.
  const lenet = lenet5({ seed: 1 });
  expect(weightsOf(lenet)).toBe(61_706);
  // ResNet-20 (He et al. 2016 give 0.27M): 268,336 weights of 3x3 and 9,216 / ... summed by hand below.
  const r20 = resnet({ seed: 1, depth: 20 });
  const convs = 432 + 6 * 2304 + 4608 + 5 * 9216 + 18432 + 5 * 36864;
  const shortcuts = 16 * 32 + 32 * 64;
  const norms = 2 * (16 * 7 + 32 * 7 + 64 * 7);
  expect(weightsOf(r20)).toBe(convs + shortcuts + norms + 650);
  const counted = (net: Net, x: readonly number[]): number =>
    scope(() => {
      const start = tally();
      net.forward(noise(x, "x"), EVALUATE);
      return since(start).ran.forward;
    });
  // 40.55M multiply-adds of its convolutions and classifier are usual; shortcuts add 2 * 131,072.
  const macs = counted(r20, [1, 3, 32, 32]);
  expect(macs).toBe(1024 * (432 + 6 * 2304) + 256 * (4608 + 5 * 9216) + 64 * (18432 + 5 * 36864) + 2 * 131_072 + 640);
  // What is counted as it runs is what the sites promise.
  for (const [net, x] of [
    [r20, [1, 3, 32, 32]],
    [mobilenet({ seed: 1 }), [1, 3, 32, 32]],
    [vit({ seed: 1 }), [1, 1, 28, 28]],
    [edsr({ seed: 1 }), [1, 1, 24, 24]],
    [swinIr({ seed: 1 }), [1, 1, 24, 24]],
    [convAutoencoder({ seed: 1 }), [1, 1, 28, 28]],
  ] as const) {
    const promised = net.params.filter((p) => p.shape.length >= 2 && p.role !== "embedding");
    expect(counted(net, x)).toBe(promised.reduce((n, p) => n + p.numel * p.uses, 0));
    disposeNet(net);
  }
  disposeNet(lenet);
});

test("depthwise, stem and head weights carry their roles", () => {
  const net = mobilenet({ seed: 1 });
  const of = (role: string): string[] => net.params.filter((p) => p.role === role).map((p) => p.name);
  expect(of("stem")).toEqual(["stem.weight"]);
  expect(of("head")).toEqual(["head.weight"]);
  expect(of("depthwise")).toEqual([1, 2, 3, 4, 5].map((i) => `block${i}.depthwise.weight`));
  expect(of("weight")).toEqual([1, 2, 3, 4, 5].map((i) => `block${i}.pointwise.weight`));
  disposeNet(net);
});

describe("running statistics", () => {
  const make = (): Net => plainCnn({ seed: 2, size: 8, stages: [{ channels: 4 }, { channels: 5, stride: 2 }] });

  test("follow the batches, and evaluation uses them", () => {
    const net = make();
    scope(() => {
      const x = noise([40, 1, 8, 8], "batch");
      const trained = net.forward(x, TRAIN).toArray();
      const fresh = net.forward(x, EVALUATE).toArray();
      for (let i = 0; i < 120; i++) scope(() => void net.forward(x, TRAIN));
      const settled = net.forward(x, EVALUATE).toArray();
      const far = (a: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - trained[i])), 0);
      // The running variance is the unbiased one: of 40 * 16 values at least, so 0.1 % from the batch's.
      expect(far(settled)).toBeLessThan(3e-3);
      expect(far(fresh)).toBeGreaterThan(10 * far(settled));
    });
    disposeNet(net);
  });

  test("recalibration on the data that statistics came from gives them again, whatever they were", () => {
    const net = make();
    scope(() => {
      const batches = [0, 1, 2].map((i) => noise([16, 1, 8, 8], `batch-${i}`));
      recalibrate(net, batches);
      const read = (): number[] => (net.buffers ?? []).flatMap((b) => [...b.value.f32]);
      const first = read();
      for (const b of net.buffers ?? []) b.value.f32.fill(7);
      recalibrate(net, batches);
      expect(read()).toEqual(first);
      // The plain average over batches: the first layer's by hand, from its statistics batch by batch.
      const each = batches.map((b) => {
        recalibrate(net, [b]);
        return read();
      });
      const mean = first.map((_, i) => (each[0][i] + each[1][i] + each[2][i]) / 3);
      const channels = 4;
      for (let c = 0; c < 2 * channels; c++) expect(Math.abs(first[c] - mean[c])).toBeLessThan(1e-6);
      // Momentum is back to its own after it.
      const before = read();
      net.forward(batches[0], TRAIN);
      const [now, batch] = [read()[0], each[0][0]];
      expect(Math.abs(now - (0.9 * before[0] + 0.1 * batch))).toBeLessThan(1e-6);
    });
    disposeNet(net);
  });
});

test("windows cover each token once, and a shift moves them by whole tokens", () => {
  expect([...windowOrder(1, 2, 4, 2, 0)]).toEqual([0, 1, 4, 5, 2, 3, 6, 7]);
  expect([...windowOrder(1, 2, 4, 2, 1)]).toEqual([5, 6, 1, 2, 7, 4, 3, 0]);
  const order = windowOrder(2, 8, 12, 4, 2);
  expect(new Set(order).size).toBe(192);
});

test("training steps give the same bits for any number of threads", async () => {
  const bits: string[] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    const net = resnet({ seed: 4, width: 8, size: 16 });
    scope(() => {
      const x = noise([16, 3, 16, 16], "x");
      const optimiser = new Adam(net.params);
      for (let i = 0; i < 3; i++) {
        scope(() => {
          const { gradients } = valueAndGrad(
            () => crossEntropy(net.forward(x, TRAIN), labels(16, 10)),
            net.params.map((p) => p.value),
          );
          optimiser.step(gradients, 1e-2);
        });
      }
    });
    bits.push(
      [...net.params.map((p) => p.value), ...(net.buffers ?? []).map((b) => b.value)].map((v) => v.f32.join()).join(),
    );
  }
  expect(new Set(bits).size).toBe(1);
});
