/**
 * Vision transformer (Dosovitskiy et al. 2021) at small size: patches, a class token, learned positions, pre-norm
 * blocks, and a classifier on the class token.
 */
import { demand } from "../core/errors.ts";
import { normal, xavierUniform } from "../nn/init.ts";
import { type TokenNet, transformerBlock } from "../nn/layers/attention.ts";
import { convLayer } from "../nn/layers/conv.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { layerNormLayer } from "../nn/layers/norm.ts";
import type { Net } from "../nn/net.ts";
import { dropout } from "../nn/ops/dropout.ts";
import { addRow, reshape } from "../nn/ops/elementwise.ts";
import { imageToTokens, prependToken, takeToken } from "../nn/ops/tokens.ts";
import { Param } from "../nn/param.ts";

export interface VitOptions {
  readonly seed: number;
  /** side of the images; default 28 */
  readonly size?: number;
  /** of the images; default 1 */
  readonly channels?: number;
  /** side of a patch, which divides the image's; default 7 */
  readonly patch?: number;
  /** default 64 */
  readonly width?: number;
  /** blocks; default 2 */
  readonly depth?: number;
  /** default 4 */
  readonly heads?: number;
  /** width of the feed-forward layers; default 4 times the width */
  readonly ff?: number;
  /** default 10 */
  readonly classes?: number;
  /** default 0 */
  readonly dropout?: number;
}

/**
 * [B, channels, size, size] -> logits [B, classes]. Parameters: `patch` (role "stem"), `class` and `position` (role
 * "embedding"), `block<i>.attention.q` .., `block<i>.ff1` and `.ff2`, `norm`, `head`.
 */
export function vit(options: VitOptions): Net {
  const { seed, size = 28, channels = 1, patch = 7, width = 64, depth = 2, heads = 4, classes = 10 } = options;
  const { ff = 4 * width, dropout: rate = 0 } = options;
  const side = size / patch;
  demand(Number.isInteger(side), () => ({
    about: "vit",
    expected: `a patch that divides the image's side ${size}`,
    got: String(patch),
    hint: "Choose another patch.",
  }));
  const tokens = side * side + 1;
  const embed = convLayer("patch", channels, width, patch, {
    ...{ seed, stride: patch, bias: true, size, role: "stem", init: xavierUniform },
  });
  const start = new Param("class", [width], normal(0.02), seed, { role: "embedding" });
  const position = new Param("position", [tokens, width], normal(0.02), seed, { role: "embedding", decay: false });
  const blocks = Array.from(
    { length: depth },
    (_, i): TokenNet => transformerBlock(`block${i}`, width, { seed, heads, ff, tokens, dropout: rate }),
  );
  const norm = layerNormLayer("norm", width, seed);
  const head = linearLayer("head", width, classes, { seed, role: "head" });
  return {
    params: [embed, { params: [start, position] }, ...blocks, norm, head].flatMap((n) => n.params),
    forward: (x, mode) => {
      const batch = x.shape[0];
      const patches = prependToken(imageToTokens(embed.forward(x, mode)), start.value, batch);
      const placed = addRow(reshape(patches, [batch, tokens * width]), reshape(position.value, [tokens * width]));
      let h = dropout(reshape(placed, [batch * tokens, width]), rate, "position", mode);
      for (const block of blocks) h = block.run(h, batch, mode);
      return head.forward(norm.forward(takeToken(h, batch), mode), mode);
    },
  };
}
