/** Layers one after the other; functions of a tensor count as layers without parameters. */
import type { Tensor } from "../../core/tensor.ts";
import type { Mode, Net } from "../net.ts";
import { reshape } from "../ops/elementwise.ts";

export type Step = Net | ((x: Tensor, mode: Mode) => Tensor);

/** The network that runs `steps` in order; parameters and buffers in the same order. */
export function sequential(...steps: readonly Step[]): Net {
  const nets = steps.filter((s): s is Net => typeof s !== "function");
  return {
    params: nets.flatMap((n) => n.params),
    buffers: nets.flatMap((n) => n.buffers ?? []),
    forward: (x, mode) => steps.reduce((y, s) => (typeof s === "function" ? s(y, mode) : s.forward(y, mode)), x),
  };
}

/** [B, ..] -> [B, D] */
export const flatten = (x: Tensor): Tensor => reshape(x, [x.shape[0], x.size / Math.max(1, x.shape[0])]);
