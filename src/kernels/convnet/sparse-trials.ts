/** Trials of the sparse 1x1 convolutions: drawn masks and images, and the same bits however the work is split. */

import type { Comparison, Draw, Trial } from "../kernel.ts";
import { evenCuts } from "../sparse/streams.ts";
import { drawBounds, drawPlanes, pixelsOf } from "./depthwise-trials.ts";
import { groupBias } from "./packing.ts";
import { planeStride } from "./planes.ts";
import { type Block, MOST_VECTORS, planeStream } from "./stream.ts";
import { convTwin, type Twin } from "./twin.ts";

export interface Drawn1x1 {
  readonly inputs: number;
  readonly out: number;
  readonly pixels: number;
  readonly xPlane: number;
  readonly yPlane: number;
  readonly x: Float32Array;
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly residual: Float32Array | undefined;
  readonly lo: number;
  readonly hi: number;
  readonly want: Twin;
}

/** A 1x1 layer with weights dropped one by one, by blocks, by rows, all or none. */
export function draw1x1(draw: Draw, most: number, block: number): Drawn1x1 {
  const [inputs, out] = [draw.int(0, most), draw.int(0, most)];
  const pixels = draw.int(1, 70);
  const [lo, hi] = drawBounds(draw);
  const xPlane = planeStride(pixels);
  // whole vectors are written, no more
  const yPlane = draw.int(0, 1) === 1 ? planeStride(pixels) : 4 * Math.ceil(pixels / 4);
  const x = drawPlanes(draw, inputs, xPlane, pixels);
  const weights = draw.floats(out * inputs);
  const bias = draw.floats(out);
  const byBlock = draw.int(0, 1) === 1 ? block : 1;
  const sparsity = draw.int(0, 4) / 4;
  const lots = draw.floats(out * inputs, 1 / 1.7);
  const empty = draw.int(-1, out - 1);
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < inputs; k++) {
      const lot = Math.abs(lots[(o - (o % byBlock)) * inputs + k]);
      if (lot < sparsity || o === empty) weights[o * inputs + k] = 0;
    }
  }
  const residual = draw.int(0, 1) === 1 ? drawPlanes(draw, out, yPlane, pixels) : undefined;
  const shape = { in: inputs, out, height: 1, width: pixels, size: 1, stride: 1, groups: 1 };
  const plain = convTwin(shape, x, xPlane, weights, bias, lo, hi);
  const values = Float64Array.from(plain.values);
  const bounds = Float64Array.from(plain.bounds);
  if (residual) {
    const added = pixelsOf(residual, out, yPlane, pixels);
    for (let i = 0; i < values.length; i++) {
      values[i] += added[i];
      // one more rounding, of the sum with the residual
      bounds[i] += 2 ** -24 * (Math.abs(values[i]) + bounds[i]);
    }
  }
  return { inputs, out, pixels, xPlane, yPlane, x, weights, bias, residual, lo, hi, want: { values, bounds } };
}

export const sparseTrials = (block: Block): readonly Trial[] => [
  {
    name: "products and their splits",
    run(draw, box): readonly Comparison[] {
      const d = draw1x1(draw, 19, block);
      const { out, pixels, yPlane, lo, hi } = d;
      const stream = planeStream(d.weights, out, d.inputs, block, d.xPlane);
      const [vectors, strip] = [draw.int(1, MOST_VECTORS[block]), draw.int(1, 4)];
      const [words, starts] = [box.put(stream.words), box.put(stream.starts)];
      const bias = box.put(groupBias(d.bias, out, block));
      const [x, residual] = [box.put(d.x), d.residual ? box.put(d.residual) : 0];
      const run = (fn: string, extra: readonly number[], ...ranges: readonly (readonly [number, number])[]) => {
        const y = box.put(new Float32Array(out * yPlane).fill(Number.NaN));
        for (const [from, to] of ranges) {
          const given = [words, starts, bias, x, y, residual, yPlane, out, pixels, vectors, strip, lo, hi];
          box.call(fn, ...given, ...extra, from, to);
        }
        return pixelsOf(box.f32(y, out * yPlane), out, yPlane, pixels);
      };
      const tiles = Math.ceil(pixels / (4 * vectors));
      const got = run("columns", [], [0, tiles]);
      const cut = draw.int(0, tiles);
      const groups = Math.ceil(out / block);
      const cuts = evenCuts(
        Array.from({ length: groups }, () => draw.int(0, 9)),
        draw.int(1, 5),
      );
      const piece = draw.int(0, cuts.length - 1);
      return [
        { what: "y", got, want: d.want.values, tolerance: d.want.bounds },
        { what: "y split by columns", got: run("columns", [], [cut, tiles], [0, cut]), want: got, tolerance: 0 },
        {
          what: "y split by rows",
          got: run("rows", [box.put(cuts)], [piece, cuts.length - 1], [0, piece]),
          want: got,
          tolerance: 0,
        },
      ];
    },
  },
];
