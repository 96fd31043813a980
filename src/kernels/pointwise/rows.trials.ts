/** Trials of `rows-f32` against plain f64. */
import type { Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "./trial.ts";

const dot: Trial = {
  name: "dot",
  run(draw, box) {
    const [rows, cols] = [draw.int(0, 7), draw.int(0, 70)];
    const [a, b] = [draw.floats(rows * cols), draw.floats(rows * cols)];
    const [pa, pb, whole, pieces] = [box.put(a), box.put(b), box.room(4 * rows), box.room(4 * rows)];
    box.call("dot", pa, pb, whole, cols, 0, rows);
    inPieces(draw, rows, (from, to) => box.call("dot", pa, pb, pieces, cols, from, to));
    const sum = (r: number, size: (x: number) => number): number => {
      let total = 0;
      for (let c = 0; c < cols; c++) total += size(a[r * cols + c] * b[r * cols + c]);
      return total;
    };
    const each = (size: (x: number) => number): number[] => Array.from({ length: rows }, (_, r) => sum(r, size));
    // a chain of at most cols / 16 + 12 roundings of the sum, and one of each product
    const tolerance = each(Math.abs).map((m) => EPS * (cols / 16 + 13) * m);
    return agree(
      "out",
      box.f32(whole, rows),
      box.f32(pieces, rows),
      each((x) => x),
      tolerance,
    );
  },
};

const scaled: Trial = {
  name: "scaled",
  run(draw, box) {
    const [rows, cols] = [draw.int(0, 7), draw.int(0, 37)];
    const [x, s] = [draw.floats(rows * cols), draw.floats(rows)];
    const [px, ps] = [box.put(x), box.put(s)];
    const [whole, pieces] = [box.room(4 * x.length), box.room(4 * x.length)];
    box.call("scaled", px, ps, whole, cols, 0, rows);
    inPieces(draw, rows, (from, to) => box.call("scaled", px, ps, pieces, cols, from, to));
    const want = x.map((v, i) => v * s[Math.floor(i / cols)]);
    // one rounding of an exact f64 product
    return agree("out", box.f32(whole, x.length), box.f32(pieces, x.length), want, 0);
  },
};

export const rowsTrials: readonly Trial[] = [dot, scaled];
