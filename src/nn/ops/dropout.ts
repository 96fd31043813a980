/**
 * Dropout (Srivastava et al. 2014): elements are zeroed with probability `rate`, the others scaled by 1 / (1 - rate).
 * Which ones is a function of (seed, name, step, index), so a run repeats bit for bit and the gradient needs no mask.
 */
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { stream } from "../../core/random.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { HASH_BITS } from "../../kernels/pointwise/dropout.ts";
import { dropoutKernel } from "../../kernels/pointwise/index.ts";
import type { Mode } from "../net.ts";
import { GRAIN } from "./elementwise.ts";

/** The input itself where `mode.train` is off or `rate` is 0. `name` tells layers of one network apart. */
export function dropout(x: Tensor, rate: number, name: string, mode: Mode): Tensor {
  demand(rate >= 0 && rate < 1, () => ({
    about: `dropout of ${name}`,
    expected: "a rate in [0, 1)",
    got: String(rate),
    hint: "The rate is the share of elements that are zeroed.",
  }));
  if (!mode.train || rate === 0) return x;
  const [key0, key1] = stream(mode.seed, `${name}.dropout`).words(mode.t.step);
  const kept = Math.round((1 - rate) * 2 ** HASH_BITS);
  const keep = (from: Tensor): Tensor => {
    const to = new Tensor(from.shape);
    parallel(dropoutKernel, "keep", [from.ptr, to.ptr, key0, key1, kept, 1 / (1 - rate)], to.size, GRAIN);
    return to;
  };
  return record("dropout", [x], keep(x), (dy) => [keep(dy)]);
}
