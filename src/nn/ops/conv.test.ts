/** Convolutions, forward and gradients, against tfjs-core (cpu) on odd sizes, and the same bits for any thread count. */
import "@tensorflow/tfjs-backend-cpu";
import * as tf from "@tensorflow/tfjs-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { conv2d, convTranspose2d } from "./conv.ts";
import { mul } from "./elementwise.ts";
import { sum } from "./reduce.ts";

beforeAll(async () => {
  await tf.setBackend("cpu");
  await init({ threads: 2 });
});
afterAll(shutdown);

let draws = 0;
function random(shape: readonly number[], size = 1): Tensor {
  const s = stream(5, `conv-test-${draws++}`);
  const n = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: n }, (_, i) => size * s.normal(i)),
    shape,
  );
}

/** sum(y * seed): its gradients are the operation's backward pass of `seed`. */
const weighed = (y: Tensor, seed: Tensor): Tensor => sum(mul(y, seed));

const nhwc = (x: Tensor): tf.Tensor4D =>
  tf.transpose(tf.tensor4d(x.toArray(), x.shape as [number, number, number, number]), [0, 2, 3, 1]);
/** [O, C, kh, kw] -> [kh, kw, C, O] */
const hwio = (w: Tensor): tf.Tensor4D =>
  tf.transpose(tf.tensor4d(w.toArray(), w.shape as [number, number, number, number]), [2, 3, 1, 0]);
const fromNhwc = (y: tf.Tensor): Float32Array => tf.transpose(y, [0, 3, 1, 2]).dataSync() as Float32Array;
const fromHwio = (w: tf.Tensor): Float32Array => tf.transpose(w, [3, 2, 0, 1]).dataSync() as Float32Array;
/** tfjs keeps the gradients of convolutions as kernels of their own. */
function kernel(name: string, inputs: Record<string, tf.Tensor>, attributes: Record<string, unknown>): tf.Tensor {
  const all = { dataFormat: "NHWC", dilations: [1, 1], dimRoundingMode: "floor", ...attributes };
  return tf.engine().runKernel(name, inputs, all as tf.NamedAttrMap) as tf.Tensor;
}

function close(what: string, got: Float32Array, want: Float32Array, terms: number): void {
  expect(got.length, what).toBe(want.length);
  // f32 sums of `terms` products of unit size in two orders: a random walk of roundings, well within this.
  const allowed = 4e-7 * terms ** 0.5 * Math.max(1, ...want.map(Math.abs));
  const worst = got.reduce((m, g, i) => Math.max(m, Math.abs(g - want[i])), 0);
  expect(worst, what).toBeLessThan(allowed);
}

interface Case {
  readonly name: string;
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly stride: number;
  readonly pad: number | "same";
}
const cases: Case[] = [
  { name: "3x3 padded", x: [3, 5, 9, 11], w: [7, 5, 3, 3], stride: 1, pad: 1 },
  { name: "3x3 valid, stride 2, odd input", x: [2, 3, 9, 7], w: [4, 3, 3, 3], stride: 2, pad: 0 },
  { name: "3x3 padded, stride 2, even input", x: [5, 4, 8, 8], w: [6, 4, 3, 3], stride: 2, pad: 1 },
  { name: "same, stride 2, even input", x: [2, 2, 6, 10], w: [3, 2, 3, 3], stride: 2, pad: "same" },
  { name: "5x5 valid", x: [3, 1, 12, 12], w: [6, 1, 5, 5], stride: 1, pad: 0 },
  { name: "5x5 of a 5x5 image", x: [3, 6, 5, 5], w: [9, 6, 5, 5], stride: 1, pad: 0 },
  { name: "1x1", x: [3, 9, 5, 7], w: [10, 9, 1, 1], stride: 1, pad: 0 },
  { name: "1x1 on planes of a power of two", x: [2, 16, 16, 32], w: [5, 16, 1, 1], stride: 1, pad: 0 },
  { name: "1x1, stride 2", x: [2, 8, 9, 9], w: [6, 8, 1, 1], stride: 2, pad: 0 },
  { name: "patches, kernel = stride", x: [2, 1, 28, 28], w: [8, 1, 7, 7], stride: 7, pad: 0 },
  { name: "1x1 image", x: [4, 6, 1, 1], w: [5, 6, 1, 1], stride: 1, pad: 0 },
  { name: "padding wider than the image", x: [2, 2, 2, 3], w: [3, 2, 5, 5], stride: 1, pad: 3 },
];

