/** Autoencoders: fully connected ones, and a small convolutional one with transposed convolutions. */

import type { Tensor } from "../core/tensor.ts";
import { xavierUniform } from "../nn/init.ts";
import { convLayer, convSize, convTransposeLayer } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { batchNormLayer } from "../nn/layers/norm.ts";
import { type Step, sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";
import { sigmoid } from "../nn/ops/activation.ts";

export interface AutoencoderOptions {
  readonly seed: number;
  /** between layers; default `sigmoid` */
  readonly activation?: (x: Tensor) => Tensor;
  /** of the result; default none */
  readonly output?: (x: Tensor) => Tensor;
}

/**
 * `sizes` = [inputs, hidden .., code], mirrored behind the code. Weights `encode<i>` and `decode<i>`, the last of role
 * "head". With one hidden size it is the network of QuickSelection.
 */
export function autoencoder(sizes: readonly number[], options: AutoencoderOptions): Net {
  const { seed, activation = sigmoid, output } = options;
  const init = xavierUniform;
  const all = [...sizes, ...sizes.slice(0, -1).reverse()];
  const half = sizes.length - 1;
  const steps = all.slice(1).flatMap((outputs, i): Step[] => {
    const last = i === all.length - 2;
    const name = i < half ? `encode${i + 1}` : `decode${i - half + 1}`;
    const layer = linearLayer(name, all[i], outputs, { seed, init, role: last ? "head" : "weight" });
    return last ? [layer] : [layer, activation];
  });
  return sequential(...steps, ...(output ? [output] : []));
}

export interface ConvAutoencoderOptions {
  readonly seed: number;
  /** of the images; default 1 */
  readonly channels?: number;
  /** side of the images; default 28 */
  readonly size?: number;
  /** channels behind each halving of the image; default [16, 32] */
  readonly widths?: readonly number[];
}

/** [B, channels, size, size] -> the same shape: 3x3 convolutions of stride 2, then as many transposed ones. */
export function convAutoencoder(options: ConvAutoencoderOptions): Net {
  const { seed, channels = 1, size = 28, widths = [16, 32] } = options;
  const all = [channels, ...widths];
  const sides = [size];
  const steps: Step[] = [];
  widths.forEach((outputs, i) => {
    const role = i === 0 ? "stem" : "weight";
    steps.push(
      convLayer(`encode${i + 1}`, all[i], outputs, 3, { seed, stride: 2, padding: 1, size: sides[i], role }),
      batchNormLayer(`encodeNorm${i + 1}`, outputs, { seed, relu: true }),
    );
    sides.push(convSize(sides[i], 3, { stride: 2, padding: 1 }));
  });
  for (let i = widths.length; i > 0; i--) {
    const last = i === 1;
    const outputPadding = sides[i - 1] - (2 * sides[i] - 1);
    steps.push(
      convTransposeLayer(`decode${i}`, all[i], all[i - 1], 3, {
        ...{ seed, stride: 2, padding: 1, outputPadding, uses: sides[i] ** 2, role: last ? "head" : "weight" },
      }),
    );
    if (!last) steps.push(batchNormLayer(`decodeNorm${i}`, all[i - 1], { seed, relu: true }));
  }
  return sequential(...steps);
}
