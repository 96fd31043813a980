/** Trials of the dense 3x3 convolution: drawn images and channels, and the same bits however rows are split. */
import type { Comparison, Trial } from "../kernel.ts";
import { drawBounds, drawPlanes, pixelsOf } from "./depthwise-trials.ts";
import { CONV_GROUP, groupBias, packConv } from "./packing.ts";
import { planeStride } from "./planes.ts";
import { zeroRowBytes } from "./taps.ts";
import { convTwin } from "./twin.ts";

export const convTrials = (stride: 1 | 2): readonly Trial[] => [
  {
    name: "images and their splits",
    run(draw, box): readonly Comparison[] {
      const [inputs, out] = [draw.int(0, 4), draw.int(0, 9)];
      const [height, width] = [draw.int(1, 9), draw.int(1, 25)];
      const [lo, hi] = drawBounds(draw);
      const outHeight = Math.ceil(height / stride);
      const pixels = outHeight * Math.ceil(width / stride);
      const xPlane = draw.int(0, 1) === 1 ? planeStride(height * width) : height * width;
      const yPlane = draw.int(0, 1) === 1 ? planeStride(pixels) : pixels;
      const x = drawPlanes(draw, inputs, xPlane, height * width);
      const weights = draw.floats(out * inputs * 9);
      const bias = draw.floats(out);
      const packed = box.put(packConv(weights, out, inputs));
      const padded = box.put(groupBias(bias, out, CONV_GROUP));
      const zeros = box.put(new Float32Array(zeroRowBytes(width) / 4));
      const given = [packed, padded, zeros, inputs, out, height, width, xPlane, yPlane];
      const px = box.put(x);
      const run = (...ranges: readonly (readonly [number, number])[]): Float32Array => {
        const y = box.put(new Float32Array(out * yPlane).fill(Number.NaN));
        for (const [from, to] of ranges) box.call("rows", px, y, ...given, lo, hi, from, to);
        return pixelsOf(box.f32(y, out * yPlane), out, yPlane, pixels);
      };
      const got = run([0, outHeight]);
      const cut = draw.int(0, outHeight);
      const shape = { in: inputs, out, height, width, size: 3, stride, groups: 1 };
      const { values, bounds } = convTwin(shape, x, xPlane, weights, bias, lo, hi);
      return [
        { what: "y", got, want: values, tolerance: bounds },
        { what: "y split by rows", got: run([cut, outHeight], [0, cut]), want: got, tolerance: 0 },
      ];
    },
  },
];
