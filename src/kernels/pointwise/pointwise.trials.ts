/** Trials of `pointwise-f32`: every function whole and in pieces, against plain f64. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import * as plain from "./plain.ts";
import { agree, bits, EPS, ids, inPieces } from "./trial.ts";

interface Elementwise {
  readonly fn: string;
  /** f32 operands read, in order */
  readonly operands: number;
  readonly outputs: number;
  readonly twin: (...x: number[]) => readonly number[];
  /**
   * Bound of the error in units of EPS, from the sizes of the terms: results of a function within u ulp are off by
   * at most 2u of it, each further operation adds one unit of its operands' size.
   */
  readonly bound: (...x: number[]) => number;
}

const abs = Math.abs;
const cases: readonly Elementwise[] = [
  { fn: "add", operands: 2, outputs: 1, twin: (a, b) => [a + b], bound: (a, b) => abs(a + b) },
  { fn: "sub", operands: 2, outputs: 1, twin: (a, b) => [a - b], bound: (a, b) => abs(a - b) },
  { fn: "mul", operands: 2, outputs: 1, twin: (a, b) => [a * b], bound: (a, b) => abs(a * b) },
  { fn: "relu", operands: 1, outputs: 1, twin: (x) => [plain.relu(x)], bound: () => 0 },
  {
    fn: "reluBackward",
    operands: 2,
    outputs: 1,
    twin: (x, dy) => [plain.reluSlope(x) * dy],
    bound: () => 0,
  },
  { fn: "relu6", operands: 1, outputs: 1, twin: (x) => [plain.relu6(x)], bound: () => 0 },
  {
    fn: "relu6Backward",
    operands: 2,
    outputs: 1,
    twin: (x, dy) => [plain.relu6Slope(x) * dy],
    bound: () => 0,
  },
  { fn: "exp", operands: 1, outputs: 1, twin: (x) => [Math.exp(x)], bound: (x) => 2 * Math.exp(x) },
  { fn: "tanh", operands: 1, outputs: 1, twin: (x) => [Math.tanh(x)], bound: (x) => 7 * abs(Math.tanh(x)) },
  { fn: "sigmoid", operands: 1, outputs: 1, twin: (x) => [plain.sigmoid(x)], bound: (x) => 5 * plain.sigmoid(x) },
  { fn: "silu", operands: 1, outputs: 1, twin: (x) => [plain.silu(x)], bound: (x) => 6 * abs(plain.silu(x)) },
  {
    fn: "siluBackward",
    operands: 2,
    outputs: 1,
    twin: (x, dy) => [dy * plain.siluSlope(x)],
    bound: (x, dy) => 16 * abs(dy) * plain.sigmoid(x) * (1 + abs(x)),
  },
  {
    // the argument of exp is rounded three times, which grows with its size
    fn: "gelu",
    operands: 1,
    outputs: 1,
    twin: (x) => [plain.gelu(x)],
    bound: (x) => (6 + 8 * (abs(x) + abs(x) ** 3)) * (abs(plain.gelu(x)) + 1e-7),
  },
  {
    fn: "geluBackward",
    operands: 2,
    outputs: 1,
    twin: (x, dy) => [dy * plain.geluSlope(x)],
    bound: (x, dy) => (16 + 8 * (abs(x) + abs(x) ** 3)) * abs(dy) * (1 + abs(x) + abs(x) ** 3),
  },
  {
    fn: "tanhBackward",
    operands: 2,
    outputs: 1,
    twin: (y, dy) => [dy * (1 - y * y)],
    bound: (y, dy) => 4 * abs(dy) * (1 + y * y),
  },
  {
    fn: "sigmoidBackward",
    operands: 2,
    outputs: 1,
    twin: (y, dy) => [dy * y * (1 - y)],
    bound: (y, dy) => 4 * abs(dy * y) * (1 + abs(y)),
  },
  {
    fn: "siluGate",
    operands: 2,
    outputs: 1,
    twin: (g, u) => [plain.siluGate(g, u)],
    bound: (g, u) => 7 * abs(plain.siluGate(g, u)),
  },
  {
    fn: "siluGateBackward",
    operands: 3,
    outputs: 2,
    twin: plain.siluGateBackward,
    bound: (g, u, dy) => 16 * abs(dy) * (1 + abs(g)) * (1 + abs(u)),
  },
];

/** The smallest subnormal, which an exact zero of the twin may come out as, and a little more. */
const FLOOR = 2 ** -140;

function elementwise(t: Elementwise): Trial {
  return {
    name: t.fn,
    run(draw, box) {
      const n = draw.int(0, 70);
      const inputs = Array.from({ length: t.operands }, () => draw.floats(n, draw.int(1, 6)));
      const pointers = inputs.map((x) => box.put(x));
      const outs = Array.from({ length: 2 * t.outputs }, () => box.room(4 * n));
      box.call(t.fn, ...pointers, ...outs.slice(0, t.outputs), 0, n);
      inPieces(draw, n, (from, to) => box.call(t.fn, ...pointers, ...outs.slice(t.outputs), from, to));
      const at = (i: number): number[] => inputs.map((x) => x[i]);
      const want = Array.from({ length: n }, (_, i) => t.twin(...at(i)));
      const tolerance = Array.from({ length: n }, (_, i) => EPS * t.bound(...at(i)) + FLOOR);
      const checks = Array.from({ length: t.outputs }, (_, i) =>
        agree(
          `output ${i}`,
          box.f32(outs[i], n).slice(),
          box.f32(outs[t.outputs + i], n).slice(),
          want.map((w) => w[i]),
          tolerance,
        ),
      );
      // in place: the first output over the last operand
      const before = box.f32(outs[0], n).slice();
      const place = pointers[t.operands - 1];
      const spare = outs.slice(t.outputs, 2 * t.outputs - 1);
      box.call(t.fn, ...pointers, place, ...spare, 0, n);
      return [...checks.flat(), { what: "in place", got: box.f32(place, n), want: before, tolerance: 0 }];
    },
  };
}

