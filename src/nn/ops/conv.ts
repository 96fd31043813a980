/**
 * Convolution and transposed convolution of images [B, C, H, W], with their gradients.
 *
 * Any kernel size, stride, zero padding and groups, depthwise included; cross-correlation, as everywhere in the field.
 * Weights [O, C / groups, kh, kw]; those of a transposed convolution [C, O / groups, kh, kw], as in PyTorch.
 */
import { type ConvShape, convBackward, convForward } from "../../core/compute/conv.ts";
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { type Shape, Tensor } from "../../core/tensor.ts";
import { channelsKernel } from "../../kernels/conv/index.ts";

type Pair = number | readonly [vertical: number, horizontal: number];

export interface ConvOptions {
  readonly stride?: Pair;
  /** zeros on both sides, or "same": as many outputs as ceil(inputs / stride), the odd zero below and right */
  readonly padding?: Pair | "same";
  readonly groups?: number;
  /** [O] */
  readonly bias?: Tensor | null;
  /** what the input's gradient is taken with instead of the weights (bidirectional pruning); no gradient flows to it */
  readonly backward?: Tensor;
  /** makes what the input's gradient is taken of from dy; the weight's sees dy itself */
  readonly pruneGradient?: (dy: Tensor) => Tensor;
  /** told of each product as it runs, with the number of outputs a channel over all images */
  readonly ran?: (product: "forward" | "dX" | "dW", places: number) => void;
}

const pair = (p: Pair): readonly [number, number] => (typeof p === "number" ? [p, p] : p);
const whole = (n: number, least: number): boolean => Number.isInteger(n) && n >= least;

function axis(name: string, size: number, kernel: number, stride: number, padding: number | "same") {
  const total = padding === "same" ? Math.max(0, (Math.ceil(size / stride) - 1) * stride + kernel - size) : 2 * padding;
  const before = padding === "same" ? Math.floor(total / 2) : padding;
  demand(whole(stride, 1) && whole(before, 0) && size + total >= kernel, () => ({
    about: name,
    expected: "a stride of at least 1, padding of at least 0, and an image, padded, no smaller than the kernel",
    got: `size ${size}, kernel ${kernel}, stride ${stride}, padding ${padding}`,
    hint: "Check the layer's options and the image's size.",
  }));
  return { before, out: Math.floor((size + total - kernel) / stride) + 1 };
}

function images(name: string, x: Tensor, weight: Shape, channels: number, groups: number): void {
  demand(x.shape.length === 4 && weight.length === 4 && x.shape[1] === channels, () => ({
    about: name,
    expected: `images [B, ${channels}, H, W] for weights [${weight.join(", ")}] in ${groups} groups`,
    got: `[${x.shape.join(", ")}]`,
    hint: "Check the layer's input channels and groups.",
  }));
}

/** The gradient of a bias: sums over images and pixels, in f64. */
export function channelSums(dy: Tensor): Tensor {
  const [batch, channels] = dy.shape;
  const size = dy.size / Math.max(1, batch * channels);
  const out = new Tensor([channels]);
  const grain = Math.max(1, Math.ceil(16384 / Math.max(1, batch * size)));
  parallel(channelsKernel, "sum", [dy.ptr, out.ptr, batch, channels, size], channels, grain);
  return out;
}

/** Sizes of a convolution of images by weights of a shape; a `LacunaError` where they do not fit. */
export function convShape(name: string, x: Tensor, weight: Shape, options: ConvOptions): ConvShape {
  const { groups = 1, bias = null, padding = 0 } = options;
  const [outs, perGroup, kernelHeight, kernelWidth] = weight;
  images(name, x, weight, perGroup * groups, groups);
  const [, channels, height, width] = x.shape;
  const [strideY, strideX] = pair(options.stride ?? 1);
  const [padY, padX] = padding === "same" ? (["same", "same"] as const) : pair(padding);
  demand(whole(groups, 1) && outs % groups === 0 && (!bias || bias.size === outs), () => ({
    about: name,
    expected: `${outs} outputs to be a multiple of the groups, and as many biases`,
    got: `${groups} groups${bias ? `, ${bias.size} biases` : ""}`,
    hint: "Check the layer's options.",
  }));
  const rows = axis(`${name}, rows`, height, kernelHeight, strideY, padY);
  const columns = axis(`${name}, columns`, width, kernelWidth, strideX, padX);
  return {
    ...{ channels, outs, height, width, kernelHeight, kernelWidth, strideY, strideX, groups },
    ...{ top: rows.before, left: columns.before, outHeight: rows.out, outWidth: columns.out },
  };
}

