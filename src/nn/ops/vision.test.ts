/**
 * Batch norm, pooling, upsampling, layer norm, dropout and moves of tokens: values against tfjs-core (cpu) or the
 * definition, gradients against tfjs or central differences.
 */
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { full, type Tensor, tensor } from "../../core/tensor.ts";
import { EVALUATE, type Mode } from "../net.ts";
import { gelu, relu6, sigmoid, tanh } from "./activation.ts";
import { batchNorm } from "./batch-norm.ts";
import { dropout } from "./dropout.ts";
import { mul } from "./elementwise.ts";
import { checkGradients, drawer, weigh } from "./gradient-check.ts";
import { layerNorm } from "./norm.ts";
import { avgPool2d, globalAvgPool, maxPool2d, pixelShuffle, upsampleNearest } from "./pool.ts";
import { sum } from "./reduce.ts";
import { imageToTokens, prependToken, reorderRows, takeToken, tokensToImage } from "./tokens.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
  await init({ threads: 2 });
});
afterAll(shutdown);

const random = drawer(17);
const nhwc = (x: Tensor): tf.Tensor4D =>
  tf.transpose(tf.tensor4d(x.toArray(), x.shape as [number, number, number, number]), [0, 2, 3, 1]);
const nchw = (y: tf.Tensor): Float32Array => tf.transpose(y, [0, 3, 1, 2]).dataSync() as Float32Array;

function close(got: Float32Array, want: ArrayLike<number>, allowed: number): void {
  expect(got.length).toBe(want.length);
  expect(got.reduce((m, g, i) => Math.max(m, Math.abs(g - want[i])), 0)).toBeLessThan(allowed);
}

describe("batchNorm", () => {
  const [x, gamma, beta] = [[3, 5, 4, 3], [5], [5]];

  test("normalises with the batch's statistics as tfjs does with its moments", () => {
    const [a, g, b] = [random(x, 3), random(gamma), random(beta)];
    const { y, statistics } = batchNorm(a, g, b, { eps: 1e-3 });
    tf.tidy(() => {
      const t = nhwc(a);
      const { mean, variance } = tf.moments(t, [0, 1, 2]);
      const want = tf.batchNorm(t, mean as tf.Tensor1D, variance as tf.Tensor1D, [...b.f32], [...g.f32], 1e-3);
      close(y.toArray(), nchw(want), 5e-6);
      close(statistics.mean.toArray(), mean.dataSync(), 2e-6);
      close(statistics.variance.toArray(), variance.dataSync(), 1e-5);
    });
  });

  test("gradients through the statistics, with ReLU, and with fixed statistics", () => {
    const [a, g, b] = [random(x), random(gamma), random(beta)];
    checkGradients([a, g, b], () => weigh(batchNorm(a, g, b).y));
    // Away from 0, where ReLU has no derivative: a shift by whole units keeps values far from it.
    const shift = tensor(Float32Array.of(4, -4, 4, 4, -4));
    checkGradients([a, g, shift], () => weigh(batchNorm(a, g, shift, { relu: true }).y));
    const statistics = { mean: random([5]), variance: full([5], 1.7) };
    checkGradients([a, g, b], () => weigh(batchNorm(a, g, b, { statistics }).y));
  });

  test("ReLU in the same pass is ReLU behind it, gradients included", () => {
    const [a, g, b, seed] = [random(x), random(gamma), random(beta), random(x)];
    const fused = valueAndGrad(() => sum(mul(batchNorm(a, g, b, { relu: true }).y, seed)), [a, g, b]);
    const y = batchNorm(a, g, b).y.toArray();
    const masked = tensor(
      seed.toArray().map((s, i) => (y[i] > 0 ? s : 0)),
      x,
    );
    const apart = valueAndGrad(() => sum(mul(batchNorm(a, g, b).y, masked)), [a, g, b]);
    fused.gradients.forEach((t, i) => {
      close(t.toArray(), apart.gradients[i].toArray(), 1e-6);
    });
    close(
      batchNorm(a, g, b, { relu: true }).y.toArray(),
      y.map((v) => Math.max(v, 0)),
      1e-30,
    );
  });

  test("features without pixels", () => {
    const [a, g, b] = [random([7, 4]), random([4]), random([4])];
    checkGradients([a, g, b], () => weigh(batchNorm(a, g, b).y));
    const columns = [0, 1, 2, 3].map((c) => [...a.f32].filter((_, i) => i % 4 === c));
    const means = columns.map((v) => v.reduce((s, n) => s + n, 0) / 7);
    close(batchNorm(a, g, b).statistics.mean.toArray(), means, 1e-6);
  });

  test("the same bits for any number of threads", async () => {
    const bits: string[] = [];
    const values = random([40, 12, 16, 16]).toArray();
    for (const threads of [1, 2, 3]) {
      await init({ threads });
      const a = tensor(values, [40, 12, 16, 16]);
      const g = full([12], 1.5);
      const b = full([12], 0.1);
      const { gradients } = valueAndGrad(() => sum(mul(batchNorm(a, g, b, { relu: true }).y, a)), [a, g, b]);
      bits.push(gradients.map((t) => Array.from(t.toArray().subarray(0, 500)).join()).join());
    }
    expect(new Set(bits).size).toBe(1);
  });
});

