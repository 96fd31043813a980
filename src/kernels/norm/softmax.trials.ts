/** Trials of `softmax-f32` against plain f64. */
import type { Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

export const softmaxTrials: readonly Trial[] = [
  {
    name: "rows",
    run(draw, box) {
      const rows = draw.int(0, 5);
      const cols = draw.int(1, 70);
      const x = draw.floats(rows * cols, draw.int(1, 12));
      for (let r = 0; r < rows; r++) if (cols > 1) x[r * cols + draw.int(1, cols - 1)] = Number.NEGATIVE_INFINITY;
      const p = box.put(x);
      const [whole, pieces] = [box.room(4 * x.length), box.room(4 * x.length)];
      box.call("rows", p, whole, cols, 0, rows);
      inPieces(draw, rows, (from, to) => box.call("rows", p, pieces, cols, from, to));
      const want = plain.softmax(x, cols);
      // x - max is rounded at a size of up to 12 * 1.7 * 2; exp, the sum of cols terms and two products follow
      const tolerance = want.map((y) => (48 + cols / 8) * EPS * y + 1e-38);
      box.call("rows", p, p, cols, 0, rows);
      return [
        ...agree("y", box.f32(whole, x.length), box.f32(pieces, x.length), want, tolerance),
        { what: "in place", got: box.f32(p, x.length), want: box.f32(whole, x.length), tolerance: 0 },
      ];
    },
  },
  {
    name: "backward",
    run(draw, box) {
      const rows = draw.int(0, 5);
      const cols = draw.int(1, 70);
      const y = Float32Array.from(plain.softmax(draw.floats(rows * cols, 3), cols));
      const dy = draw.floats(rows * cols);
      const [py, pd] = [box.put(y), box.put(dy)];
      const [whole, pieces] = [box.room(4 * y.length), box.room(4 * y.length)];
      box.call("backward", py, pd, whole, cols, 0, rows);
      inPieces(draw, rows, (from, to) => box.call("backward", py, pd, pieces, cols, from, to));
      const want = plain.softmaxBackward(y, dy, cols);
      // dy and the dot product are at most 1.7 in size; the sum of cols terms in 16 chains adds cols / 16 roundings
      const tolerance = Array.from(y, (v) => (8 + cols / 8) * EPS * 2 * v + 1e-38);
      box.call("backward", py, pd, pd, cols, 0, rows);
      return [
        ...agree("dx", box.f32(whole, y.length), box.f32(pieces, y.length), want, tolerance),
        { what: "in place", got: box.f32(pd, y.length), want: box.f32(whole, y.length), tolerance: 0 },
      ];
    },
  },
];
