/** Trials of `pool-f32` against plain f64. */
import type { Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import * as plain from "./pool.plain.ts";

function drawWindows(draw: Draw): plain.Windows {
  const [kernelHeight, kernelWidth] = [draw.int(1, 4), draw.int(1, 4)];
  // A window must hold at least one element, so padding stays below the kernel.
  const [top, bottom] = [draw.int(0, kernelHeight - 1), draw.int(0, kernelHeight - 1)];
  const [left, right] = [draw.int(0, kernelWidth - 1), draw.int(0, kernelWidth - 1)];
  const height = draw.int(Math.max(1, kernelHeight - top - bottom), 9);
  const width = draw.int(Math.max(1, kernelWidth - left - right), 9);
  const [strideY, strideX] = [draw.int(1, 3), draw.int(1, 3)];
  const outHeight = Math.floor((height + top + bottom - kernelHeight) / strideY) + 1;
  const outWidth = Math.floor((width + left + right - kernelWidth) / strideX) + 1;
  return { height, width, outHeight, outWidth, kernelHeight, kernelWidth, strideY, strideX, top, left };
}

const argumentsOf = (w: plain.Windows): number[] => [
  ...[w.height, w.width, w.outHeight, w.outWidth, w.kernelHeight, w.kernelWidth],
  ...[w.strideY, w.strideX, w.top, w.left],
];

/** Runs a function whole and in pieces into a fresh output. */
function both(
  draw: Draw,
  box: Sandbox,
  units: number,
  length: number,
  run: (out: number, from: number, to: number) => void,
): [Float32Array, Float32Array] {
  const [whole, pieces] = [0, 1].map(() => box.put(new Float32Array(length).fill(5)));
  run(whole, 0, units);
  inPieces(draw, units, (from, to) => run(pieces, from, to));
  return [box.f32(whole, length), box.f32(pieces, length)];
}

const max: Trial = {
  name: "max and its gradient",
  run(draw, box) {
    const w = drawWindows(draw);
    const planes = draw.int(0, 3);
    const [size, outSize] = [w.height * w.width, w.outHeight * w.outWidth];
    const x = draw.floats(planes * size);
    const at = box.put(x);
    const want = plain.maxPool(x, planes, w);
    const index = box.put(new Int32Array(planes * outSize));
    const values = both(draw, box, planes, planes * outSize, (out, from, to) => {
      box.call("max", at, out, index, ...argumentsOf(w), from, to);
    });
    const dy = draw.floats(planes * outSize);
    const pd = box.put(dy);
    const gradients = both(draw, box, planes, planes * size, (out, from, to) => {
      box.call("scatter", pd, index, out, size, outSize, from, to);
    });
    return [
      ...agree("values", ...values, want.values, 0),
      { what: "places", got: box.i32(index, planes * outSize), want: want.index, tolerance: 0 },
      // Up to 16 windows share an element.
      ...agree("gradient", ...gradients, plain.scatter(dy, want.index, planes, size, outSize), 16 * 16 * EPS * 2),
    ];
  },
};

const sums: Trial = {
  name: "sums, means and their gradients",
  run(draw, box) {
    const w = drawWindows(draw);
    const planes = draw.int(0, 3);
    const mean = draw.int(0, 1);
    const [size, outSize] = [w.height * w.width, w.outHeight * w.outWidth];
    const [x, dy] = [draw.floats(planes * size), draw.floats(planes * outSize)];
    const [at, pd] = [box.put(x), box.put(dy)];
    const values = both(draw, box, planes, planes * outSize, (out, from, to) => {
      box.call("sum", at, out, mean, ...argumentsOf(w), from, to);
    });
    const gradients = both(draw, box, planes, planes * size, (out, from, to) => {
      box.call("spread", pd, out, mean, ...argumentsOf(w), from, to);
    });
    // Up to 16 terms of size 1.7, rounded at every step.
    const tolerance = 16 * 16 * 1.7 * EPS;
    return [
      ...agree("values", ...values, plain.sumPool(x, planes, w, mean === 1), tolerance),
      ...agree("gradient", ...gradients, plain.spread(dy, planes, w, mean === 1), tolerance),
    ];
  },
};

const means: Trial = {
  name: "means of planes",
  run(draw, box) {
    const [planes, size] = [draw.int(0, 5), draw.int(1, 70)];
    const [x, dy] = [draw.floats(planes * size), draw.floats(planes)];
    const [at, pd] = [box.put(x), box.put(dy)];
    const values = both(draw, box, planes, planes, (out, from, to) => {
      box.call("means", at, out, size, from, to);
    });
    const gradients = both(draw, box, planes, planes * size, (out, from, to) => {
      box.call("meansBackward", pd, out, size, from, to);
    });
    const want = Array.from({ length: planes }, (_, u) => plain.meanOf(x.slice(u * size, (u + 1) * size)));
    const spread = Array.from({ length: planes * size }, (_, i) => dy[Math.floor(i / size)] / size);
    return [...agree("means", ...values, want, 40 * EPS), ...agree("gradient", ...gradients, spread, 2 * EPS)];
  },
};

const shuffles: Trial = {
  name: "channels to pixels and back",
  run(draw, box) {
    const [planes, height, width, factor] = [draw.int(0, 3), draw.int(1, 5), draw.int(1, 5), draw.int(1, 4)];
    const x = draw.floats(planes * height * width * factor * factor);
    const at = box.put(x);
    const want = plain.toPixels(x, planes, height, width, factor);
    const there = both(draw, box, planes, x.length, (out, from, to) => {
      box.call("toPixels", at, out, height, width, factor, from, to);
    });
    const large = box.put(there[0]);
    const back = both(draw, box, planes, x.length, (out, from, to) => {
      box.call("toChannels", large, out, height, width, factor, from, to);
    });
    return [...agree("pixels", ...there, want, 0), ...agree("channels", ...back, x, 0)];
  },
};

export const poolTrials: readonly Trial[] = [max, sums, means, shuffles];
