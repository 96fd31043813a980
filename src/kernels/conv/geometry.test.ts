/** Where planes lie: against counting, for the choices that change no result and so no trial can see. */
import { expect, test } from "vitest";
import { bytesOfPlanes, type ConvShape, collides, flattened, inputPlanes, isPointwise, macsOf } from "./geometry.ts";

const LINE = 16;

test("planes collide where more channels meet in a set of the cache than it has ways for", () => {
  for (let size = 1; size <= 300 * LINE; size += size < 40 ? 1 : 8) {
    for (const channels of [1, 5, 6, 7, 12, 13, 24, 25, 96, 97, 192, 193, 384, 385, 1000]) {
      // Lines that the channels' elements lie in, over 64 sets of six lines; planes off the lines spread by themselves.
      const sets = new Set(Array.from({ length: channels }, (_, c) => ((c * size) / LINE) % 64));
      const want = size % LINE === 0 && channels > 6 * sets.size;
      expect([size, channels, collides(channels, size)]).toEqual([size, channels, want]);
    }
  }
});

const shape = (height: number, width: number, kernel: number, stride: number, pad: number): ConvShape => ({
  ...{
    channels: 4,
    outs: 6,
    height,
    width,
    kernelHeight: kernel,
    kernelWidth: kernel,
    strideY: stride,
    strideX: stride,
  },
  ...{ top: pad, left: pad, groups: 2 },
  outHeight: Math.floor((height + 2 * pad - kernel) / stride) + 1,
  outWidth: Math.floor((width + 2 * pad - kernel) / stride) + 1,
});

test("multiply-adds by counting", () => {
  const s = shape(9, 7, 3, 2, 1);
  let count = 0;
  for (let o = 0; o < s.outs; o++) for (let p = 0; p < s.outHeight * s.outWidth; p++) count += (4 / 2) * 9;
  expect(macsOf(s)).toBe(count);
});

test("large planes take an odd number of lines, small ones whole vectors, with room for a vector from the last element", () => {
  for (let side = 1; side < 40; side++) {
    for (const stride of [1, 2]) {
      const p = inputPlanes(shape(side + 2, side + 3, 3, stride, 1));
      const least = (p.rows - 1) * p.pitch + p.columns + 3;
      expect(p.plane).toBeGreaterThanOrEqual(least);
      if (least < 4 * LINE) expect([p.plane % 4, p.plane - least < 4]).toEqual([0, true]);
      else expect([p.plane % (2 * LINE), p.plane - least < 2 * LINE]).toEqual([LINE, true]);
      expect(bytesOfPlanes(p)).toBe(4 * p.plane * stride * stride);
    }
  }
});

test("planes hold the rows and columns that taps reach, and share the zeros beside a row with the next", () => {
  for (let kernel = 1; kernel < 6; kernel++) {
    for (const stride of [1, 2, 3]) {
      const s = shape(11, 12, kernel, stride, Math.floor(kernel / 2));
      const p = inputPlanes(s);
      const farthest = (outputs: number): number =>
        Math.max(...Array.from({ length: kernel }, (_, k) => outputs - 1 + Math.floor(k / stride)));
      expect([p.rows, p.columns]).toEqual([farthest(s.outHeight) + 1, farthest(s.outWidth) + 1]);
      // With stride 1 the image is in one plane: as wide as itself and the zeros on one side.
      if (stride === 1) expect(p.pitch).toBe(12 + Math.floor(kernel / 2));
      else expect(p.pitch).toBeLessThanOrEqual(p.columns);
    }
  }
});

test("a pointwise convolution is one row without padding or stride; nothing else is", () => {
  const s = shape(5, 6, 1, 1, 0);
  expect(isPointwise(s)).toBe(true);
  expect(flattened(s)).toEqual({ ...s, height: 1, width: 30, outHeight: 1, outWidth: 30 });
  expect(isPointwise(flattened(s))).toBe(true);
  const other = { kernelHeight: 3, kernelWidth: 3, strideY: 2, strideX: 2, top: 1, left: 1, outHeight: 4, outWidth: 5 };
  for (const [key, value] of Object.entries(other)) expect(isPointwise({ ...s, [key]: value }), key).toBe(false);
});