describe("pools", () => {
  for (const [size, stride, padding, h, w] of [
    [2, 2, 0, 8, 6],
    [2, 2, 0, 7, 5],
    [3, 2, 1, 7, 8],
    [3, 1, 1, 5, 5],
    [3, 2, 0, 8, 9],
  ]) {
    test(`window ${size}, stride ${stride}, padding ${padding}, ${h} x ${w}`, () => {
      const x = random([2, 3, h, w]);
      const [highest, average] = [maxPool2d(x, size, { stride, padding }), avgPool2d(x, size, { stride, padding })];
      const seed = random(highest.shape);
      const grad = (f: () => Tensor): Float32Array =>
        valueAndGrad(() => sum(mul(f(), seed)), [x]).gradients[0].toArray();
      tf.tidy(() => {
        const [t, d] = [nhwc(x), nhwc(seed)];
        const kernel = (name: string, inputs: Record<string, tf.Tensor>): tf.Tensor =>
          tf.engine().runKernel(name, inputs, {
            ...{ filterSize: [size, size], strides: [stride, stride], pad: padding, dimRoundingMode: "floor" },
          }) as tf.Tensor;
        const most = tf.maxPool(t, size, stride, padding, "floor");
        close(highest.toArray(), nchw(most), 1e-30);
        close(
          grad(() => maxPool2d(x, size, { stride, padding })),
          nchw(kernel("MaxPoolGrad", { dy: d, input: t, output: most })),
          1e-6,
        );
        close(average.toArray(), nchw(tf.avgPool(t, size, stride, padding, "floor")), 1e-6);
        // tfjs's kernel of this gradient divides by the whole window at the edges, which is not its forward pass.
        if (padding === 0) {
          const want = nchw(kernel("AvgPoolGrad", { dy: d, input: t }));
          close(
            grad(() => avgPool2d(x, size, { stride, padding })),
            want,
            1e-6,
          );
        }
      });
      checkGradients([x], () => weigh(avgPool2d(x, size, { stride, padding })));
    });
  }

  test("global means", () => {
    const x = random([3, 4, 5, 7]);
    tf.tidy(() => close(globalAvgPool(x).toArray(), tf.mean(nhwc(x), [1, 2]).dataSync(), 1e-6));
    checkGradients([x], () => weigh(globalAvgPool(x)));
  });

  test("nearest upsampling, and pixel shuffle as tfjs's depthToSpace of one result channel", () => {
    const x = random([2, 3, 4, 5]);
    tf.tidy(() => {
      const want = tf.image.resizeNearestNeighbor(nhwc(x), [12, 15]);
      close(upsampleNearest(x, 3).toArray(), nchw(want), 1e-30);
    });
    checkGradients([x], () => weigh(upsampleNearest(x, 3)));
    const wide = random([2, 9, 4, 5]);
    tf.tidy(() => close(pixelShuffle(wide, 3).toArray(), nchw(tf.depthToSpace(nhwc(wide), 3)), 1e-30));
    const two = random([2, 8, 3, 2]);
    checkGradients([two], () => weigh(pixelShuffle(two, 2)));
    expect(() => pixelShuffle(x, 2)).toThrow(/multiple of 2 \* 2.*got 3/);
  });

  test("windows that do not fit are refused", () => {
    expect(() => maxPool2d(random([1, 1, 3, 3]), 4)).toThrow(/window 4.*images \[3, 3\]/);
    expect(() => avgPool2d(random([1, 1, 4, 4]), 3, { padding: 2 })).toThrow(/at most half the window/);
  });
});

