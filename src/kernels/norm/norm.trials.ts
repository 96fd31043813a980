/** Trials of `rmsnorm-f32` and `layernorm-f32` against plain f64. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly eps: number;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly b: Float32Array;
  readonly dy: Float32Array;
  /** largest rstd: errors of the sums are scaled by it */
  readonly gain: number;
}

function drawCase(draw: Draw, centred: boolean): Case {
  const rows = draw.int(0, 7);
  const cols = draw.int(2, 70);
  // a large eps bounds rstd, so that rows of almost equal values do not blow the rounding up
  const eps = Math.fround(1e-2);
  const x = draw.floats(rows * cols);
  const [w, b, dy] = [draw.floats(cols), draw.floats(cols), draw.floats(rows * cols)];
  const { rstd } = centred ? plain.layernormForward(x, w, b, cols, eps) : plain.rmsnormForward(x, w, cols, eps);
  return { rows, cols, eps, x, w, b, dy, gain: Math.max(1, ...rstd) };
}

/** Room for each output twice: computed at once, and in pieces. */
function both(
  box: Sandbox,
  draw: Draw,
  units: number,
  sizes: Readonly<Record<string, number>>,
  run: (out: Readonly<Record<string, number>>, from: number, to: number) => void,
  want: Readonly<Record<string, ArrayLike<number>>>,
  tolerance: number,
): Comparison[] {
  const names = Object.keys(sizes);
  const make = (): Record<string, number> => Object.fromEntries(names.map((n) => [n, box.room(4 * sizes[n])]));
  const [whole, pieces] = [make(), make()];
  run(whole, 0, units);
  inPieces(draw, units, (from, to) => run(pieces, from, to));
  return names.flatMap((n) => agree(n, box.f32(whole[n], sizes[n]), box.f32(pieces[n], sizes[n]), want[n], tolerance));
}

/** dw of each chunk on its own, [chunks, cols]. */
function perChunk(
  t: Case,
  chunk: number,
  gradient: (x: Float32Array, dy: Float32Array) => readonly number[],
): number[] {
  const size = chunk * t.cols;
  return Array.from({ length: Math.ceil(t.rows / chunk) }, (_, k) =>
    gradient(t.x.slice(k * size, (k + 1) * size), t.dy.slice(k * size, (k + 1) * size)),
  ).flat();
}

const forwardTolerance = (t: Case): number => 8 * (4 + t.cols / 8) * EPS * t.gain ** 3;
// as forward, once more through g and the means; sums over at most 7 rows
const backwardTolerance = (t: Case): number => 10 * (4 + t.cols / 8) * EPS * t.gain ** 4;

export const rmsnormTrials: readonly Trial[] = [
  {
    name: "forward",
    run(draw, box) {
      const t = drawCase(draw, false);
      const { rows, cols, eps } = t;
      const [x, w] = [box.put(t.x), box.put(t.w)];
      return both(
        box,
        draw,
        rows,
        { out: rows * cols, rstd: rows },
        ({ out, rstd }, from, to) => box.call("forward", x, w, out, rstd, cols, eps, from, to),
        plain.rmsnormForward(t.x, t.w, cols, eps),
        forwardTolerance(t),
      );
    },
  },
  {
    name: "backward",
    run(draw, box) {
      const t = drawCase(draw, false);
      const { rows, cols, eps } = t;
      const chunk = draw.int(1, 4);
      const chunks = Math.ceil(rows / chunk);
      const saved = Float32Array.from(plain.rmsnormForward(t.x, t.w, cols, eps).rstd);
      const [x, w, rstd, dy] = [box.put(t.x), box.put(t.w), box.put(saved), box.put(t.dy)];
      const checks = both(
        box,
        draw,
        chunks,
        { dx: rows * cols, dw: chunks * cols },
        ({ dx, dw }, from, to) => box.call("backward", x, w, rstd, dy, dx, dw, cols, chunk, rows, from, to),
        {
          dx: plain.rmsnormBackward(t.x, t.w, t.dy, cols, eps).dx,
          dw: perChunk(t, chunk, (a, d) => plain.rmsnormBackward(a, t.w, d, cols, eps).dw),
        },
        backwardTolerance(t),
      );
      const spare = box.room(4 * chunks * cols);
      box.call("backward", x, w, rstd, dy, dy, spare, cols, chunk, rows, 0, chunks);
      return [...checks, { what: "in place", got: box.f32(dy, rows * cols), want: checks[0].got, tolerance: 0 }];
    },
  },
];

export const layernormTrials: readonly Trial[] = [
  {
    name: "forward",
    run(draw, box) {
      const t = drawCase(draw, true);
      const { rows, cols, eps } = t;
      const [x, w, b] = [box.put(t.x), box.put(t.w), box.put(t.b)];
      return both(
        box,
        draw,
        rows,
        { out: rows * cols, mean: rows, rstd: rows },
        ({ out, mean, rstd }, from, to) => box.call("forward", x, w, b, out, mean, rstd, cols, eps, from, to),
        plain.layernormForward(t.x, t.w, t.b, cols, eps),
        forwardTolerance(t),
      );
    },
  },
  {
    name: "backward",
    run(draw, box) {
      const t = drawCase(draw, true);
      const { rows, cols, eps } = t;
      const chunk = draw.int(1, 4);
      const chunks = Math.ceil(rows / chunk);
      const saved = plain.layernormForward(t.x, t.w, t.b, cols, eps);
      const [x, w, dy] = [box.put(t.x), box.put(t.w), box.put(t.dy)];
      const mean = box.put(Float32Array.from(saved.mean));
      const rstd = box.put(Float32Array.from(saved.rstd));
      return both(
        box,
        draw,
        chunks,
        { dx: rows * cols, dw: chunks * cols, db: chunks * cols },
        ({ dx, dw, db }, from, to) =>
          box.call("backward", x, w, mean, rstd, dy, dx, dw, db, cols, chunk, rows, from, to),
        {
          dx: plain.layernormBackward(t.x, t.w, t.dy, cols, eps).dx,
          dw: perChunk(t, chunk, (a, d) => plain.layernormBackward(a, t.w, d, cols, eps).dw),
          db: perChunk(t, chunk, (a, d) => plain.layernormBackward(a, t.w, d, cols, eps).db),
        },
        backwardTolerance(t),
      );
    },
  },
];
