/** Trials of the quantised sparse products against the f64 product of the weight that the codes stand for. */

import type { Draw, Trial } from "../kernel.ts";
import { blockStream, evenCuts } from "../sparse/streams.ts";
import { quantiseStream, quantStreamDense, type SparseQuantType } from "./sparse-stream.ts";

function drawWeight(draw: Draw, out: number, width: number, rows: 1 | 4): Float32Array {
  const w = draw.floats(out * width);
  const sparsity = draw.int(0, 4) / 4;
  const lots = draw.floats(Math.ceil(out / rows) * width, 1 / 1.7);
  const empty = draw.int(-1, Math.ceil(out / rows) - 1);
  for (let o = 0; o < out; o++) {
    const u = Math.floor(o / rows);
    for (let k = 0; k < width; k++) {
      if (Math.abs(lots[u * width + k]) < sparsity || u === empty || sparsity === 1) w[o * width + k] = 0;
    }
  }
  return w;
}

export const spmvQuantTrials = (type: SparseQuantType, rows: 1 | 4): readonly Trial[] =>
  [43, 200].map((most) => ({
    name: `product and its splits, up to ${most} inputs`,
    run(draw, box) {
      const [out, width] = [draw.int(1, 23), draw.int(1, most)];
      const weights = drawWeight(draw, out, width, rows);
      const stream = quantiseStream(blockStream(weights, out, width, rows), rows, type);
      const dense = quantStreamDense(stream);
      const x = draw.floats(width);
      const extreme = draw.int(0, 3) === 0;
      if (extreme) x.fill(-1.25);
      const prepared = box.room(16 + 4 * width);
      box.call("prepare", box.put(x), width, prepared);
      const { starts, runs, columns, codes, scales } = stream;
      const operands = [starts, runs, columns, codes, scales].map((part) => box.put(part));
      const unwritten = new Float32Array(out).fill(Number.NaN);
      const [whole, split] = [box.put(unwritten), box.put(unwritten)];
      const groups = Math.ceil(out / 4);
      const all = box.put(Int32Array.of(0, groups));
      box.call("multiply", ...operands, prepared, whole, out, all, 0, 1);
      const cuts = evenCuts(
        Array.from({ length: groups }, () => draw.int(0, 9)),
        draw.int(1, 5),
      );
      const pieces = cuts.length - 1;
      const piece = draw.int(0, pieces);
      const cutsAt = box.put(cuts);
      box.call("multiply", ...operands, prepared, split, out, cutsAt, piece, pieces);
      box.call("multiply", ...operands, prepared, split, out, cutsAt, 0, piece);

      const top = x.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
      const want = new Float64Array(out);
      const tolerance = new Float64Array(out);
      const step = new Float64Array(out * width);
      for (let o = 0; o < out; o++) {
        for (let k = 0; k < width; k++) {
          const w = dense[o * width + k];
          want[o] += w * x[k];
          // half a step of the activations; sums of f32 for at most seven runs, their scales and the total's
          tolerance[o] += Math.abs(w) * top * (0.501 / 32767 + 12 * 2 ** -23);
          step[o * width + k] = w === 0 && weights[o * width + k] === 0 ? 0 : 1.7 / (type === "int8" ? 255 : 15);
        }
      }
      const got = box.f32(whole, out);
      return [
        { what: "y", got, want, tolerance },
        { what: "y split", got: box.f32(split, out), want: got, tolerance: 0 },
        { what: "quantised weight, within half a step", got: dense, want: weights, tolerance: step },
      ];
    },
  }));