describe("conv2d", () => {
  for (const t of cases) {
    test(t.name, () => {
      const [x, w] = [random(t.x), random(t.w)];
      const y = conv2d(x, w, { stride: t.stride, padding: t.pad });
      const seed = random(y.shape);
      const { gradients } = valueAndGrad(
        () => weighed(conv2d(x, w, { stride: t.stride, padding: t.pad }), seed),
        [x, w],
      );
      tf.tidy(() => {
        const [tx, tw, td] = [nhwc(x), hwio(w), nhwc(seed)];
        const at = { strides: [t.stride, t.stride], pad: t.pad };
        const ty = tf.conv2d(tx, tw, t.stride, t.pad, "NHWC", 1, t.pad === "same" ? undefined : "floor");
        close("y", y.toArray(), fromNhwc(ty), t.w[1] * t.w[2] * t.w[3]);
        const dx = kernel("Conv2DBackpropInput", { dy: td, filter: tw }, { ...at, inputShape: tx.shape });
        const dw = kernel("Conv2DBackpropFilter", { x: tx, dy: td }, { ...at, filterShape: tw.shape });
        close("dx", gradients[0].toArray(), fromNhwc(dx), t.w[0] * t.w[2] * t.w[3]);
        close("dw", gradients[1].toArray(), fromHwio(dw), y.size / t.w[0]);
      });
    });
  }

  test("depthwise, strides and sizes", () => {
    for (const [size, k, stride, pad] of [
      [9, 3, 1, 1],
      [8, 3, 2, 1],
      [4, 3, 1, 1],
      [13, 5, 2, 2],
      [3, 3, 1, 0],
    ]) {
      const [x, w] = [random([3, 5, size, size]), random([5, 1, k, k])];
      const run = (): Tensor => conv2d(x, w, { stride, padding: pad, groups: 5 });
      const y = run();
      const seed = random(y.shape);
      const { gradients } = valueAndGrad(() => weighed(run(), seed), [x, w]);
      tf.tidy(() => {
        const order = [2, 3, 0, 1];
        const [tx, td] = [nhwc(x), nhwc(seed)];
        const tw = tf.transpose(tf.tensor4d(w.toArray(), [5, 1, k, k]), order) as tf.Tensor4D;
        const at = { strides: [stride, stride], pad };
        close("y", y.toArray(), fromNhwc(tf.depthwiseConv2d(tx, tw, stride, pad, "NHWC", 1, "floor")), k * k);
        const name = "DepthwiseConv2dNativeBackprop";
        const dx = kernel(`${name}Input`, { dy: td, filter: tw }, { ...at, inputShape: tx.shape });
        const dw = kernel(`${name}Filter`, { x: tx, dy: td }, { ...at, filterShape: tw.shape });
        close("dx", gradients[0].toArray(), fromNhwc(dx), k * k);
        close("dw", gradients[1].toArray(), tf.transpose(dw, order).dataSync() as Float32Array, y.size / 5);
      });
    }
  });

  test("groups are convolutions side by side, gradients included", () => {
    const [x, w] = [random([2, 6, 7, 5]), random([9, 2, 3, 3])];
    const bias = random([9]);
    const seed = random([2, 9, 4, 3]);
    const options = { stride: 2, padding: 1, groups: 3, bias };
    const all = valueAndGrad(() => weighed(conv2d(x, w, options), seed), [x, w, bias]);
    const slice = (t: Tensor, axis: 0 | 1, from: number, count: number): Tensor => {
      const [b, ...rest] = t.shape;
      const [outer, inner] = axis === 0 ? [1, t.size / b] : [b, t.size / b / rest[0]];
      const span = t.shape[axis] * inner;
      const values = t.toArray();
      const out: number[] = [];
      for (let o = 0; o < outer; o++)
        out.push(...values.slice(o * span + from * inner, o * span + (from + count) * inner));
      return tensor(
        Float32Array.from(out),
        t.shape.map((n, i) => (i === axis ? count : n)),
      );
    };
    for (let g = 0; g < 3; g++) {
      const [xg, wg, sg] = [slice(x, 1, 2 * g, 2), slice(w, 0, 3 * g, 3), slice(seed, 1, 3 * g, 3)];
      const bg = tensor(bias.toArray().slice(3 * g, 3 * g + 3));
      const one = valueAndGrad(() => weighed(conv2d(xg, wg, { stride: 2, padding: 1, bias: bg }), sg), [xg, wg, bg]);
      close("dx", slice(all.gradients[0], 1, 2 * g, 2).toArray(), one.gradients[0].toArray(), 27);
      close("dw", slice(all.gradients[1], 0, 3 * g, 3).toArray(), one.gradients[1].toArray(), 24);
      close("dbias", all.gradients[2].toArray().slice(3 * g, 3 * g + 3), one.gradients[2].toArray(), 24);
    }
  });

  test("a backward weight changes the input's gradient only", () => {
    const [x, w, other] = [random([2, 3, 5, 5]), random([4, 3, 3, 3]), random([4, 3, 3, 3])];
    const seed = random([2, 4, 5, 5]);
    const grads = (weight: Tensor, backward?: Tensor): Float32Array[] =>
      valueAndGrad(() => weighed(conv2d(x, weight, { padding: 1, backward }), seed), [x, weight]).gradients.map((g) =>
        g.toArray(),
      );
    const mixed = grads(w, other);
    expect(mixed[0]).toEqual(grads(other)[0]);
    expect(mixed[1]).toEqual(grads(w)[1]);
  });

  test("shapes that do not fit are refused with the layer's sizes", () => {
    expect(() => conv2d(random([1, 3, 4, 4]), random([2, 4, 3, 3]))).toThrow(
      /images \[B, 4, H, W\].*got \[1, 3, 4, 4\]/,
    );
    expect(() => conv2d(random([1, 3, 2, 4]), random([2, 3, 3, 3]))).toThrow(/size 2, kernel 3/);
    expect(() => conv2d(random([1, 4, 4, 4]), random([3, 2, 3, 3]), { groups: 2 })).toThrow(/multiple of the groups/);
  });
});

