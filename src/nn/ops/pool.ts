/**
 * Pooling, nearest upsampling and pixel shuffle of images [B, C, H, W], with their gradients.
 *
 * Padding is counted in no mean and wins no maximum; windows that would reach beyond the padded image are left out.
 */
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { pool } from "../../kernels/conv/index.ts";

export interface PoolOptions {
  /** default: the window's size */
  readonly stride?: number;
  /** zeros on all sides, at most half the window; default 0 */
  readonly padding?: number;
}

/** Elements a thread takes at a time. */
const GRAIN = 1 << 14;
const grainOf = (elements: number): number => Math.max(1, Math.ceil(GRAIN / Math.max(1, elements)));

function images(name: string, x: Tensor): readonly [number, number, number, number] {
  demand(x.shape.length === 4, () => ({
    about: name,
    expected: "images [B, C, H, W]",
    got: `[${x.shape.join(", ")}]`,
    hint: "Reshape the input.",
  }));
  const [batch, channels, height, width] = x.shape;
  return [batch, channels, height, width];
}

function windows(name: string, x: Tensor, size: number, { stride = size, padding = 0 }: PoolOptions) {
  const [batch, channels, height, width] = images(name, x);
  const out = (n: number): number => Math.floor((n + 2 * padding - size) / stride) + 1;
  const fits = Number.isInteger(size) && size >= 1 && Number.isInteger(stride) && stride >= 1;
  const padded = Number.isInteger(padding) && padding >= 0 && 2 * padding <= size;
  demand(fits && padded && Math.min(height, width) + 2 * padding >= size, () => ({
    about: name,
    expected: "a window no larger than the padded image, padding of at most half the window, a stride of at least 1",
    got: `window ${size}, stride ${stride}, padding ${padding}, images [${height}, ${width}]`,
    hint: "Check the layer's options and the image's size.",
  }));
  const shape = [batch, channels, out(height), out(width)];
  const args = [height, width, shape[2], shape[3], size, size, stride, stride, padding, padding];
  return { planes: batch * channels, shape, args, grain: grainOf(shape[2] * shape[3] * size * size) };
}

/** The largest value of each window; the gradient goes to the first of equals. */
export function maxPool2d(x: Tensor, size: number, options: PoolOptions = {}): Tensor {
  const { planes, shape, args, grain } = windows("maxPool2d", x, size, options);
  const y = new Tensor(shape);
  const index = new Tensor(shape, "i32");
  parallel(pool, "max", [x.ptr, y.ptr, index.ptr, ...args], planes, grain);
  const [, , height, width] = x.shape;
  return record(
    "maxPool2d",
    [x],
    y,
    (dy) => {
      const dx = new Tensor(x.shape);
      const sizes = [height * width, shape[2] * shape[3]];
      parallel(pool, "scatter", [dy.ptr, index.ptr, dx.ptr, ...sizes], planes, grain);
      return [dx];
    },
    [index],
  );
}

/** The mean of each window over the elements that exist. */
export function avgPool2d(x: Tensor, size: number, options: PoolOptions = {}): Tensor {
  const { planes, shape, args, grain } = windows("avgPool2d", x, size, options);
  const y = new Tensor(shape);
  parallel(pool, "sum", [x.ptr, y.ptr, 1, ...args], planes, grain);
  return record("avgPool2d", [x], y, (dy) => {
    const dx = new Tensor(x.shape);
    parallel(pool, "spread", [dy.ptr, dx.ptr, 1, ...args], planes, grain);
    return [dx];
  });
}

/** The mean over all pixels: [B, C, H, W] -> [B, C]. */
export function globalAvgPool(x: Tensor): Tensor {
  const [batch, channels, height, width] = images("globalAvgPool", x);
  const size = height * width;
  const y = new Tensor([batch, channels]);
  parallel(pool, "means", [x.ptr, y.ptr, size], y.size, grainOf(size));
  return record("globalAvgPool", [x], y, (dy) => {
    const dx = new Tensor(x.shape);
    parallel(pool, "meansBackward", [dy.ptr, dx.ptr, size], y.size, grainOf(size));
    return [dx];
  });
}

/** Each pixel `factor` times along both axes. */
export function upsampleNearest(x: Tensor, factor: number): Tensor {
  const [batch, channels, height, width] = images("upsampleNearest", x);
  demand(Number.isInteger(factor) && factor >= 1, () => ({
    about: "upsampleNearest",
    expected: "a whole factor of at least 1",
    got: String(factor),
    hint: "Check the layer's options.",
  }));
  // Each pixel's copies are the window that its gradient sums: the two are the gradients of each other.
  const args = [height * factor, width * factor, height, width, factor, factor, factor, factor, 0, 0];
  const grain = grainOf(height * width * factor * factor);
  const y = new Tensor([batch, channels, height * factor, width * factor]);
  parallel(pool, "spread", [x.ptr, y.ptr, 0, ...args], batch * channels, grain);
  return record("upsampleNearest", [x], y, (dy) => {
    const dx = new Tensor(x.shape);
    parallel(pool, "sum", [dy.ptr, dx.ptr, 0, ...args], batch * channels, grain);
    return [dx];
  });
}

/** [B, C r r, H, W] -> [B, C, H r, W r]: channel c r r + i r + j gives pixels (y r + i, x r + j) (Shi et al. 2016). */
export function pixelShuffle(x: Tensor, factor: number): Tensor {
  const [batch, channels, height, width] = images("pixelShuffle", x);
  const outs = channels / (factor * factor);
  demand(Number.isInteger(factor) && factor >= 1 && Number.isInteger(outs), () => ({
    about: "pixelShuffle",
    expected: `channels that are a multiple of ${factor} * ${factor}`,
    got: String(channels),
    hint: "Check the layer before.",
  }));
  const y = new Tensor([batch, outs, height * factor, width * factor]);
  const grain = grainOf(height * width * factor * factor);
  parallel(pool, "toPixels", [x.ptr, y.ptr, height, width, factor], batch * outs, grain);
  return record("pixelShuffle", [x], y, (dy) => {
    const dx = new Tensor(x.shape);
    parallel(pool, "toChannels", [dy.ptr, dx.ptr, height, width, factor], batch * outs, grain);
    return [dx];
  });
}
