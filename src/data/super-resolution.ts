/**
 * Pairs for super-resolution on the luma channel: high resolution cut to a multiple of the scale, low resolution by
 * bicubic shrinking to bytes, and its bicubic enlargement, which is the baseline and often the global residual. Patches
 * are drawn by (seed, step) and turned and mirrored alike in all three.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { Tensor } from "../core/tensor.ts";
import { type Image, luma } from "./image.ts";
import { type Plane, resize } from "./resize.ts";

export interface SrPair {
  readonly name: string;
  readonly scale: number;
  /** values 0..1; `high` and `base` are `scale` times as large as `low` */
  readonly low: Plane;
  readonly high: Plane;
  /** `low` enlarged by bicubic resampling, rounded to bytes */
  readonly base: Plane;
}

function unit(p: Plane): Plane {
  const values = new Float32Array(p.values.length);
  for (let i = 0; i < values.length; i++) values[i] = p.values[i] / 255;
  return { ...p, values };
}

/** The luma of an image as a plane of 0..255, cut at the bottom and right to a multiple of `multiple`. */
export function lumaPlane(image: Image, multiple = 1): Plane {
  const { pixels, width, height } = luma(image);
  const [h, w] = [height - (height % multiple), width - (width % multiple)];
  const values = new Float32Array(h * w);
  for (let i = 0; i < h; i++) values.set(pixels.subarray(i * width, i * width + w), i * w);
  return { height: h, width: w, values };
}

/** Low and high resolution of an image for a whole `scale`. */
export function srPair(image: Image, scale: number): SrPair {
  demand(Number.isInteger(scale) && scale >= 2 && image.height >= scale && image.width >= scale, () => ({
    about: `super-resolution of ${image.name}`,
    expected: "a whole scale of at least 2 and an image that is larger",
    got: `${scale} for ${image.height} x ${image.width}`,
    hint: "Choose 2, 3 or 4.",
  }));
  const high = lumaPlane(image, scale);
  const low = resize(high, 1 / scale, { bytes: true });
  const base = resize(low, scale, { bytes: true });
  return { name: image.name, scale, low: unit(low), high: unit(high), base: unit(base) };
}

/** Copies a square of `side` pixels at (top, left) under one of the 8 symmetries of the square. */
export function cutSquare(
  p: Plane,
  top: number,
  left: number,
  side: number,
  symmetry: number,
  out: Float32Array,
): void {
  const last = side - 1;
  for (let i = 0, at = 0; i < side; i++) {
    for (let j = 0; j < side; j++, at++) {
      const [a, b] = symmetry & 1 ? [j, i] : [i, j];
      const u = symmetry & 2 ? last - a : a;
      const v = symmetry & 4 ? last - b : b;
      out[at] = p.values[(top + u) * p.width + left + v];
    }
  }
}

export interface PatchOptions {
  /** side of the low-resolution patch */
  readonly patch: number;
  /** B */
  readonly batch: number;
  readonly seed: number;
  /** mirror and turn; default true */
  readonly symmetries?: boolean;
}

export interface SrBatch {
  /** f32 [B, 1, P, P] */
  readonly low: Tensor;
  /** f32 [B, 1, sP, sP] */
  readonly high: Tensor;
  readonly base: Tensor;
}

/** `at(step)` draws patches from random pairs at random places; a function of (pairs, options, step) alone. */
export function patchStream(pairs: readonly SrPair[], options: PatchOptions): { at(step: number): SrBatch } {
  const { patch, batch, seed, symmetries = true } = options;
  const small = pairs.find((p) => p.low.height < patch || p.low.width < patch || p.scale !== pairs[0].scale);
  demand(pairs.length > 0 && !small && Number.isInteger(patch) && patch >= 1, () => ({
    about: "patches",
    expected: `images of one scale with at least ${patch} x ${patch} low-resolution pixels`,
    got: small ? `${small.low.height} x ${small.low.width} at scale ${small.scale} in ${small.name}` : "no images",
    hint: "Take a smaller patch, or leave the image out.",
  }));
  const { scale } = pairs[0];
  const draws = stream(seed, "patches");
  const scaled = (word: number, n: number): number => Math.floor((word * n) / 4294967296);
  return {
    at(step) {
      const low = new Tensor([batch, 1, patch, patch]);
      const high = new Tensor([batch, 1, scale * patch, scale * patch]);
      const base = new Tensor([batch, 1, scale * patch, scale * patch]);
      const [l, h, b] = [low.f32, high.f32, base.f32];
      const [small, large] = [patch * patch, scale * scale * patch * patch];
      for (let k = 0; k < batch; k++) {
        const [a, c, d, e] = draws.words(step * batch + k);
        const pair = pairs[scaled(a, pairs.length)];
        const top = scaled(c, pair.low.height - patch + 1);
        const left = scaled(d, pair.low.width - patch + 1);
        const symmetry = symmetries ? scaled(e, 8) : 0;
        cutSquare(pair.low, top, left, patch, symmetry, l.subarray(k * small, (k + 1) * small));
        const big = [scale * top, scale * left, scale * patch, symmetry] as const;
        cutSquare(pair.high, ...big, h.subarray(k * large, (k + 1) * large));
        cutSquare(pair.base, ...big, b.subarray(k * large, (k + 1) * large));
      }
      return { low, high, base };
    },
  };
}
