/**
 * tfjs-wasm's side of `convnets`: the same networks in its fused operations (bias and activation inside of the
 * convolution), in its own layout NHWC, with weights and images made before the timing.
 */
import type { Tensor2D, Tensor4D } from "@tensorflow/tfjs-core";
import type { ConvNet, LayerShape } from "../../../src/models/convnets/net.ts";
import { type Tfjs, tfjs } from "../peers/tfjs.ts";
import type { Contest, Contestant } from "./contest.ts";

/** Weights [out, in, size, size] as [size, size, in, out]. */
export function filterOf(weight: Float32Array, out: number, inputs: number, size: number): Float32Array {
  const filter = new Float32Array(weight.length);
  for (let o = 0; o < out; o++) {
    for (let i = 0; i < inputs; i++) {
      for (let t = 0; t < size * size; t++) {
        filter[(t * inputs + i) * out + o] = weight[(o * inputs + i) * size * size + t];
      }
    }
  }
  return filter;
}

const activationOf = (layer: LayerShape): "linear" | "relu" | "relu6" =>
  "activation" in layer && layer.activation !== "none" ? layer.activation : "linear";

type Layer = (x: Tensor4D, outputs: readonly Tensor4D[]) => Tensor4D;

function layerOf(tf: Tfjs, layer: LayerShape, { weight, bias }: ConvNet["weights"][number]): Layer {
  if (layer.kind === "pool") return (x) => tf.mean(x, [1, 2], true);
  const b = tf.tensor1d(bias);
  if (layer.kind === "classifier") {
    const w = tf.tensor2d(filterOf(weight, layer.out, layer.in, 1), [layer.in, layer.out]);
    return (x) => {
      const a = tf.reshape(x, [1, layer.in]) as Tensor2D;
      return tf.reshape(tf.fused.matMul({ a, b: w, bias: b }), [1, 1, 1, layer.out]) as Tensor4D;
    };
  }
  const activation = activationOf(layer);
  if (layer.kind === "depthwise") {
    const { channels, size, stride } = layer;
    const filter = tf.tensor4d(filterOf(weight, 1, channels, size), [size, size, channels, 1]);
    return (x) =>
      tf.fused.depthwiseConv2d({ x, filter, strides: stride, pad: size >> 1, bias: b, activation }) as Tensor4D;
  }
  const [size, stride] = layer.kind === "conv" ? [3, layer.stride] : [1, 1];
  const filter = tf.tensor4d(filterOf(weight, layer.out, layer.in, size), [size, size, layer.in, layer.out]);
  const residual = layer.kind === "pointwise" ? layer.residual : undefined;
  return (x, outputs) => {
    const y = tf.fused.conv2d({ x, filter, strides: stride, pad: size >> 1, bias: b, activation }) as Tensor4D;
    return residual === undefined ? y : tf.add(y, outputs[residual]);
  };
}

export async function open({ nets, images }: Contest): Promise<Contestant> {
  const tf = await tfjs();
  const made = new Map<string, { layers: readonly Layer[]; images: readonly Tensor4D[] }>();
  for (const [id, { shape, weights }] of Object.entries(nets)) {
    const { channels, height, width } = shape.input;
    const inputs = images.map((values) =>
      tf.tidy(() => tf.transpose(tf.tensor4d(values, [1, channels, height, width]), [0, 2, 3, 1])),
    );
    made.set(id, { layers: shape.layers.map((layer, i) => layerOf(tf, layer, weights[i])), images: inputs });
  }
  const forward = (id: string, i: number): Float32Array => {
    const found = made.get(id);
    if (!found) throw new Error(`bench: no network ${id}`);
    const logits = tf.tidy(() => {
      const outputs: Tensor4D[] = [];
      let x = found.images[i % found.images.length];
      for (const layer of found.layers) outputs.push((x = layer(x, outputs)));
      return x;
    });
    const values = logits.dataSync() as Float32Array;
    logits.dispose();
    return values;
  };
  let at = 0;
  return {
    // reading the logits is the end of a pass for everybody
    run: (id) => void forward(id, at++),
    logits: (id) => forward(id, 0).slice(),
  };
}
