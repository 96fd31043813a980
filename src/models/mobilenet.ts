/**
 * MobileNet (Howard et al. 2017) for small images, to be trained: depthwise 3x3 and pointwise convolutions, each with a
 * norm and ReLU. Networks for 224x224 at inference are in `convnets/`.
 */
import { demand } from "../core/errors.ts";
import { convLayer, convSize } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { batchNormLayer } from "../nn/layers/norm.ts";
import { sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";
import { globalAvgPool } from "../nn/ops/pool.ts";

/** A separable block: channels behind it at width 1, and the stride of its depthwise convolution. */
export interface SeparableBlock {
  readonly channels: number;
  readonly stride: number;
}

export interface MobilenetOptions {
  readonly seed: number;
  /** multiplies all channel counts; default 1 */
  readonly width?: number;
  /** of the images; default 3 */
  readonly channels?: number;
  /** side of the images; default 32 */
  readonly size?: number;
  /** default 10 */
  readonly classes?: number;
  /** channels of the first convolution at width 1; default 16 */
  readonly stem?: number;
  /** default: 32, 64 (stride 2), 64, 128 (stride 2), 128 */
  readonly blocks?: readonly SeparableBlock[];
}

/** Blocks of a network for images of 32 pixels. */
export const MOBILENET_BLOCKS: readonly SeparableBlock[] = [
  { channels: 32, stride: 1 },
  { channels: 64, stride: 2 },
  { channels: 64, stride: 1 },
  { channels: 128, stride: 2 },
  { channels: 128, stride: 1 },
];

/**
 * [B, channels, size, size] -> logits [B, classes]. Weights `stem.weight`, `block<i>.depthwise.weight` (role
 * "depthwise"), `block<i>.pointwise.weight` (role "weight") and `head.weight`.
 */
export function mobilenet(options: MobilenetOptions): Net {
  const { seed, width = 1, channels = 3, size = 32, classes = 10, stem = 16, blocks = MOBILENET_BLOCKS } = options;
  const scaled = (n: number): number => Math.max(1, Math.round(n * width));
  demand(width > 0, () => ({
    about: "mobilenet",
    expected: "a width above 0",
    got: String(width),
    hint: "1 is the full width.",
  }));
  let inputs = scaled(stem);
  const steps: Net[] = [
    convLayer("stem", channels, inputs, 3, { seed, padding: 1, size, role: "stem" }),
    batchNormLayer("stemNorm", inputs, { seed, relu: true }),
  ];
  let side = size;
  blocks.forEach(({ channels: full, stride }, i) => {
    const outputs = scaled(full);
    const name = `block${i + 1}`;
    const after = convSize(side, 3, { stride, padding: 1 });
    steps.push(
      convLayer(`${name}.depthwise`, inputs, inputs, 3, {
        seed,
        stride,
        padding: 1,
        groups: inputs,
        size: side,
        role: "depthwise",
      }),
      batchNormLayer(`${name}.depthwiseNorm`, inputs, { seed, relu: true }),
      convLayer(`${name}.pointwise`, inputs, outputs, 1, { seed, size: after }),
      batchNormLayer(`${name}.pointwiseNorm`, outputs, { seed, relu: true }),
    );
    inputs = outputs;
    side = after;
  });
  return sequential(...steps, globalAvgPool, linearLayer("head", inputs, classes, { seed, role: "head" }));
}
