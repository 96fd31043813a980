/**
 * Super-resolution at small size: EDSR-class (Lim et al. 2017: residual blocks without norms, sub-pixel tail) and
 * SwinIR-light-class (Liang et al. 2021: window attention in residual groups, sub-pixel tail).
 *
 * Both add an upsampled copy of the input to their result, so they learn what interpolation misses. Where it differs
 * from SwinIR: a learned position for each place of a window instead of a bias for each pair, and shifted windows wrap
 * around without a mask.
 */
import { demand } from "../core/errors.ts";
import type { Tensor } from "../core/tensor.ts";
import { heNormal, type Initialiser, normal } from "../nn/init.ts";
import { transformerBlock } from "../nn/layers/attention.ts";
import { convLayer } from "../nn/layers/conv.ts";
import { layerNormLayer } from "../nn/layers/norm.ts";
import { sequential } from "../nn/layers/sequential.ts";
import type { Mode, Net } from "../nn/net.ts";
import { relu } from "../nn/ops/activation.ts";
import { add, addRow, reshape, scale as times } from "../nn/ops/elementwise.ts";
import { pixelShuffle, upsampleNearest } from "../nn/ops/pool.ts";
import { imageToTokens, inverse, reorderRows, tokensToImage } from "../nn/ops/tokens.ts";
import { Param } from "../nn/param.ts";

export interface SuperResolutionOptions {
  readonly seed: number;
  /** of the images; default 1 (luminance) */
  readonly channels?: number;
  /** default 16 for `edsr`, 24 for `swinIr` */
  readonly width?: number;
  /** how many times larger the result is; default 2 */
  readonly scale?: number;
  /** side of the input patches, for counting uses; default 24 */
  readonly size?: number;
  /** the copy of the input that the result is added to, constant to the gradient; default nearest upsampling */
  readonly base?: (x: Tensor) => Tensor;
}

/** Head, body with a long skip, tail with pixel shuffle, all on top of the upsampled input. */
function assemble(options: SuperResolutionOptions, width: number, body: Net): Net {
  const { seed, channels = 1, scale = 2, size = 24 } = options;
  const { base = (x) => upsampleNearest(x, scale) } = options;
  const head = convLayer("first", channels, width, 3, { seed, padding: 1, bias: true, size, role: "stem" });
  const outputs = channels * scale * scale;
  const tail = convLayer("tail", width, outputs, 3, {
    seed,
    padding: 1,
    bias: true,
    size,
    role: "head",
    init: normal(0.01),
  });
  return {
    params: [head, body, tail].flatMap((n) => n.params),
    forward: (x, mode) => {
      const h = head.forward(x, mode);
      const deep = add(h, body.forward(h, mode));
      return add(pixelShuffle(tail.forward(deep, mode), scale), base(x));
    },
  };
}

export interface EdsrOptions extends SuperResolutionOptions {
  /** residual blocks; default 3 */
  readonly blocks?: number;
  /** factor of a block's branch; default 1 (0.1 for wide ones) */
  readonly residualScale?: number;
  /** of the body's weights; default He's normal; PyTorch's default, which EDSR is trained from as published, is `fanInUniform` */
  readonly init?: Initialiser;
}

/** [B, channels, H, W] -> [B, channels, H scale, W scale]. Weights `first`, `block<i>.conv1`, `.conv2`, `body`, `tail`. */
export function edsr(options: EdsrOptions): Net {
  const { seed, width = 16, size = 24, blocks = 3, residualScale = 1, init = heNormal } = options;
  const layer = (name: string): Net => convLayer(name, width, width, 3, { seed, padding: 1, bias: true, size, init });
  const residual = (name: string): Net => {
    const branch = sequential(layer(`${name}.conv1`), relu, layer(`${name}.conv2`));
    return {
      params: branch.params,
      forward: (x, mode) => {
        const y = branch.forward(x, mode);
        return add(x, residualScale === 1 ? y : times(y, residualScale));
      },
    };
  };
  const all = Array.from({ length: blocks }, (_, i) => residual(`block${i}`));
  return assemble(options, width, sequential(...all, layer("body")));
}

