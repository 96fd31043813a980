/** Trials of `reduce-f32` against plain sums. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "./trial.ts";

/** Relative rounding of f64. */
const EPS64 = 2 ** -53;

const chunksOf = (x: ArrayLike<number>, chunk: number): number[][] =>
  Array.from({ length: Math.ceil(x.length / chunk) }, (_, k) => Array.from(x).slice(k * chunk, (k + 1) * chunk));
const total = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);

function both(
  box: Sandbox,
  draw: Draw,
  units: number,
  start: Float64Array,
  run: (out: number, from: number, to: number) => void,
  want: ArrayLike<number>,
  tolerance: ArrayLike<number>,
  what: string,
): Comparison[] {
  const [whole, pieces] = [box.put(start), box.put(start)];
  run(whole, 0, units);
  inPieces(draw, units, (from, to) => run(pieces, from, to));
  return agree(what, box.f64(whole, start.length), box.f64(pieces, start.length), want, tolerance);
}

const chunked: Trial = {
  name: "partial sums, squares, dots and extremes of chunks",
  run(draw, box) {
    const n = draw.int(0, 90);
    const chunk = draw.int(1, 40);
    const [x, y] = [draw.floats(n), draw.floats(n)];
    const [px, py] = [box.put(x), box.put(y)];
    const products = Array.from(x, (v, i) => v * y[i]);
    const squares = Array.from(x, (v) => v * v);
    const units = Math.ceil(n / chunk);
    const check = (fn: string, pointers: number[], terms: ArrayLike<number>): Comparison[] => {
      const parts = chunksOf(terms, chunk);
      return both(
        box,
        draw,
        units,
        new Float64Array(units),
        (out, from, to) => box.call(fn, ...pointers, out, n, chunk, from, to),
        parts.map(total),
        // the same exact terms, added in another order
        parts.map((p) => 2 * chunk * EPS64 * total(p.map(Math.abs))),
        fn,
      );
    };
    const largest = chunksOf(x, chunk).map((p) => Math.max(...p.map(Math.abs)));
    return [
      ...check("partialSum", [px], x),
      ...check("partialSumSq", [px], squares),
      ...check("partialDot", [px, py], products),
      ...both(
        box,
        draw,
        units,
        new Float64Array(units),
        (out, from, to) => box.call("partialMaxAbs", px, out, n, chunk, from, to),
        largest,
        largest.map(() => 0),
        "partialMaxAbs",
      ),
    ];
  },
};

const nonFinite: Trial = {
  name: "non-finite values are counted, and NaN is the largest magnitude",
  run(draw, box) {
    const n = draw.int(1, 90);
    const chunk = draw.int(1, 40);
    const x = draw.floats(n);
    const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4028234663852886e38];
    for (let i = draw.int(0, 6); i > 0; i--) x[draw.int(0, n - 1)] = bad[draw.int(0, 3)];
    const p = box.put(x);
    const units = Math.ceil(n / chunk);
    const parts = chunksOf(x, chunk);
    const zeros = parts.map(() => 0);
    return [
      ...both(
        box,
        draw,
        units,
        new Float64Array(units),
        (out, from, to) => box.call("finite", p, out, n, chunk, from, to),
        parts.map((part) => part.filter((v) => !Number.isFinite(v)).length),
        zeros,
        "finite",
      ),
      ...both(
        box,
        draw,
        units,
        new Float64Array(units),
        (out, from, to) => box.call("partialMaxAbs", p, out, n, chunk, from, to),
        parts.map((part) => (part.some(Number.isNaN) ? Number.NaN : Math.max(...part.map(Math.abs)))),
        zeros,
        "partialMaxAbs",
      ),
    ];
  },
};

const columns: Trial = {
  name: "sums of columns",
  run(draw, box) {
    const rows = draw.int(0, 20);
    const cols = draw.int(1, 45);
    const x = draw.floats(rows * cols);
    const start = Float64Array.from(draw.floats(cols));
    const p = box.put(x);
    const blocks = Math.ceil(cols / 4);
    const column = (k: number): number[] => Array.from({ length: rows }, (_, r) => x[r * cols + k]);
    const all = Array.from({ length: cols }, (_, k) => column(k));
    const size = (terms: number[], begin: number): number => total(terms.map(Math.abs)) + Math.abs(begin);
    const [whole, pieces] = [box.room(4 * cols), box.room(4 * cols)];
    box.call("sumRows", p, whole, rows, cols, 0, blocks);
    inPieces(draw, blocks, (from, to) => box.call("sumRows", p, pieces, rows, cols, from, to));
    const squares = all.map((terms) => terms.map((v) => v * v));
    return [
      ...agree(
        "sumRows",
        box.f32(whole, cols),
        box.f32(pieces, cols),
        all.map(total),
        // a chain of `rows` additions
        all.map((terms) => rows * EPS * size(terms, 0)),
      ),
      ...both(
        box,
        draw,
        blocks,
        start,
        (out, from, to) => box.call("colSum", p, out, rows, cols, from, to),
        all.map((terms, k) => start[k] + total(terms)),
        all.map((terms, k) => 2 * (rows + 1) * EPS64 * size(terms, start[k])),
        "colSum",
      ),
      ...both(
        box,
        draw,
        blocks,
        start,
        (out, from, to) => box.call("colSumSq", p, out, rows, cols, from, to),
        squares.map((terms, k) => start[k] + total(terms)),
        squares.map((terms, k) => 2 * (rows + 1) * EPS64 * size(terms, start[k])),
        "colSumSq",
      ),
    ];
  },
};

export const reduceTrials: readonly Trial[] = [chunked, nonFinite, columns];
