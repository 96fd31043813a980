/**
 * Self-attention without a mask and the transformer block of vision models, over tokens [B * T, D].
 *
 * Projections are four weights of their own, so that each can be pruned apart. The block is the pre-norm one:
 * x + attention(norm(x)), then x + ff(norm(x)) with GELU (Dosovitskiy et al. 2021).
 */
import { demand } from "../../core/errors.ts";
import type { Tensor } from "../../core/tensor.ts";
import { type Initialiser, xavierUniform } from "../init.ts";
import type { Mode, Net } from "../net.ts";
import { gelu } from "../ops/activation.ts";
import { attention } from "../ops/attention.ts";
import { dropout } from "../ops/dropout.ts";
import { add } from "../ops/elementwise.ts";
import { linearLayer } from "./linear.ts";
import { layerNormLayer } from "./norm.ts";

/** A network over tokens whose number for each example is given at the call. */
export interface TokenNet extends Pick<Net, "params"> {
  /** x [batch * tokens, D] -> the same shape */
  run(x: Tensor, batch: number, mode: Mode): Tensor;
}

export interface AttentionLayerOptions {
  readonly seed: number;
  readonly heads: number;
  /** default `xavierUniform` */
  readonly init?: Initialiser;
  /** tokens of an example, counted as uses of each weight; default 1 */
  readonly tokens?: number;
}

/** Parameters `<name>.q`, `.k`, `.v`, `.o`, each a weight [D, D] and a bias. */
export function attentionLayer(name: string, width: number, options: AttentionLayerOptions): TokenNet {
  const { seed, heads, init = xavierUniform, tokens: uses } = options;
  demand(Number.isInteger(heads) && heads >= 1 && width % heads === 0, () => ({
    about: name,
    expected: `heads that divide the width ${width}`,
    got: String(heads),
    hint: "Choose a multiple of the heads as the width.",
  }));
  const [q, k, v, o] = ["q", "k", "v", "o"].map((part) =>
    linearLayer(`${name}.${part}`, width, width, { seed, init, uses }),
  );
  return {
    params: [q, k, v, o].flatMap((n) => n.params),
    run: (x, batch, mode) => {
      const tokens = x.size / width / batch;
      const shape = { batch, tokens, heads, kvHeads: heads, headWidth: width / heads, causal: false };
      const [queries, keys, values] = [q, k, v].map((n) => n.forward(x, mode));
      return o.forward(attention(queries, keys, values, shape), mode);
    },
  };
}

export interface BlockOptions extends AttentionLayerOptions {
  /** width of the feed-forward layer */
  readonly ff: number;
  /** of both branches' results; default 0 */
  readonly dropout?: number;
}

/** Parameters `<name>.norm1`, `.attention`, `.norm2`, `.ff1`, `.ff2`. */
export function transformerBlock(name: string, width: number, options: BlockOptions): TokenNet {
  const { seed, ff, init = xavierUniform, tokens: uses, dropout: rate = 0 } = options;
  const norm1 = layerNormLayer(`${name}.norm1`, width, seed);
  const mix = attentionLayer(`${name}.attention`, width, options);
  const norm2 = layerNormLayer(`${name}.norm2`, width, seed);
  const ff1 = linearLayer(`${name}.ff1`, width, ff, { seed, init, uses });
  const ff2 = linearLayer(`${name}.ff2`, ff, width, { seed, init, uses });
  return {
    params: [norm1, mix, norm2, ff1, ff2].flatMap((n) => n.params),
    run: (x, batch, mode) => {
      const mixed = mix.run(norm1.forward(x, mode), batch, mode);
      const h = add(x, dropout(mixed, rate, `${name}.attention`, mode));
      const wide = gelu(ff1.forward(norm2.forward(h, mode), mode));
      return add(h, dropout(ff2.forward(wide, mode), rate, `${name}.ff`, mode));
    },
  };
}