test("layer norm and activations", () => {
  const [x, w, b] = [random([6, 10]), random([10]), random([10])];
  checkGradients([x, w, b], () => weigh(layerNorm(x, w, b, 1e-5)));
  const y = layerNorm(x, w, b, 1e-5).toArray();
  tf.tidy(() => {
    const t = tf.tensor2d(x.toArray(), [6, 10]);
    const { mean, variance } = tf.moments(t, 1, true);
    const unit = tf.div(tf.sub(t, mean), tf.sqrt(tf.add(variance, 1e-5)));
    const want = tf.add(tf.mul(unit, tf.tensor1d(w.toArray())), tf.tensor1d(b.toArray()));
    close(y, want.dataSync(), 5e-6);
    const wide = random([40], 4);
    close(relu6(wide).toArray(), tf.relu6(tf.tensor1d(wide.toArray())).dataSync(), 1e-30);
  });
  for (const f of [gelu, tanh, sigmoid]) checkGradients([x], () => weigh(f(x)));
  const inside = tensor(Float32Array.of(-3, 0.5, 2, 5.5, 7));
  checkGradients([inside], () => weigh(relu6(inside)));
});

describe("dropout", () => {
  const mode: Mode = { train: true, t: { step: 3, steps: 10 }, seed: 5 };

  test("keeps the share it should, scales what stays, and repeats itself", () => {
    const x = full([40_000], 2);
    const y = dropout(x, 0.3, "layer", mode).toArray();
    const kept = y.filter((v) => v !== 0);
    // The share of 40,000 draws has a deviation of 0.0023.
    expect(Math.abs(kept.length / y.length - 0.7)).toBeLessThan(0.01);
    expect(Math.max(...kept.map((v) => Math.abs(v - 2 / 0.7)))).toBeLessThan(1e-6);
    expect(dropout(x, 0.3, "layer", mode).toArray()).toEqual(y);
    // Another layer and another step drop elements independently: both stay with probability 0.49.
    for (const other of [
      dropout(x, 0.3, "other", mode),
      dropout(x, 0.3, "layer", { ...mode, t: { step: 4, steps: 10 } }),
      dropout(x, 0.3, "layer", { ...mode, seed: 6 }),
    ]) {
      const z = other.toArray();
      const both = y.filter((v, i) => v !== 0 && z[i] !== 0).length;
      expect(Math.abs(both / y.length - 0.49)).toBeLessThan(0.01);
    }
    // Neighbours too are independent.
    const pairs = y.filter((v, i) => v !== 0 && i > 0 && y[i - 1] !== 0).length;
    expect(Math.abs(pairs / y.length - 0.49)).toBeLessThan(0.01);
  });

  test("gradients pass where elements stayed; evaluation and rate 0 change nothing", () => {
    const x = random([6, 7]);
    checkGradients([x], () => weigh(dropout(x, 0.4, "layer", mode)));
    expect(dropout(x, 0.4, "layer", EVALUATE)).toBe(x);
    expect(dropout(x, 0, "layer", mode)).toBe(x);
    expect(() => dropout(x, 1, "layer", mode)).toThrow(/a rate in \[0, 1\)/);
  });
});

describe("tokens", () => {
  test("images to tokens and back, and their gradients", () => {
    const x = random([2, 3, 2, 4]);
    const tokens = imageToTokens(x);
    expect(tokens.shape).toEqual([16, 3]);
    tf.tidy(() => close(tokens.toArray(), nhwc(x).dataSync(), 1e-30));
    expect(tokensToImage(tokens, 2, 2, 4).toArray()).toEqual(x.toArray());
    checkGradients([x], () => weigh(imageToTokens(x)));
    checkGradients([tokens], () => weigh(tokensToImage(tokens, 2, 2, 4)));
  });

  test("rows in another order, a token in front, one token of each example", () => {
    const x = random([6, 4]);
    const order = Int32Array.of(4, 2, 0, 5, 1, 3);
    const rows = [...order].flatMap((r) => [...x.f32.subarray(4 * r, 4 * r + 4)]);
    expect([...reorderRows(x, order).f32]).toEqual(rows);
    checkGradients([x], () => weigh(reorderRows(x, order)));
    expect(() => reorderRows(x, Int32Array.of(0, 1, 1, 2, 3, 4))).toThrow(/each of 0 to 5 once/);
    const first = random([4]);
    const y = prependToken(x, first, 2);
    expect(y.shape).toEqual([8, 4]);
    expect([...takeToken(y, 2, 0).f32]).toEqual([...first.f32, ...first.f32]);
    expect([...takeToken(y, 2, 3).f32]).toEqual([...x.f32.subarray(8, 12), ...x.f32.subarray(20, 24)]);
    checkGradients([x, first], () => weigh(prependToken(x, first, 2)));
    checkGradients([y], () => weigh(takeToken(y, 2, 2)));
  });
});
