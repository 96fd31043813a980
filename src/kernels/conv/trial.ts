/** Convolutions drawn for trials: odd sizes, strides, padding on every side, groups. */
import type { Draw } from "../kernel.ts";
import type { ConvShape } from "./geometry.ts";

/** A small shape with at least one output; with `depthwise`, one channel and one output a group. */
export function drawShape(draw: Draw, depthwise = false): ConvShape {
  const groups = draw.int(1, depthwise ? 5 : 3);
  const perGroup = depthwise ? 1 : draw.int(1, 4);
  const outs = depthwise ? 1 : draw.int(1, 6);
  const kernelHeight = draw.int(1, 4);
  const kernelWidth = draw.int(1, 4);
  const strideY = draw.int(1, 3);
  const strideX = draw.int(1, 3);
  const [top, bottom, left, right] = [kernelHeight, kernelHeight, kernelWidth, kernelWidth].map((k) =>
    draw.int(0, k - 1),
  );
  const height = draw.int(Math.max(1, kernelHeight - top - bottom), 9);
  // now and then wide enough for the loops over sixteen elements of a row
  const width = draw.int(Math.max(1, kernelWidth - left - right), draw.int(0, 3) === 0 ? 40 : 14);
  return {
    channels: groups * perGroup,
    outs: groups * outs,
    height,
    width,
    kernelHeight,
    kernelWidth,
    strideY,
    strideX,
    top,
    left,
    outHeight: Math.floor((height + top + bottom - kernelHeight) / strideY) + 1,
    outWidth: Math.floor((width + left + right - kernelWidth) / strideX) + 1,
    groups,
  };
}
