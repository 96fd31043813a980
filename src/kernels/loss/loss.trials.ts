/** Trials of the losses against plain f64. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, EPS, ids, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

interface Case {
  readonly rows: number;
  readonly cols: number;
  readonly x: Float32Array;
  readonly y: Float32Array;
  readonly targets: Int32Array;
  readonly scale: number;
  /** bound of the rounding of a log-sum-exp: of its own size (up to 1.7 * 8 + log 70 < 18), and of the sum */
  readonly slack: number;
}

function drawCase(draw: Draw): Case {
  const rows = draw.int(0, 6);
  const cols = draw.int(1, 70);
  const size = draw.int(1, 8);
  return {
    rows,
    cols,
    x: draw.floats(rows * cols, size),
    y: draw.floats(rows * cols, size),
    targets: ids(draw, rows, -1, cols - 1),
    scale: Math.fround(draw.int(1, 10) / 8),
    slack: EPS * (3 * 18 + cols / 8 + 8),
  };
}

function both(
  box: Sandbox,
  draw: Draw,
  units: number,
  start: Readonly<Record<string, Float32Array>>,
  run: (out: Readonly<Record<string, number>>, from: number, to: number) => void,
  want: Readonly<Record<string, ArrayLike<number>>>,
  tolerance: Readonly<Record<string, number | ArrayLike<number>>>,
): Comparison[] {
  const names = Object.keys(start);
  const make = (): Record<string, number> => Object.fromEntries(names.map((n) => [n, box.put(start[n])]));
  const [whole, pieces] = [make(), make()];
  run(whole, 0, units);
  inPieces(draw, units, (from, to) => run(pieces, from, to));
  return names.flatMap((n) => {
    const count = start[n].length;
    return agree(n, box.f32(whole[n], count), box.f32(pieces[n], count), want[n], tolerance[n]);
  });
}

const floats = (x: ArrayLike<number>): Float32Array => Float32Array.from(x);

export const crossEntropyTrials: readonly Trial[] = [
  {
    name: "forward",
    run(draw, box) {
      const t = drawCase(draw);
      const [x, targets] = [box.put(t.x), box.put(t.targets)];
      const room = new Float32Array(t.rows);
      return both(
        box,
        draw,
        t.rows,
        { loss: room, lse: room },
        ({ loss, lse }, from, to) => box.call("forward", x, targets, loss, lse, t.cols, from, to),
        plain.crossEntropyForward(t.x, t.targets, t.cols),
        { loss: 2 * t.slack, lse: t.slack },
      );
    },
  },
  {
    name: "backward",
    run(draw, box) {
      const t = drawCase(draw);
      const saved = floats(plain.crossEntropyForward(t.x, t.targets, t.cols).lse);
      const [x, targets, lse] = [box.put(t.x), box.put(t.targets), box.put(saved)];
      const checks = both(
        box,
        draw,
        t.rows,
        { dlogits: new Float32Array(t.x.length) },
        ({ dlogits }, from, to) => box.call("backward", x, targets, lse, t.scale, dlogits, t.cols, from, to),
        { dlogits: plain.crossEntropyBackward(t.x, t.targets, t.scale, t.cols) },
        // an absolute error of the exponent is a relative one of the softmax, which is at most 1
        { dlogits: t.slack * t.scale },
      );
      box.call("backward", x, targets, lse, t.scale, x, t.cols, 0, t.rows);
      return [...checks, { what: "in place", got: box.f32(x, t.x.length), want: checks[0].got, tolerance: 0 }];
    },
  },
];

export const distillTrials: readonly Trial[] = [
  {
    name: "forward",
    run(draw, box) {
      const t = drawCase(draw);
      const inv = Math.fround(1 / draw.int(1, 4));
      const [s, teacher] = [box.put(t.x), box.put(t.y)];
      const room = new Float32Array(t.rows);
      return both(
        box,
        draw,
        t.rows,
        { loss: room, lseS: room, lseT: room },
        ({ loss, lseS, lseT }, from, to) => box.call("forward", s, teacher, loss, lseS, lseT, t.cols, inv, from, to),
        plain.distillForward(t.x, t.y, t.cols, inv),
        // weights sum to 1; each weighted difference, at most 36 in size, has the errors of both sides
        { loss: 2 * 36 * t.slack, lseS: t.slack, lseT: t.slack },
      );
    },
  },
  {
    name: "backward",
    run(draw, box) {
      const t = drawCase(draw);
      const inv = Math.fround(1 / draw.int(1, 4));
      const accumulate = draw.int(0, 1);
      const saved = plain.distillForward(t.x, t.y, t.cols, inv);
      const start = draw.floats(t.x.length);
      const [s, teacher] = [box.put(t.x), box.put(t.y)];
      const [lseS, lseT] = [box.put(floats(saved.lseS)), box.put(floats(saved.lseT))];
      const gradient = plain.distillBackward(t.x, t.y, t.scale, t.cols, inv);
      return both(
        box,
        draw,
        t.rows,
        { dstudent: start },
        ({ dstudent }, from, to) =>
          box.call("backward", s, teacher, lseS, lseT, t.scale, dstudent, t.cols, inv, accumulate, from, to),
        { dstudent: gradient.map((g, i) => g + accumulate * start[i]) },
        { dstudent: 2 * t.slack * t.scale + 4 * EPS },
      );
    },
  },
];