/** Rows (b, y, x) of an image's tokens in the order (b, window, place), windows moved by `shift` and wrapped around. */
export function windowOrder(batch: number, h: number, w: number, window: number, shift: number): Int32Array {
  const order = new Int32Array(batch * h * w);
  let i = 0;
  for (let b = 0; b < batch; b++) {
    for (let wy = 0; wy < h; wy += window) {
      for (let wx = 0; wx < w; wx += window) {
        for (let y = 0; y < window; y++) {
          for (let x = 0; x < window; x++) {
            order[i++] = (b * h + ((wy + y + shift) % h)) * w + ((wx + x + shift) % w);
          }
        }
      }
    }
  }
  return order;
}

export interface SwinIrOptions extends SuperResolutionOptions {
  /** residual groups; default 2 */
  readonly groups?: number;
  /** attention blocks a group, every other one with shifted windows; default 2 */
  readonly depth?: number;
  /** default 4 */
  readonly heads?: number;
  /** side of a window, which divides the image's sides; default 8 */
  readonly window?: number;
}

/** One residual group: window attention blocks, a 3x3 convolution, plus the input; on images [B, width, H, W]. */
function swinGroup(name: string, width: number, options: SwinIrOptions): Net {
  const { seed, depth = 2, heads = 4, window = 8, size = 24 } = options;
  const area = window * window;
  const place = new Param(`${name}.place`, [area, width], normal(0.02), seed, { role: "embedding", decay: false });
  const blocks = Array.from({ length: depth }, (_, i) =>
    transformerBlock(`${name}.block${i}`, width, { seed, heads, ff: 2 * width, tokens: size * size }),
  );
  const conv = convLayer(`${name}.conv`, width, width, 3, { seed, padding: 1, bias: true, size });
  return {
    params: [{ params: [place] }, ...blocks, conv].flatMap((n) => n.params),
    forward: (x, mode) => {
      const [batch, , h, w] = x.shape;
      const count = (batch * h * w) / area;
      let tokens = imageToTokens(x);
      blocks.forEach((block, i) => {
        const order = windowOrder(batch, h, w, window, i % 2 === 0 ? 0 : window >> 1);
        const back = inverse(order);
        const windows = reorderRows(tokens, order, back);
        const placed = addRow(reshape(windows, [count, area * width]), reshape(place.value, [area * width]));
        tokens = reorderRows(block.run(reshape(placed, [batch * h * w, width]), count, mode), back, order);
      });
      return add(x, conv.forward(tokensToImage(tokens, batch, h, w), mode));
    },
  };
}

/** [B, channels, H, W] -> [B, channels, H scale, W scale] for sides that are multiples of the window. */
export function swinIr(options: SwinIrOptions): Net {
  const { seed, width = 24, groups = 2, window = 8, size = 24 } = options;
  const all = Array.from({ length: groups }, (_, i) => swinGroup(`group${i}`, width, options));
  const norm = layerNormLayer("norm", width, seed);
  const conv = convLayer("body", width, width, 3, { seed, padding: 1, bias: true, size });
  const body: Net = {
    params: [...all, norm, conv].flatMap((n) => n.params),
    forward: (x: Tensor, mode: Mode) => {
      const [batch, , h, w] = x.shape;
      demand(h % window === 0 && w % window === 0, () => ({
        about: "swinIr",
        expected: `images with sides that are multiples of the window ${window}`,
        got: `[${h}, ${w}]`,
        hint: "Pad or crop the image, or choose another window.",
      }));
      const deep = all.reduce((y, group) => group.forward(y, mode), x);
      const normed = norm.forward(imageToTokens(deep), mode);
      return conv.forward(tokensToImage(normed, batch, h, w), mode);
    },
  };
  return assemble(options, width, body);
}