describe("convTranspose2d", () => {
  test("against tfjs, strides, padding and output padding", () => {
    for (const [h, k, stride, pad, more] of [
      [5, 3, 2, 1, 1],
      [4, 2, 2, 0, 0],
      [3, 4, 2, 1, 0],
      [6, 3, 1, 1, 0],
      [3, 3, 3, 0, 2],
    ]) {
      const [x, w, bias] = [random([2, 5, h, h + 1]), random([5, 4, k, k]), random([4])];
      const run = (): Tensor => convTranspose2d(x, w, { stride, padding: pad, outputPadding: more, bias });
      const y = run();
      const [, , oh, ow] = y.shape;
      expect(oh).toBe((h - 1) * stride - 2 * pad + k + more);
      const seed = random(y.shape);
      const { gradients } = valueAndGrad(() => weighed(run(), seed), [x, w, bias]);
      tf.tidy(() => {
        // The gradient of a convolution from [2, oh, ow, 4] to x, whose filter is [kh, kw, 4, 5].
        const [tx, td] = [nhwc(x), nhwc(seed)];
        const tw = tf.transpose(tf.tensor4d(w.toArray(), [5, 4, k, k]), [2, 3, 1, 0]) as tf.Tensor4D;
        const at = { strides: [stride, stride], pad };
        const ty = kernel("Conv2DBackpropInput", { dy: tx, filter: tw }, { ...at, inputShape: [2, oh, ow, 4] });
        close("y", y.toArray(), fromNhwc(tf.add(ty, tf.tensor1d(bias.toArray()))), 5 * k * k);
        const dx = tf.conv2d(td, tw, stride, pad, "NHWC", 1, "floor");
        const dw = kernel("Conv2DBackpropFilter", { x: td, dy: tx }, { ...at, filterShape: tw.shape });
        close("dx", gradients[0].toArray(), fromNhwc(dx), 4 * k * k);
        close("dw", gradients[1].toArray(), fromHwio(dw), 2 * h * (h + 1));
        close("dbias", gradients[2].toArray(), tf.sum(td, [0, 1, 2]).dataSync() as Float32Array, 2 * oh * ow);
      });
    }
  });
});

test("the same bits for any number of threads", async () => {
  const shapes: [readonly number[], readonly number[], number][] = [
    [[9, 16, 12, 12], [24, 16, 3, 3], 1],
    [[9, 64, 16, 16], [64, 1, 3, 3], 64],
    [[9, 32, 16, 16], [32, 32, 1, 1], 1],
  ];
  const hashes: string[][] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    draws = 1000;
    hashes.push(
      shapes.map(([xs, ws, groups]) =>
        scope(() => {
          const [x, w] = [random(xs), random(ws)];
          const pad = ws[2] === 3 ? 1 : 0;
          const y = conv2d(x, w, { padding: pad, groups });
          const seed = random(y.shape);
          const { gradients } = valueAndGrad(() => weighed(conv2d(x, w, { padding: pad, groups }), seed), [x, w]);
          return [y, ...gradients].map((t) => Buffer.from(t.toArray().buffer).toString("base64").slice(0, 4000)).join();
        }),
      ),
    );
  }
  expect(hashes[1]).toEqual(hashes[0]);
  expect(hashes[2]).toEqual(hashes[0]);
});
