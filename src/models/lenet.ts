/** LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, as pruning papers use it. LeNet-300-100 is in `mlp.ts`. */
import { heUniform } from "../nn/init.ts";
import { convLayer } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { flatten, sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";
import { relu } from "../nn/ops/activation.ts";
import { maxPool2d } from "../nn/ops/pool.ts";

export interface LenetOptions {
  readonly seed: number;
  /** default 1 */
  readonly channels?: number;
  /** side of the images, a multiple of 4; default 28 */
  readonly size?: number;
  /** default 10 */
  readonly classes?: number;
}

/** [B, channels, size, size] -> logits [B, classes]: conv 6 and 16 of 5x5, then 120 and 84 units. */
export function lenet5({ seed, channels = 1, size = 28, classes = 10 }: LenetOptions): Net {
  const half = size / 2;
  const side = (half - 4) / 2;
  const init = heUniform;
  return sequential(
    convLayer("conv1", channels, 6, 5, { seed, padding: 2, bias: true, size, role: "stem", init }),
    relu,
    (x) => maxPool2d(x, 2),
    convLayer("conv2", 6, 16, 5, { seed, bias: true, size: half, init }),
    relu,
    (x) => maxPool2d(x, 2),
    flatten,
    linearLayer("fc1", 16 * side * side, 120, { seed, init }),
    relu,
    linearLayer("fc2", 120, 84, { seed, init }),
    relu,
    linearLayer("fc3", 84, classes, { seed, role: "head", init }),
  );
}
