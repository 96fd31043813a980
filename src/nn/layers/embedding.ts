/** A table of rows by id over a `Param`. */
import { type Initialiser, normal } from "../init.ts";
import type { Net } from "../net.ts";
import { embedding } from "../ops/embedding.ts";
import { effective, Param, type ParamOptions } from "../param.ts";

export interface EmbeddingOptions extends ParamOptions {
  readonly seed: number;
  /** default normal of deviation 1 */
  readonly init?: Initialiser;
}

/** ids i32 [N] -> rows [N, width] of the parameter `<name>.weight` [count, width]. */
export function embeddingLayer(name: string, count: number, width: number, options: EmbeddingOptions): Net {
  const { seed, init = normal(1), ...rest } = options;
  const weight = new Param(`${name}.weight`, [count, width], init, seed, { role: "embedding", ...rest });
  return {
    params: [weight],
    forward: (ids, mode) => embedding(effective(weight, mode.t).weight, ids),
  };
}
