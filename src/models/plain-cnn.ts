/** A plain stack of convolution, norm and ReLU with global pooling and a classifier: the small CNN of many papers. */
import { convLayer, convSize } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { batchNormLayer } from "../nn/layers/norm.ts";
import { sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";
import { globalAvgPool } from "../nn/ops/pool.ts";

export interface ConvStage {
  readonly channels: number;
  /** default 1 */
  readonly stride?: number;
  /** default 3 */
  readonly kernel?: number;
}

export interface PlainCnnOptions {
  readonly seed: number;
  readonly stages: readonly ConvStage[];
  /** of the images; default 1 */
  readonly channels?: number;
  /** side of the images; default 28 */
  readonly size?: number;
  /** default 10 */
  readonly classes?: number;
}

/**
 * [B, channels, size, size] -> logits [B, classes]. Weights `conv0.weight` (role "stem"), `conv1.weight` .. and
 * `head.weight`; kernels are padded so that only strides shrink the image.
 */
export function plainCnn({ seed, stages, channels = 1, size = 28, classes = 10 }: PlainCnnOptions): Net {
  const steps: Net[] = [];
  let [inputs, side] = [channels, size];
  stages.forEach(({ channels: outputs, stride = 1, kernel = 3 }, i) => {
    const padding = Math.floor(kernel / 2);
    const role = i === 0 ? "stem" : "weight";
    steps.push(
      convLayer(`conv${i}`, inputs, outputs, kernel, { seed, stride, padding, size: side, role }),
      batchNormLayer(`norm${i}`, outputs, { seed, relu: true }),
    );
    inputs = outputs;
    side = convSize(side, kernel, { stride, padding });
  });
  return sequential(...steps, globalAvgPool, linearLayer("head", inputs, classes, { seed, role: "head" }));
}
