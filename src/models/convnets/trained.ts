/**
 * A trained network of `models/mobilenet.ts` as one that runs: batch norm folded with the running statistics, masks
 * applied. It computes what the trained one computes in evaluation, up to rounding.
 */
import { demand } from "../../core/errors.ts";
import { EVALUATE, type Net } from "../../nn/net.ts";
import { effective } from "../../nn/param.ts";
import { MOBILENET_BLOCKS, type MobilenetOptions } from "../mobilenet.ts";
import { foldBatchNorm } from "./fold.ts";
import type { ConvNet, LayerShape, LayerWeights } from "./net.ts";

/** Of `batchNormLayer`. */
const EPSILON = 1e-5;

/** `options` are those the network was made with. Throws a LacunaError when a tensor is missing or a stride has no kernel. */
export function trainedMobilenet(net: Net, options: Omit<MobilenetOptions, "seed">): ConvNet {
  const { size = 32, blocks = MOBILENET_BLOCKS } = options;
  const values = new Map<string, Float32Array>();
  const shapes = new Map<string, readonly number[]>();
  for (const p of net.params) {
    values.set(p.name, p.sparse ? p.dense() : effective(p, EVALUATE.t).weight.toArray());
    shapes.set(p.name, p.shape);
  }
  for (const b of net.buffers ?? []) values.set(b.name, b.value.toArray());
  const named = <T>(map: ReadonlyMap<string, T>, name: string): T => {
    const found = map.get(name);
    demand(found !== undefined, () => ({
      about: "trained network",
      expected: `a tensor ${name}`,
      got: "none",
      hint: "Give the network and the options it was made with.",
    }));
    return found as T;
  };
  const layers: LayerShape[] = [];
  const weights: LayerWeights[] = [];
  const push = (layer: LayerShape, norm: string): void => {
    const part = (of: string): Float32Array => named(values, `${norm}.${of}`);
    layers.push(layer);
    const statistics = { scale: part("weight"), shift: part("bias"), mean: part("mean"), variance: part("variance") };
    const bias = values.get(`${layer.name}.bias`);
    weights.push(foldBatchNorm(named(values, `${layer.name}.weight`), bias, { ...statistics, epsilon: EPSILON }));
  };
  const channelsOf = (name: string): readonly number[] => named(shapes, `${name}.weight`);
  const [stem, channels] = channelsOf("stem");
  push({ kind: "conv", name: "stem", in: channels, out: stem, stride: 1, activation: "relu" }, "stemNorm");
  blocks.forEach(({ stride }, i) => {
    const name = `block${i + 1}`;
    demand(stride === 1 || stride === 2, () => ({
      about: `layer ${name}.depthwise`,
      expected: "stride 1 or 2",
      got: String(stride),
      hint: "No other strides have a kernel.",
    }));
    const [outputs, inputs] = channelsOf(`${name}.pointwise`);
    const depthwise = `${name}.depthwise`;
    push(
      { kind: "depthwise", name: depthwise, channels: inputs, size: 3, stride: stride as 1 | 2, activation: "relu" },
      `${depthwise}Norm`,
    );
    const pointwise = `${name}.pointwise`;
    push({ kind: "pointwise", name: pointwise, in: inputs, out: outputs, activation: "relu" }, `${pointwise}Norm`);
  });
  const [classes, last] = channelsOf("head");
  layers.push({ kind: "pool", name: "pool" }, { kind: "classifier", name: "head", in: last, out: classes });
  weights.push(
    { weight: new Float32Array(0), bias: new Float32Array(0) },
    { weight: named(values, "head.weight"), bias: named(values, "head.bias") },
  );
  return { shape: { name: "mobilenet", input: { channels, height: size, width: size }, layers }, weights };
}
