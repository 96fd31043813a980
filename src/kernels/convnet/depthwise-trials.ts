/** Trials of the depthwise kernels: drawn images from one pixel on, and the same bits however channels are split. */
import type { Comparison, Draw, Trial } from "../kernel.ts";
import { packDepthwise } from "./packing.ts";
import { planeStride } from "./planes.ts";
import { zeroRowBytes } from "./taps.ts";
import { convTwin } from "./twin.ts";

/** Bounds of an activation, drawn: none, ReLU, ReLU6. */
export function drawBounds(draw: Draw): readonly [number, number] {
  return (
    [
      [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
      [0, Number.POSITIVE_INFINITY],
      [0, 6],
    ] as const
  )[draw.int(0, 2)];
}

/** The pixels of planes, without the gaps. */
export function pixelsOf(planes: Float32Array, channels: number, plane: number, pixels: number): Float32Array {
  const values = new Float32Array(channels * pixels);
  for (let i = 0; i < channels; i++) values.set(planes.subarray(i * plane, i * plane + pixels), i * pixels);
  return values;
}

/** Drawn pixels in planes whose gaps are NaN: a kernel must not let them into a pixel. */
export function drawPlanes(draw: Draw, channels: number, plane: number, pixels: number): Float32Array {
  const values = draw.floats(channels * plane);
  for (let i = 0; i < channels; i++) values.fill(Number.NaN, i * plane + pixels, (i + 1) * plane);
  return values;
}

export const depthwiseTrials = (size: 3 | 5, stride: 1 | 2): readonly Trial[] => [
  {
    name: "images and their splits",
    run(draw, box): readonly Comparison[] {
      const channels = draw.int(0, 3);
      const height = draw.int(1, 12);
      const width = draw.int(1, 33);
      const [lo, hi] = drawBounds(draw);
      const outHeight = Math.ceil(height / stride);
      const outWidth = Math.ceil(width / stride);
      // sometimes without any gap between planes, so that a read beyond the image meets the next channel
      const gaps = draw.int(0, 1) === 1;
      const xPlane = gaps ? planeStride(height * width) : height * width;
      const yPlane = gaps ? planeStride(outHeight * outWidth) : outHeight * outWidth;
      const x = drawPlanes(draw, channels, xPlane, height * width);
      const bias = draw.floats(channels);
      const weights = draw.floats(channels * size * size);
      const records = packDepthwise(weights, bias, channels, size);
      const zeros = box.put(new Float32Array(zeroRowBytes(width) / 4));
      const [px, pw] = [box.put(x), box.put(records)];
      const run = (fn: string, ...ranges: readonly (readonly [number, number])[]): Float32Array => {
        const y = box.put(new Float32Array(channels * yPlane).fill(Number.NaN));
        const all = fn === "rows" ? [channels] : [];
        for (const [from, to] of ranges) {
          box.call(fn, px, y, pw, zeros, height, width, xPlane, yPlane, lo, hi, ...all, from, to);
        }
        return pixelsOf(box.f32(y, channels * yPlane), channels, yPlane, outHeight * outWidth);
      };
      const got = run("channels", [0, channels]);
      const [cut, row] = [draw.int(0, channels), draw.int(0, outHeight)];
      const shape = { in: channels, out: channels, height, width, size, stride, groups: channels };
      const { values, bounds } = convTwin(shape, x, xPlane, weights, bias, lo, hi);
      return [
        { what: "y", got, want: values, tolerance: bounds },
        { what: "y split by channels", got: run("channels", [cut, channels], [0, cut]), want: got, tolerance: 0 },
        { what: "y split by rows", got: run("rows", [row, outHeight], [0, row]), want: got, tolerance: 0 },
      ];
    },
  },
];