/** Runs a function whole into `out` and in pieces into a second copy, both starting as `start`. */
function twice(
  draw: Draw,
  box: Sandbox,
  start: Float32Array,
  total: number,
  run: (out: number, from: number, to: number) => void,
  want: ArrayLike<number>,
  tolerance: number | ArrayLike<number>,
): Comparison[] {
  const whole = box.put(start);
  const pieces = box.put(start);
  run(whole, 0, total);
  inPieces(draw, total, (from, to) => run(pieces, from, to));
  return agree("out", box.f32(whole, start.length), box.f32(pieces, start.length), want, tolerance);
}

const withScalar: Trial = {
  name: "scale, axpy and fill",
  run(draw, box) {
    const n = draw.int(0, 70);
    const x = draw.floats(n);
    const y = draw.floats(n);
    const s = Math.fround(draw.floats(1, 3)[0]);
    const p = box.put(x);
    const nothing = new Float32Array(n);
    const fitted = Array.from(x, (v, i) => y[i] + s * v);
    return [
      ...twice(
        draw,
        box,
        nothing,
        n,
        (out, from, to) => box.call("scale", p, s, out, from, to),
        x.map((v) => s * v),
        0,
      ),
      // two roundings: of the product and of the sum
      ...twice(
        draw,
        box,
        y,
        n,
        (out, from, to) => box.call("axpy", s, p, out, from, to),
        fitted,
        fitted.map((v, i) => EPS * (abs(v) + 2 * abs(s * x[i]))),
      ),
      ...twice(
        draw,
        box,
        nothing,
        n,
        (out, from, to) => box.call("fill", out, s, from, to),
        new Float32Array(n).fill(s),
        0,
      ),
    ];
  },
};

const rowwise: Trial = {
  name: "addRow and mulRow",
  run(draw, box) {
    const rows = draw.int(0, 6);
    const cols = draw.int(1, 37);
    const x = draw.floats(rows * cols);
    const row = draw.floats(cols);
    const [px, pr] = [box.put(x), box.put(row)];
    return (["addRow", "mulRow"] as const).flatMap((fn) =>
      twice(
        draw,
        box,
        new Float32Array(rows * cols),
        rows,
        (out, from, to) => box.call(fn, px, pr, out, cols, from, to),
        // one rounding of an exact f64 result
        x.map((v, i) => (fn === "addRow" ? v + row[i % cols] : v * row[i % cols])),
        0,
      ),
    );
  },
};

const masked: Trial = {
  name: "maskMul",
  run(draw, box) {
    const n = draw.int(0, 70);
    const x = draw.floats(n);
    if (n > 1) [x[0], x[n - 1]] = [Number.NaN, Number.NEGATIVE_INFINITY];
    const mask = bits(draw, n);
    const [px, pm] = [box.put(x), box.put(mask)];
    return twice(
      draw,
      box,
      new Float32Array(n),
      n,
      (out, from, to) => box.call("maskMul", px, pm, out, from, to),
      x.map((v, i) => (mask[i] ? v : 0)),
      0,
    );
  },
};

const transposed: Trial = {
  name: "transpose",
  run(draw, box) {
    const rows = draw.int(0, 21);
    const cols = draw.int(0, 21);
    const x = draw.floats(rows * cols);
    const p = box.put(x);
    return twice(
      draw,
      box,
      new Float32Array(rows * cols),
      cols,
      (out, from, to) => box.call("transpose", p, out, rows, cols, from, to),
      plain.transpose(x, rows, cols),
      0,
    );
  },
};

const rowMoves: Trial = {
  name: "gatherRows and scatterAddRows",
  run(draw, box) {
    const cols = draw.int(1, 21);
    const size = draw.int(1, 7);
    const rows = draw.int(0, 12);
    const table = draw.floats(size * cols);
    const dy = draw.floats(rows * cols);
    const chosen = ids(draw, rows, 0, size - 1);
    const [pt, pd, pi] = [box.put(table), box.put(dy), box.put(chosen)];
    const magnitude = plain.scatterAddRows(dy.map(abs), chosen, table.map(abs), cols);
    return [
      ...twice(
        draw,
        box,
        new Float32Array(rows * cols),
        rows,
        (out, from, to) => box.call("gatherRows", pt, pi, out, cols, from, to),
        plain.gatherRows(table, chosen, cols),
        0,
      ),
      ...twice(
        draw,
        box,
        table,
        Math.ceil(cols / 4),
        (out, from, to) => box.call("scatterAddRows", pd, pi, out, cols, rows, from, to),
        plain.scatterAddRows(dy, chosen, table, cols),
        // a chain of at most `rows` additions
        magnitude.map((m) => rows * EPS * m),
      ),
    ];
  },
};

export const pointwiseTrials: readonly Trial[] = [
  ...cases.map(elementwise),
  withScalar,
  rowwise,
  masked,
  transposed,
  rowMoves,
];
