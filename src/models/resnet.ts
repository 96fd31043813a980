/**
 * Residual networks for small images (He et al. 2016, section 4.2): depth 6n + 2, three stages of n blocks.
 *
 * Shortcuts that change shape are 1x1 convolutions with a norm (their option B). ResNet-8 has n = 1, ResNet-20 n = 3.
 */
import { demand } from "../core/errors.ts";
import { convLayer, convSize } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { batchNormLayer } from "../nn/layers/norm.ts";
import { sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";
import { relu } from "../nn/ops/activation.ts";
import { add } from "../nn/ops/elementwise.ts";
import { globalAvgPool } from "../nn/ops/pool.ts";

export interface ResnetOptions {
  readonly seed: number;
  /** 6n + 2; default 8 */
  readonly depth?: number;
  /** channels of the first stage; default 16 */
  readonly width?: number;
  /** of the images; default 3 */
  readonly channels?: number;
  /** side of the images; default 32 */
  readonly size?: number;
  /** default 10 */
  readonly classes?: number;
}

interface BlockOptions {
  readonly seed: number;
  readonly stride: number;
  readonly size: number;
}

/** conv-norm-ReLU-conv-norm, plus the input or its projection, then ReLU. */
export function basicBlock(name: string, inputs: number, outputs: number, { seed, stride, size }: BlockOptions): Net {
  const after = convSize(size, 3, { stride, padding: 1 });
  const branch = sequential(
    convLayer(`${name}.conv1`, inputs, outputs, 3, { seed, stride, padding: 1, size }),
    batchNormLayer(`${name}.norm1`, outputs, { seed, relu: true }),
    convLayer(`${name}.conv2`, outputs, outputs, 3, { seed, padding: 1, size: after }),
    batchNormLayer(`${name}.norm2`, outputs, { seed }),
  );
  const shortcut =
    stride === 1 && inputs === outputs
      ? undefined
      : sequential(
          convLayer(`${name}.shortcut`, inputs, outputs, 1, { seed, stride, size }),
          batchNormLayer(`${name}.shortcutNorm`, outputs, { seed }),
        );
  return {
    params: [...branch.params, ...(shortcut?.params ?? [])],
    buffers: [...(branch.buffers ?? []), ...(shortcut?.buffers ?? [])],
    forward: (x, mode) => relu(add(branch.forward(x, mode), shortcut ? shortcut.forward(x, mode) : x)),
  };
}

/** [B, channels, size, size] -> logits [B, classes]. The stem has role "stem", the classifier role "head". */
export function resnet(options: ResnetOptions): Net {
  const { seed, depth = 8, width = 16, channels = 3, size = 32, classes = 10 } = options;
  const blocks = (depth - 2) / 6;
  demand(Number.isInteger(blocks) && blocks >= 1, () => ({
    about: "resnet",
    expected: "a depth of 6n + 2",
    got: String(depth),
    hint: "8, 14, 20, 32, 44, 56 and 110 are usual.",
  }));
  const steps: Net[] = [
    convLayer("stem", channels, width, 3, { seed, padding: 1, size, role: "stem" }),
    batchNormLayer("stemNorm", width, { seed, relu: true }),
  ];
  let [inputs, side] = [width, size];
  for (let stage = 0; stage < 3; stage++) {
    for (let b = 0; b < blocks; b++) {
      const stride = stage > 0 && b === 0 ? 2 : 1;
      const outputs = width * 2 ** stage;
      steps.push(basicBlock(`stage${stage + 1}.${b}`, inputs, outputs, { seed, stride, size: side }));
      inputs = outputs;
      side = convSize(side, 3, { stride, padding: 1 });
    }
  }
  return sequential(...steps, globalAvgPool, linearLayer("head", inputs, classes, { seed, role: "head" }));
}
