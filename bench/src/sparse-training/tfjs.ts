/**
 * The same dense network in TensorFlow.js on its WebAssembly backend. Kernels are held [in, out], as tfjs users hold them.
 *
 * As commonly used, the gradients of `matMul` transpose factors by flags, and such products run in plain loops. With
 * `transposes` the rule is rewritten with transposes as operations of their own, so that all products reach XNNPACK.
 */
import type { Scalar, Tensor, Tensor1D, Tensor2D, Variable } from "@tensorflow/tfjs-core";
import { tfjs } from "../peers/tfjs.ts";
import { ADAM, turns } from "../train/setup.ts";
import type { Contestant, StepSetup } from "./setup.ts";

export async function open(setup: StepSetup & { readonly transposes?: boolean }): Promise<Contestant> {
  const tf = await tfjs();
  const { sizes, batch } = setup;
  const layers = sizes.length - 1;
  const kernel = (l: number): Tensor =>
    tf.tidy(() => tf.transpose(tf.tensor2d(setup.weights[l], [sizes[l + 1], sizes[l]])));
  const weights: Variable[] = Array.from({ length: layers }, (_, l) => tf.variable(kernel(l)));
  const biases: Variable[] = Array.from({ length: layers }, (_, l) => tf.variable(tf.zeros([sizes[l + 1]])));
  type Rule = { value: Tensor; gradFunc: (dy: Tensor, saved: Tensor[]) => Tensor[] };
  const rule = (a: Tensor, b: Tensor, save: (tensors: Tensor[]) => void): Rule => {
    save([a, b]);
    return {
      value: tf.matMul(a, b),
      gradFunc: (dy, [x, w]) => [tf.matMul(dy, tf.transpose(w)), tf.matMul(tf.transpose(x), dy)],
    };
  };
  // tfjs types the function of a custom gradient loosely: tensors first, then `save`.
  const explicit = tf.customGrad(rule as unknown as Parameters<typeof tf.customGrad>[0]);
  // The data needs no gradient, so the first layer's rule is one of the weight alone.
  const first = (x: Tensor, w: Tensor): Tensor => {
    const f = tf.customGrad(((b: Tensor) => ({
      value: tf.matMul(x, b),
      gradFunc: (dy: Tensor) => tf.matMul(tf.transpose(x), dy),
    })) as unknown as Parameters<typeof tf.customGrad>[0]);
    return f(w);
  };
  const product = (x: Tensor, l: number): Tensor => {
    if (setup.transposes !== true) return tf.matMul(x, weights[l]);
    return l === 0 ? first(x, weights[l]) : explicit(x, weights[l]);
  };
  const batches = turns(
    setup.batches.map(({ x, y }): { x: Tensor2D; y: Tensor1D } => ({
      x: tf.tensor2d(x, [batch, sizes[0]]),
      y: tf.tensor1d(y, "int32"),
    })),
  );
  const adam = () => tf.train.adam(setup.rate, ADAM.beta1, ADAM.beta2, ADAM.eps);
  const all = [...weights, ...biases];
  const stepWith = (optimiser: ReturnType<typeof adam>): number =>
    tf.tidy(() => {
      const { x, y } = batches.next();
      const wanted = tf.oneHot(y, sizes[layers]);
      const { value, grads } = tf.variableGrads(() => {
        let h: Tensor = x;
        for (let l = 0; l < layers; l++) {
          h = tf.add(product(h, l), biases[l]);
          if (l < layers - 1) h = tf.relu(h);
        }
        return tf.losses.softmaxCrossEntropy(wanted, h) as Scalar;
      }, all);
      optimiser.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
      return value.dataSync()[0];
    });
  let own: ReturnType<typeof adam> | undefined;
  return {
    losses({ steps }) {
      weights.forEach((w, l) => {
        const start = kernel(l);
        w.assign(start);
        start.dispose();
      });
      for (const b of biases) tf.tidy(() => b.assign(tf.zerosLike(b)));
      batches.restart();
      const fresh = adam();
      const found = Array.from({ length: steps }, () => stepWith(fresh));
      fresh.dispose();
      return found;
    },
    step() {
      own ??= adam();
      return stepWith(own);
    },
  };
}
