/** Losses against tfjs-core and closed forms, gradients against central differences. */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { full, type Tensor, tensor } from "../../core/tensor.ts";
import { checkGradients, drawer, weigh } from "./gradient-check.ts";
import { crossEntropy, distillation } from "./loss.ts";
import { binaryCrossEntropy, meanAbsoluteError, meanSquaredError, rankingLoss, sumSquares } from "./loss-element.ts";
import { rowDots, sliceRows } from "./rows.ts";

tf.enableProdMode();
beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(41);
const theirs = (t: Tensor): tf.Tensor => tf.tensor(t.toArray(), [...t.shape]);

/** Value and gradients of ours and of tfjs-core's, both in f32: means of some hundred terms of about unit size. */
function same(inputs: readonly Tensor[], ours: () => Tensor, tfjs: (...x: tf.Tensor[]) => tf.Tensor): void {
  const { value, gradients } = valueAndGrad(ours, inputs);
  const their = tf.valueAndGrads((...x) => tfjs(...x) as tf.Scalar)(inputs.map(theirs));
  expect(Math.abs(value.item() - their.value.dataSync()[0])).toBeLessThan(2e-6 * Math.max(1, value.item()));
  gradients.forEach((g, k) => {
    const want = their.grads[k].dataSync();
    g.toArray().forEach((v, i) => {
      expect(Math.abs(v - want[i]), `input ${k}, element ${i}`).toBeLessThan(2e-6);
    });
  });
}

const a = (): Tensor => random([7, 9], 2);

test("squared and absolute error, as tfjs-core has them", () => {
  const [x, y] = [a(), a()];
  same(
    [x, y],
    () => meanSquaredError(x, y),
    (p, q) => tf.losses.meanSquaredError(q, p),
  );
  same(
    [x, y],
    () => meanAbsoluteError(x, y),
    (p, q) => tf.losses.absoluteDifference(q, p),
  );
});

test("binary cross-entropy with logits, as tfjs-core has it", () => {
  const x = a();
  const targets = tensor(
    Float32Array.from({ length: x.size }, (_, i) => [0, 1, 0.3][i % 3]),
    x.shape,
  );
  const labels = theirs(targets);
  same(
    [x],
    () => binaryCrossEntropy(x, targets),
    (p) => tf.losses.sigmoidCrossEntropy(labels, p),
  );
});

test("cross-entropy over classes, as tfjs-core has it; rows with target -1 are as if they were not there", () => {
  const x = random([6, 5], 2);
  const labels = [3, 0, 4, 1, 1, 2];
  const targets = tensor(Int32Array.from(labels));
  same(
    [x],
    () => crossEntropy(x, targets),
    (p) => tf.losses.softmaxCrossEntropy(tf.oneHot(labels, 5), p),
  );
  const kept = [0, 2, 5];
  const some = tensor(Int32Array.from(labels, (l, r) => (kept.includes(r) ? l : -1)));
  same(
    [x],
    () => crossEntropy(x, some),
    (p) =>
      tf.losses.softmaxCrossEntropy(
        tf.oneHot(
          kept.map((r) => labels[r]),
          5,
        ),
        tf.gather(p, kept),
      ),
  );
});

test("distillation is the KL divergence of softened softmaxes times the temperature squared, as tfjs-core's parts say", () => {
  const [student, teacher] = [random([4, 6], 2), random([4, 6], 2)];
  const t = tf.div(theirs(teacher), 3);
  same(
    [student],
    () => distillation(student, teacher, 3),
    (s) => {
      const each = tf.mul(tf.softmax(t), tf.sub(tf.logSoftmax(t), tf.logSoftmax(tf.div(s, 3))));
      return tf.mul(tf.sum(each), 9 / 4);
    },
  );
});

test("ranking loss: ln 2 where scores tie, the mean of -ln sigmoid of the difference, and no overflow", () => {
  const [p, n] = [random([40], 3), random([40], 3)];
  expect(rankingLoss(full([5], 1.5), full([5], 1.5)).item()).toBeCloseTo(Math.LN2, 6);
  same(
    [p, n],
    () => rankingLoss(p, n),
    (x, y) => tf.neg(tf.mean(tf.log(tf.sigmoid(tf.sub(x, y))))),
  );
  expect(rankingLoss(full([1], -500), full([1], 500)).item()).toBe(1000);
  expect(rankingLoss(full([1], 500), full([1], -500)).item()).toBe(0);
});

test("gradients of losses, row products and slices", () => {
  const [x, y] = [random([3, 5]), random([3, 5])];
  checkGradients([x, y], () => meanSquaredError(x, y), 1e-3);
  checkGradients([x, y], () => rankingLoss(rowDots(x, y), rowDots(y, y)), 1e-3);
  checkGradients([x], () => sumSquares(x), 1e-3);
  checkGradients([x], () => weigh(sliceRows(x, 1, 3)));
  const zero = full([3, 5], 0);
  checkGradients([x], () => binaryCrossEntropy(x, zero), 1e-3);
});

test("sizes that differ, and ranges beyond the end, say what was expected", () => {
  expect(() => meanSquaredError(random([3]), random([4]))).toThrow(
    /meanSquaredError: expected two tensors of one size/,
  );
  expect(() => crossEntropy(random([2, 3]), tensor(Int32Array.of(0, 3)))).toThrow(
    /cross-entropy: .*got a target 3 of 3/,
  );
  expect(() => crossEntropy(random([2, 3]), tensor(Int32Array.of(0)))).toThrow(/got \[2, 3\] and 1 targets/);
  expect(() => rowDots(random([3, 2]), random([2, 3]))).toThrow(/rowDots: expected two matrices of one shape/);
  expect(() => sliceRows(random([3, 2]), 2, 4)).toThrow(/expected a range within \[0, 3\)/);
});
