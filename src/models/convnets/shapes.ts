/**
 * MobileNet v1 and v2 and EfficientNet-lite0, for any width, resolution and number of classes.
 *
 * Sources: Howard et al. 2017 (arXiv 1704.04861), Sandler et al. 2018 (arXiv 1801.04381), Tan & Le 2019 (arXiv 1905.11946)
 * in its lite form (ReLU6, no squeeze and excitation, first and last convolution not scaled). They differ from the
 * published ones in one point: padding is floor(k / 2) on every side also where the stride is 2, as in PyTorch.
 */
import { demand } from "../../core/errors.ts";
import type { Activation, ImageSize, LayerShape, NetShape } from "./net.ts";

export interface NetOptions {
  /** factor on the numbers of channels; default 1 */
  readonly width?: number;
  /** pixels a side; default 224 */
  readonly resolution?: number;
  /** channels of the image; default 3 */
  readonly channels?: number;
  /** default 1,000 */
  readonly classes?: number;
  /** stride of the first layer; 1 suits images of 32 pixels; default 2 */
  readonly firstStride?: 1 | 2;
}

/** Channels as the reference networks round them: to a multiple of 8, and not more than a tenth down. */
export function roundChannels(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

/** Collects layers; the number of a layer is where it stands. */
class Chain {
  readonly layers: LayerShape[] = [];
  channels: number;
  constructor(channels: number) {
    this.channels = channels;
  }
  conv(name: string, out: number, stride: 1 | 2, activation: Activation): void {
    this.layers.push({ kind: "conv", name, in: this.channels, out, stride, activation });
    this.channels = out;
  }
  depthwise(name: string, size: 3 | 5, stride: 1 | 2, activation: Activation): void {
    this.layers.push({ kind: "depthwise", name, channels: this.channels, size, stride, activation });
  }
  pointwise(name: string, out: number, activation: Activation, residual?: number): void {
    const added = residual === undefined ? {} : { residual };
    this.layers.push({ kind: "pointwise", name, in: this.channels, out, activation, ...added });
    this.channels = out;
  }
  end(classes: number): void {
    this.layers.push({ kind: "pool", name: "pool" });
    this.layers.push({ kind: "classifier", name: "classifier", in: this.channels, out: classes });
  }
}

interface Settings {
  readonly scale: (channels: number) => number;
  readonly width: number;
  readonly input: ImageSize;
  readonly classes: number;
  readonly firstStride: 1 | 2;
  readonly suffix: string;
}

function settings(name: string, options: NetOptions): Settings {
  const { width = 1, resolution = 224, channels = 3, classes = 1000, firstStride = 2 } = options;
  const whole = [resolution, channels, classes].every((n) => Number.isInteger(n) && n >= 1);
  demand(whole && width > 0 && Number.isFinite(width), () => ({
    about: name,
    expected: "a width above 0, whole numbers of pixels, channels and classes",
    got: `width ${width}, ${resolution} pixels, ${channels} channels, ${classes} classes`,
    hint: "Leave them out for width 1, 224 pixels, 3 channels, 1,000 classes.",
  }));
  return {
    scale: (c) => roundChannels(c * width),
    width,
    input: { channels, height: resolution, width: resolution },
    classes,
    firstStride,
    suffix: width === 1 ? "" : `-${width}`,
  };
}

/** Stride and outputs of the 13 blocks. */
const V1 = [
  [1, 64],
  [2, 128],
  [1, 128],
  [2, 256],
  [1, 256],
  [2, 512],
  ...Array.from({ length: 5 }, () => [1, 512] as const),
  [2, 1024],
  [1, 1024],
] as const;

export function mobileNetV1(options: NetOptions = {}): NetShape {
  const { scale, input, classes, firstStride, suffix } = settings("mobilenet-v1", options);
  const chain = new Chain(input.channels);
  chain.conv("first", scale(32), firstStride, "relu");
  V1.forEach(([stride, out], i) => {
    chain.depthwise(`block${i + 1}.depthwise`, 3, stride, "relu");
    chain.pointwise(`block${i + 1}.pointwise`, scale(out), "relu");
  });
  chain.end(classes);
  return { name: `mobilenet-v1${suffix}`, input, layers: chain.layers };
}

/** Inverted bottlenecks: expansion, outputs, repeats, stride of the first, size. */
type Stage = readonly [expand: number, out: number, repeats: number, stride: 1 | 2, size: 3 | 5];

function bottlenecks(chain: Chain, stages: readonly Stage[], scale: (channels: number) => number): void {
  let block = 0;
  for (const [expand, out, repeats, stride, size] of stages) {
    for (let i = 0; i < repeats; i++) {
      const name = `block${++block}`;
      const before = chain.layers.length - 1;
      const [inputs, outputs] = [chain.channels, scale(out)];
      if (expand > 1) chain.pointwise(`${name}.expand`, inputs * expand, "relu6");
      chain.depthwise(`${name}.depthwise`, size, i === 0 ? stride : 1, "relu6");
      const same = inputs === outputs && (i > 0 || stride === 1);
      chain.pointwise(`${name}.project`, outputs, "none", same ? before : undefined);
    }
  }
}

export function mobileNetV2(options: NetOptions = {}): NetShape {
  const { scale, width, input, classes, firstStride, suffix } = settings("mobilenet-v2", options);
  const chain = new Chain(input.channels);
  chain.conv("first", scale(32), firstStride, "relu6");
  const stages: Stage[] = [
    [1, 16, 1, 1, 3],
    [6, 24, 2, 2, 3],
    [6, 32, 3, 2, 3],
    [6, 64, 4, 2, 3],
    [6, 96, 3, 1, 3],
    [6, 160, 3, 2, 3],
    [6, 320, 1, 1, 3],
  ];
  bottlenecks(chain, stages, scale);
  chain.pointwise("last", width > 1 ? scale(1280) : 1280, "relu6");
  chain.end(classes);
  return { name: `mobilenet-v2${suffix}`, input, layers: chain.layers };
}

export function efficientNetLite0(options: NetOptions = {}): NetShape {
  const { scale, input, classes, firstStride, suffix } = settings("efficientnet-lite0", options);
  const chain = new Chain(input.channels);
  chain.conv("first", 32, firstStride, "relu6");
  const stages: Stage[] = [
    [1, 16, 1, 1, 3],
    [6, 24, 2, 2, 3],
    [6, 40, 2, 2, 5],
    [6, 80, 3, 2, 3],
    [6, 112, 3, 1, 5],
    [6, 192, 4, 2, 5],
    [6, 320, 1, 1, 3],
  ];
  bottlenecks(chain, stages, scale);
  chain.pointwise("last", 1280, "relu6");
  chain.end(classes);
  return { name: `efficientnet-lite0${suffix}`, input, layers: chain.layers };
}
