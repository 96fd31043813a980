/** Trials of `lstm-f32` against plain f64. */
import type { Draw, Trial } from "../kernel.ts";
import { agree, EPS, inPieces } from "../pointwise/trial.ts";
import { lstmBackward, lstmForward, type Step } from "./plain.ts";

interface Case {
  readonly rows: number;
  readonly H: number;
  readonly raw: Float32Array;
  readonly before: Float32Array;
}

function drawCase(draw: Draw): Case {
  const [rows, H] = [draw.int(0, 5), draw.int(1, 21)];
  return { rows, H, raw: draw.floats(4 * rows * H, draw.int(1, 4)), before: draw.floats(rows * H) };
}

/** The four values of unit `i` (counted over rows) of rows of four blocks. */
const four = (x: ArrayLike<number>, i: number, H: number): number[] =>
  [0, 1, 2, 3].map((k) => x[4 * H * Math.floor(i / H) + k * H + (i % H)]);

/** The reverse: block values of all units, in the order of memory. */
function spread(values: readonly (readonly number[])[], H: number): number[] {
  const out = new Array<number>(4 * values.length);
  values.forEach((v, i) => {
    for (let k = 0; k < 4; k++) out[4 * H * Math.floor(i / H) + k * H + (i % H)] = v[k];
  });
  return out;
}

const forward: Trial = {
  name: "forward",
  run(draw, box) {
    const { rows, H, raw, before } = drawCase(draw);
    const bias = draw.floats(4 * H);
    const n = rows * H;
    const [pBias, pBefore] = [box.put(bias), box.put(before)];
    const make = () => ({ gates: box.put(raw), cells: box.room(4 * n), out: box.room(4 * n) });
    const [whole, pieces] = [make(), make()];
    const run = (at: ReturnType<typeof make>, from: number, to: number): number =>
      box.call("forward", at.gates, pBias, pBefore, at.cells, at.out, H, from, to);
    run(whole, 0, rows);
    inPieces(draw, rows, (from, to) => run(pieces, from, to));
    const steps = Array.from(before, (b, i) => {
      const own = four(raw, i, H);
      // sums in f32, as the kernel forms them
      return lstmForward(
        own.map((x, k) => Math.fround(x + bias[k * H + (i % H)])),
        b,
      );
    });
    // functions within 7 units of results of at most 1; the cell sums two products of those
    const cell = Array.from(before, (b) => EPS * (12 * Math.abs(b) + 24));
    return [
      ...agree(
        "gates",
        box.f32(whole.gates, 4 * n),
        box.f32(pieces.gates, 4 * n),
        spread(
          steps.map((s) => s.gates),
          H,
        ),
        8 * EPS,
      ),
      ...agree(
        "cells",
        box.f32(whole.cells, n),
        box.f32(pieces.cells, n),
        steps.map((s) => s.cell),
        cell,
      ),
      ...agree(
        "out",
        box.f32(whole.out, n),
        box.f32(pieces.out, n),
        steps.map((s) => s.out),
        cell.map((t) => t + 16 * EPS),
      ),
    ];
  },
};

const backward: Trial = {
  name: "backward",
  run(draw, box) {
    const { rows, H, raw, before } = drawCase(draw);
    const n = rows * H;
    const exact = Array.from(before, (b, i) => lstmForward(four(raw, i, H), b));
    const gates = Float32Array.from(
      spread(
        exact.map((s) => s.gates),
        H,
      ),
    );
    const cells = Float32Array.from(exact, (s) => s.cell);
    const [dout, dlater, dcells] = [draw.floats(n), draw.floats(n), draw.floats(n)];
    const [pg, pb, pc, po, pl] = [gates, before, cells, dout, dlater].map((x) => box.put(x));
    const make = () => ({ dcells: box.put(dcells), dgates: box.room(16 * n) });
    const [whole, pieces] = [make(), make()];
    const run = (at: ReturnType<typeof make>, to: number, from: number, into = at.dgates): number =>
      box.call("backward", pg, pb, pc, po, pl, at.dcells, into, H, from, to);
    run(whole, rows, 0);
    inPieces(draw, rows, (from, to) => run(pieces, to, from));
    const want = Array.from(before, (b, i) => {
      const saved: Step = { gates: four(gates, i, H) as [number, number, number, number], cell: cells[i], out: 0 };
      return lstmBackward(saved, b, dout[i] + dlater[i], dcells[i]);
    });
    // about ten roundings of terms no larger than |dcells| + |dout| + |dlater|, times the cell before or 1
    const size = (i: number): number => Math.abs(dcells[i]) + Math.abs(dout[i]) + Math.abs(dlater[i]);
    const slack = (i: number): number => 16 * EPS * size(i) * (1 + Math.abs(before[i]));
    const each = Array.from(before, (_, i) => slack(i));
    const checks = [
      ...agree(
        "dgates",
        box.f32(whole.dgates, 4 * n).slice(),
        box.f32(pieces.dgates, 4 * n).slice(),
        spread(
          want.map((w) => w.dRaw),
          H,
        ),
        spread(
          each.map((s) => [s, s, s, s]),
          H,
        ),
      ),
      ...agree(
        "dbefore",
        box.f32(whole.dcells, n),
        box.f32(pieces.dcells, n),
        want.map((w) => w.dBefore),
        each,
      ),
    ];
    const again = make();
    run(again, rows, 0, pg);
    return [...checks, { what: "in place", got: box.f32(pg, 4 * n), want: checks[0].got, tolerance: 0 }];
  },
};

export const lstmTrials: readonly Trial[] = [forward, backward];
