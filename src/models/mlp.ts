/** Fully connected networks with ReLU between the layers: LeNet-300-100 and its kind. */
import { heUniform } from "../nn/init.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { sequential } from "../nn/layers/sequential.ts";
import type { Net } from "../nn/net.ts";

export interface MlpOptions {
  readonly seed: number;
  /** default true */
  readonly bias?: boolean;
}

/** `sizes` = [inputs, hidden ..., outputs]; weights `fc1.weight` .. of role "weight", the last one of role "head". */
export function mlp(sizes: readonly number[], { seed, bias = true }: MlpOptions): Net {
  const layers = sizes.slice(1).map((outputs, i) => {
    const last = i === sizes.length - 2;
    const role = last ? "head" : "weight";
    return linearLayer(`fc${i + 1}`, sizes[i], outputs, { seed, bias, role, relu: !last, init: heUniform });
  });
  return sequential(...layers);
}

/** LeNet-300-100 (LeCun et al. 1998) for 28x28 images. */
export const lenet300 = (options: MlpOptions): Net => mlp([784, 300, 100, 10], options);
