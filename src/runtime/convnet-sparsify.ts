/** Magnitude masks on the 1x1 layers of a network, uniform over layers, as in the paper; the rest stays dense. */
import type { Block } from "../kernels/convnet/stream.ts";
import type { ConvNet } from "../models/convnets/net.ts";
import { applyMask } from "../sparsity/mask.ts";
import { blocks, layoutOf } from "../sparsity/pattern.ts";
import { magnitudeScore } from "../sparsity/score.ts";
import { prunedCount, selectMask } from "../sparsity/select.ts";

export interface Sparsify {
  /** zeros of each 1x1 layer, in [0, 1] */
  readonly sparsity: number;
  /** outputs that stand or fall together, scored by their mean magnitude; default 1 */
  readonly block?: Block;
}

/** The network with the smallest weights of every 1x1 layer set to 0; the other layers are shared. */
export function sparsifyPointwise(net: ConvNet, { sparsity, block = 1 }: Sparsify): ConvNet {
  const pattern = blocks(block, 1);
  const weights = net.shape.layers.map((layer, i) => {
    if (layer.kind !== "pointwise") return net.weights[i];
    const { weight, bias } = net.weights[i];
    const shape = { name: layer.name, rows: layer.out, columns: layer.in };
    const pruned = prunedCount(sparsity, layoutOf(pattern, shape).units);
    const mask = selectMask(magnitudeScore(weight, layer.in), { shape, pattern, pool: "matrix", pruned });
    return { weight: applyMask(weight, mask), bias };
  });
  return { shape: net.shape, weights };
}
