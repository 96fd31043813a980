/** A convolutional network as an ONNX model, so that other runtimes run the same weights, zeros included. */
import { encodeOnnx, type OnnxNode, type OnnxTensor } from "../../formats/onnx-write.ts";
import { type Activation, type ConvNet, checkNet, type LayerShape, outputSizes } from "./net.ts";

/** Operator set 13: `Clip` takes its bounds as inputs, everything else is as it has been since 2016. */
const OPSET = 13;
const ZERO = "zero";
const SIX = "six";

/** Names of the graph's input [1, channels, height, width] and output [1, classes]. */
export const ONNX_INPUT = "image";
export const ONNX_OUTPUT = "logits";

const conv = (layer: LayerShape, input: string, output: string): OnnxNode => {
  const size = layer.kind === "conv" ? 3 : layer.kind === "depthwise" ? layer.size : 1;
  const stride = layer.kind === "conv" || layer.kind === "depthwise" ? layer.stride : 1;
  const pad = size >> 1;
  return {
    op: "Conv",
    name: layer.name,
    inputs: [input, `${layer.name}.weight`, `${layer.name}.bias`],
    outputs: [output],
    attributes: {
      kernel_shape: { ints: [size, size] },
      strides: { ints: [stride, stride] },
      pads: { ints: [pad, pad, pad, pad] },
      group: { int: layer.kind === "depthwise" ? layer.channels : 1 },
    },
  };
};

function dimsOf(layer: LayerShape): readonly number[] {
  switch (layer.kind) {
    case "conv":
      return [layer.out, layer.in, 3, 3];
    case "depthwise":
      return [layer.channels, 1, layer.size, layer.size];
    case "pointwise":
      return [layer.out, layer.in, 1, 1];
    case "classifier":
      return [layer.out, layer.in];
    default:
      return [];
  }
}

/** The file. Convolutions, Relu, Clip, Add, GlobalAveragePool, Flatten and Gemm; batch 1. */
export function netToOnnx(net: ConvNet): Uint8Array {
  checkNet(net);
  const { shape, weights } = net;
  const sizes = outputSizes(shape);
  const nodes: OnnxNode[] = [];
  const initialisers: OnnxTensor[] = [];
  if (shape.layers.some((layer) => "activation" in layer && layer.activation === "relu6")) {
    initialisers.push(
      { name: ZERO, dims: [], values: Float32Array.of(0) },
      { name: SIX, dims: [], values: Float32Array.of(6) },
    );
  }
  const outputs: string[] = [];
  const activate = (layer: LayerShape, activation: Activation, from: string): string => {
    if (activation === "none") return from;
    const to = `${layer.name}.${activation}`;
    const name = to;
    nodes.push(
      activation === "relu"
        ? { op: "Relu", name, inputs: [from], outputs: [to] }
        : { op: "Clip", name, inputs: [from, ZERO, SIX], outputs: [to] },
    );
    return to;
  };
  shape.layers.forEach((layer, i) => {
    const from = i === 0 ? ONNX_INPUT : outputs[i - 1];
    if (layer.kind !== "pool") {
      initialisers.push(
        { name: `${layer.name}.weight`, dims: dimsOf(layer), values: weights[i].weight },
        { name: `${layer.name}.bias`, dims: [weights[i].bias.length], values: weights[i].bias },
      );
    }
    if (layer.kind === "pool") {
      nodes.push({ op: "GlobalAveragePool", name: layer.name, inputs: [from], outputs: [layer.name] });
      outputs.push(layer.name);
      return;
    }
    if (layer.kind === "classifier") {
      const flat = `${layer.name}.flat`;
      nodes.push({ op: "Flatten", name: flat, inputs: [from], outputs: [flat], attributes: { axis: { int: 1 } } });
      nodes.push({
        op: "Gemm",
        name: layer.name,
        inputs: [flat, `${layer.name}.weight`, `${layer.name}.bias`],
        outputs: [layer.name],
        attributes: { transB: { int: 1 } },
      });
      outputs.push(layer.name);
      return;
    }
    nodes.push(conv(layer, from, layer.name));
    let last = activate(layer, layer.activation, layer.name);
    if (layer.kind === "pointwise" && layer.residual !== undefined) {
      const sum = `${layer.name}.sum`;
      nodes.push({ op: "Add", name: sum, inputs: [last, outputs[layer.residual]], outputs: [sum] });
      last = sum;
    }
    outputs.push(last);
  });
  const last = sizes[sizes.length - 1];
  const flat = shape.layers[shape.layers.length - 1].kind === "classifier";
  nodes.push({ op: "Identity", name: ONNX_OUTPUT, inputs: [outputs[outputs.length - 1]], outputs: [ONNX_OUTPUT] });
  return encodeOnnx({
    name: shape.name,
    opset: OPSET,
    nodes,
    initialisers,
    inputs: [{ name: ONNX_INPUT, dims: [1, shape.input.channels, shape.input.height, shape.input.width] }],
    outputs: [{ name: ONNX_OUTPUT, dims: flat ? [1, last.channels] : [1, last.channels, last.height, last.width] }],
  });
}