/** x [B, C, H, W], weight [O, C / groups, kh, kw] -> [B, O, OH, OW]. */
export function conv2d(x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor {
  const { bias = null, backward = weight, ran, pruneGradient } = options;
  const shape = convShape("conv2d", x, weight.shape, options);
  const [batch] = x.shape;
  const out = new Tensor([batch, shape.outs, shape.outHeight, shape.outWidth]);
  const places = batch * shape.outHeight * shape.outWidth;
  ran?.("forward", places);
  convForward(shape, batch, x.ptr, weight.ptr, bias ? bias.ptr : 0, out.ptr);
  return record(
    "conv2d",
    bias ? [x, weight, bias] : [x, weight],
    out,
    (dy, [wantX, wantW, wantBias]) => {
      const dx = wantX ? new Tensor(x.shape) : null;
      const dw = wantW ? new Tensor(weight.shape) : null;
      if (dx) ran?.("dX", places);
      if (dw) ran?.("dW", places);
      const back = (of: Tensor, dxAt: number, dwAt: number): void =>
        convBackward(shape, batch, { x: x.ptr, dy: of.ptr, w: backward.ptr, dx: dxAt, dw: dwAt });
      if (dx && pruneGradient) {
        back(pruneGradient(dy), dx.ptr, 0);
        if (dw) back(dy, 0, dw.ptr);
      } else if (dx || dw) back(dy, dx?.ptr ?? 0, dw?.ptr ?? 0);
      return [dx, dw, wantBias ? channelSums(dy) : null];
    },
    backward === weight ? [] : [backward],
  );
}

export interface TransposedConvOptions extends Omit<ConvOptions, "padding" | "backward" | "pruneGradient"> {
  readonly padding?: Pair;
  /** rows and columns more below and right, less than the stride */
  readonly outputPadding?: Pair;
}

/**
 * x [B, C, H, W], weight [C, O / groups, kh, kw] -> [B, O, OH, OW] with OH = (H - 1) stride - 2 padding + kh +
 * outputPadding: the gradient of a convolution's input, as an operation of its own.
 */
export function convTranspose2d(x: Tensor, weight: Tensor, options: TransposedConvOptions = {}): Tensor {
  const { groups = 1, bias = null } = options;
  const [channels, perGroup, kernelHeight, kernelWidth] = weight.shape;
  images("convTranspose2d", x, weight.shape, channels, groups);
  const [batch, , inHeight, inWidth] = x.shape;
  const outs = perGroup * groups;
  const [strideY, strideX] = pair(options.stride ?? 1);
  const [top, left] = pair(options.padding ?? 0);
  const [moreY, moreX] = pair(options.outputPadding ?? 0);
  const height = (inHeight - 1) * strideY - 2 * top + kernelHeight + moreY;
  const width = (inWidth - 1) * strideX - 2 * left + kernelWidth + moreX;
  const strides = whole(strideY, 1) && whole(strideX, 1) && whole(top, 0) && whole(left, 0);
  const grown = whole(moreY, 0) && moreY < strideY && whole(moreX, 0) && moreX < strideX;
  demand(strides && grown && whole(groups, 1) && channels % groups === 0 && height > 0 && width > 0, () => ({
    about: "convTranspose2d",
    expected: "a stride of at least 1, output padding below it, groups that divide the channels, a result of some size",
    got: `stride [${strideY}, ${strideX}], output padding [${moreY}, ${moreX}], ${groups} groups, [${height}, ${width}]`,
    hint: "Check the layer's options.",
  }));
  // The convolution whose input's gradient this is: from the result to x.
  const shape: ConvShape = {
    ...{
      channels: outs,
      outs: channels,
      height,
      width,
      kernelHeight,
      kernelWidth,
      strideY,
      strideX,
      groups,
      top,
      left,
    },
    ...{ outHeight: inHeight, outWidth: inWidth },
  };
  const out = new Tensor([batch, outs, height, width]);
  const places = batch * inHeight * inWidth;
  options.ran?.("forward", places);
  convBackward(shape, batch, { x: 0, dy: x.ptr, w: weight.ptr, dx: out.ptr, dw: 0, bias: bias ? bias.ptr : 0 });
  return record("convTranspose2d", bias ? [x, weight, bias] : [x, weight], out, (dy, [wantX, wantW, wantBias]) => {
    const dx = wantX ? new Tensor(x.shape) : null;
    const dw = wantW ? new Tensor(weight.shape) : null;
    if (dx) convForward(shape, batch, dy.ptr, weight.ptr, 0, dx.ptr);
    if (dw) convBackward(shape, batch, { x: dy.ptr, dy: x.ptr, w: weight.ptr, dx: 0, dw: dw.ptr });
    return [dx, dw, wantBias ? channelSums(dy) : null];
  });
}
