/**
 * Convolutional networks at inference: a chain of layers with their weights, batch norm already folded in.
 *
 * Five kinds of layers are enough for MobileNets and EfficientNet-lite: a dense 3x3 convolution, depthwise 3x3 or 5x5,
 * 1x1 ("pointwise", the layers that are made sparse), the mean over the image and the classifier. A layer takes the
 * output of the one before it; a pointwise one may add the output of an earlier layer, after its activation. Padding is
 * floor(size / 2) on every side. Nothing here runs or trains; `runtime/convnet.ts` runs such a network.
 */
import { demand } from "../../core/errors.ts";

export type Activation = "none" | "relu" | "relu6";

/** min(max(x, lo), hi) of an activation. */
export const ACTIVATION_BOUNDS: Readonly<Record<Activation, readonly [lo: number, hi: number]>> = {
  none: [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
  relu: [0, Number.POSITIVE_INFINITY],
  relu6: [0, 6],
};

interface Named {
  readonly name: string;
}

/** Weights [out, in, 3, 3]. */
export interface ConvShape extends Named {
  readonly kind: "conv";
  readonly in: number;
  readonly out: number;
  readonly stride: 1 | 2;
  readonly activation: Activation;
}

/** Weights [channels, size, size]. */
export interface DepthwiseShape extends Named {
  readonly kind: "depthwise";
  readonly channels: number;
  readonly size: 3 | 5;
  readonly stride: 1 | 2;
  readonly activation: Activation;
}

/** Weights [out, in]. */
export interface PointwiseShape extends Named {
  readonly kind: "pointwise";
  readonly in: number;
  readonly out: number;
  readonly activation: Activation;
  /** number of the layer whose output is added to this one's */
  readonly residual?: number;
}

/** The mean of every channel; no weights. */
export interface PoolShape extends Named {
  readonly kind: "pool";
}

/** Weights [out, in], on one vector. */
export interface ClassifierShape extends Named {
  readonly kind: "classifier";
  readonly in: number;
  readonly out: number;
}

export type LayerShape = ConvShape | DepthwiseShape | PointwiseShape | PoolShape | ClassifierShape;

/** Channels x height x width. */
export interface ImageSize {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** A network without its weights. */
export interface NetShape {
  readonly name: string;
  readonly input: ImageSize;
  readonly layers: readonly LayerShape[];
}

/** Weight and bias of one layer, row-major, out first; both empty for the pool. */
export interface LayerWeights {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

export interface ConvNet {
  readonly shape: NetShape;
  /** one for each layer */
  readonly weights: readonly LayerWeights[];
}

/** Numbers of weights and of biases. */
export function weightCount(layer: LayerShape): { readonly weight: number; readonly bias: number } {
  switch (layer.kind) {
    case "conv":
      return { weight: layer.out * layer.in * 9, bias: layer.out };
    case "depthwise":
      return { weight: layer.channels * layer.size ** 2, bias: layer.channels };
    case "pool":
      return { weight: 0, bias: 0 };
    default:
      return { weight: layer.out * layer.in, bias: layer.out };
  }
}

/** Inputs that meet in one output. */
export const fanIn = (layer: LayerShape): number =>
  layer.kind === "conv"
    ? 9 * layer.in
    : layer.kind === "depthwise"
      ? layer.size ** 2
      : layer.kind === "pool"
        ? 1
        : layer.in;

/** Sizes of what every layer puts out. Throws a LacunaError when layers do not fit together. */
export function outputSizes({ name, input, layers }: NetShape): ImageSize[] {
  const sizes: ImageSize[] = [];
  let now = input;
  for (const layer of layers) {
    const wrong = (expected: string, got: string): never => {
      demand(false, () => ({
        about: `layer ${layer.name} of ${name}`,
        expected,
        got,
        hint: "A layer takes what the one before it puts out.",
      }));
      throw new Error("unreachable");
    };
    const wanted = layer.kind === "depthwise" ? layer.channels : layer.kind === "pool" ? now.channels : layer.in;
    if (wanted !== now.channels) wrong(`${wanted} input channels`, `${now.channels}`);
    const out = layer.kind === "depthwise" || layer.kind === "pool" ? now.channels : layer.out;
    if (layer.kind === "classifier" && now.height * now.width !== 1) {
      wrong("one pixel", `${now.height} x ${now.width}`);
    }
    const stride = layer.kind === "conv" || layer.kind === "depthwise" ? layer.stride : 1;
    now =
      layer.kind === "pool"
        ? { channels: out, height: 1, width: 1 }
        : { channels: out, height: Math.ceil(now.height / stride), width: Math.ceil(now.width / stride) };
    if (layer.kind === "pointwise" && layer.residual !== undefined) {
      const from = sizes[layer.residual] as ImageSize | undefined;
      const text = (s: ImageSize | undefined): string => (s ? `${s.channels} x ${s.height} x ${s.width}` : "no output");
      if (text(from) !== text(now)) wrong(`a residual of ${text(now)}`, text(from));
    }
    sizes.push(now);
  }
  return sizes;
}

/** Multiply-adds of every layer as if nothing were zero. */
export function layerMacs(shape: NetShape): number[] {
  const sizes = outputSizes(shape);
  return shape.layers.map((layer, i) =>
    layer.kind === "pool" ? 0 : fanIn(layer) * sizes[i].channels * sizes[i].height * sizes[i].width,
  );
}

/** Throws a LacunaError unless every layer has its weights. */
export function checkNet({ shape, weights }: ConvNet): void {
  outputSizes(shape);
  demand(weights.length === shape.layers.length, () => ({
    about: shape.name,
    expected: `weights of ${shape.layers.length} layers`,
    got: `${weights.length}`,
    hint: "Give each layer a weight and a bias; both are empty for the pool.",
  }));
  shape.layers.forEach((layer, i) => {
    const count = weightCount(layer);
    const { weight, bias } = weights[i];
    demand(weight.length === count.weight && bias.length === count.bias, () => ({
      about: `layer ${layer.name} of ${shape.name}`,
      expected: `${count.weight} weights and ${count.bias} biases`,
      got: `${weight.length} and ${bias.length}`,
      hint: "Weights come row by row, output first; fold batch norm into weight and bias.",
    }));
  });
}
