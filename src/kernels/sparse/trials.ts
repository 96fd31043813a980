/** Trials of the sparse kernels: drawn shapes and masks against the twin, and the same bits however work is split. */

import { decodeAll, type ElementType, encode } from "../dense/element.ts";
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import type { Layout } from "./layouts.ts";
import { evenCuts, GROUP, halfValues, type Stream, streamOf } from "./streams.ts";
import { productTwin } from "./twin.ts";

interface Case {
  readonly weights: Float32Array;
  readonly out: number;
  readonly in: number;
  readonly n: number;
  readonly m: number;
}

const QUOTAS = [
  [2, 4],
  [1, 4],
  [4, 8],
  [1, 2],
  [3, 3],
  [8, 16],
  [1, 32],
  [32, 64],
] as const;

/** Makes every value exact in bf16. */
function truncate(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) bits[i] &= 0xffff0000;
  return values;
}

/** A weight whose mask is drawn by weight, by block or by N:M; sometimes a group, sometimes everything is zero. */
function drawCase(draw: Draw, l: Layout): Case {
  const out = draw.int(1, 23);
  const quota = l.index === "steps";
  const [n, m] = quota ? QUOTAS[draw.int(0, QUOTAS.length - 1)] : [0, 1];
  const width = quota ? m * draw.int(1, 7) : draw.int(l.columns, l.columns + 42);
  const weights = truncate(draw.floats(out * width));
  const byBlock = quota || draw.int(0, 2) > 0;
  const [tall, wide] = byBlock ? [l.rows, l.columns] : [1, 1];
  const sparsity = draw.int(0, 4) / 4;
  const across = Math.ceil(width / wide);
  const lots = draw.floats(Math.ceil(out / tall) * across, 1 / 1.7);
  const groups = Math.ceil(out / GROUP);
  const empty = draw.int(-1, groups - 1);
  for (let o = 0; o < out; o++) {
    const unit = Math.floor(o / tall);
    let kept = 0;
    for (let k = 0; k < width; k++) {
      if (quota && k % m === 0) kept = 0;
      const lot = Math.abs(lots[unit * across + Math.floor(k / wide)]);
      const keep = lot >= sparsity && Math.floor(o / GROUP) !== empty && sparsity < 1 && (!quota || kept < n);
      if (keep) kept++;
      else weights[o * width + k] = 0;
    }
  }
  return { weights, out, in: width, n, m };
}

const makeStream = (l: Layout, { weights, out, in: width, n, m }: Case): Stream =>
  streamOf(l, weights, out, width, n, m);

function putValues(box: Sandbox, stream: Stream, l: Layout, type: ElementType): number {
  if (type === "f32") return box.put(stream.values);
  const half = halfValues(stream.values, type, l.halves);
  if (!half) throw new Error(`the trial's weights are no ${type} numbers`);
  return box.put(half);
}

/** Operands of the stream as the kernels take them; `spmm` kernels also take the unpadded ends. */
function operands(box: Sandbox, stream: Stream, values: number, spmm: boolean): number[] {
  if ("slots" in stream) return [stream.slots, stream.stride, box.put(stream.offsets), values];
  const starts = box.put(stream.starts);
  return [starts, ...(spmm ? [box.put(stream.ends)] : []), box.put(stream.columns), values];
}

/** Outputs of Y[T, out] that were written though no row of theirs is among [from, to) and no token among `tokens`. */
function strays(y: Float32Array, out: number, rows: readonly number[], tokens: readonly number[]): Comparison {
  const got = y.filter((v, i) => {
    const [t, o] = [Math.floor(i / out), i % out];
    return !Number.isNaN(v) && (o < rows[0] || o >= rows[1] || t < tokens[0] || t >= tokens[1]);
  });
  return { what: "outputs written beyond a share", got, want: [], tolerance: 0 };
}

const drawCuts = (draw: Draw, groups: number): Int32Array => {
  const work = Array.from({ length: groups }, () => draw.int(0, 9));
  return evenCuts(work, draw.int(1, 5));
};

export function spmmTrials(l: Layout, panelWidth: number): readonly Trial[] {
  const product: Trial = {
    name: "product and its splits",
    run(draw, box): readonly Comparison[] {
      const shape = drawCase(draw, l);
      const { out, in: width } = shape;
      const tokens = draw.int(1, 3 * panelWidth + 3);
      const x = draw.floats(tokens * width);
      const stream = makeStream(l, shape);
      const given = operands(box, stream, box.put(stream.values), true);
      const panels = Math.ceil(tokens / panelWidth);
      const packed = box.room(4 * width * 4 * Math.ceil(tokens / 4));
      const xs = box.put(x);
      const packCut = draw.int(0, panels);
      box.call("pack", xs, packed, tokens, width, packCut, panels);
      box.call("pack", xs, packed, tokens, width, 0, packCut);
      const unwritten = new Float32Array(tokens * out).fill(Number.NaN);
      const y = box.put(unwritten);
      box.call("byPanels", ...given, packed, y, tokens, width, out, 0, panels);
      const whole = box.f32(y, tokens * out).slice();

      const split = box.put(unwritten);
      const cut = draw.int(0, panels);
      box.call("byPanels", ...given, packed, split, tokens, width, out, cut, panels);
      const beyondPanels = strays(box.f32(split, tokens * out), out, [0, out], [cut * panelWidth, tokens]);
      box.call("byPanels", ...given, packed, split, tokens, width, out, 0, cut);

      const byRows = box.put(unwritten);
      const cuts = drawCuts(draw, Math.ceil(out / GROUP));
      const pieces = cuts.length - 1;
      const cutsAt = box.put(cuts);
      const piece = draw.int(0, pieces);
      box.call("byRows", ...given, packed, byRows, tokens, width, out, cutsAt, piece, pieces);
      const beyondRows = strays(box.f32(byRows, tokens * out), out, [GROUP * cuts[piece], out], [0, tokens]);
      box.call("byRows", ...given, packed, byRows, tokens, width, out, cutsAt, 0, piece);

      // Packed on the way: shares of the work, taken in any order, each with a room of its own.
      const packing = (fn: string, units: number, ...more: number[]): number => {
        const share = draw.int(1, units);
        const shares = Math.ceil(units / share);
        const room = box.room(4 * width * panelWidth * shares);
        const target = box.put(unwritten);
        for (let i = shares - 1; i >= 0; i--) {
          const range = [i * share, Math.min(units, (i + 1) * share)];
          box.call(fn, ...given, xs, room, share, target, tokens, width, out, ...more, ...range);
        }
        return target;
      };
      const packedByPanels = packing("packByPanels", panels);
      const packedByRows = packing("packByRows", pieces, cutsAt);

      const want = productTwin(shape.weights, x, tokens, out, width);
      const same = (what: string, at: number): Comparison => ({
        what,
        got: box.f32(at, tokens * out),
        want: whole,
        tolerance: 0,
      });
      return [
        { what: "Y", got: whole, want: want.values, tolerance: want.bounds },
        beyondPanels,
        beyondRows,
        same("Y split by panels", split),
        same("Y split by rows", byRows),
        same("Y packed by panels", packedByPanels),
        same("Y packed by rows", packedByRows),
      ];
    },
  };
  const expand: Trial = {
    name: "bf16 values to f32",
    run(draw, box): readonly Comparison[] {
      const stream = makeStream(l, drawCase(draw, l));
      const units = stream.values.length / (l.halves === "plain" ? 4 : 8);
      const source = putValues(box, stream, l, "bf16");
      const target = box.room(4 * stream.values.length);
      const cut = draw.int(0, units);
      box.call("expand", source, target, cut, units);
      box.call("expand", source, target, 0, cut);
      const got = box.f32(target, stream.values.length);
      return [{ what: "values", got, want: stream.values, tolerance: 0 }];
    },
  };
  return [product, expand];
}

export function spmvTrials(l: Layout, type: ElementType): readonly Trial[] {
  return [
    {
      name: "product and its splits",
      run(draw, box): readonly Comparison[] {
        const shape = drawCase(draw, l);
        const { out, in: width } = shape;
        if (type === "f16") shape.weights.set(decodeAll(type, encode(type, shape.weights)));
        const x = draw.floats(width);
        const stream = makeStream(l, shape);
        const given = [...operands(box, stream, putValues(box, stream, l, type), false), box.put(x)];
        const unwritten = new Float32Array(out).fill(Number.NaN);
        const y = box.put(unwritten);
        const all = box.put(Int32Array.of(0, Math.ceil(out / GROUP)));
        box.call("multiply", ...given, y, out, all, 0, 1);
        const whole = box.f32(y, out).slice();

        const split = box.put(unwritten);
        const cuts = drawCuts(draw, Math.ceil(out / GROUP));
        const pieces = cuts.length - 1;
        const cutsAt = box.put(cuts);
        const piece = draw.int(0, pieces);
        box.call("multiply", ...given, split, out, cutsAt, piece, pieces);
        const beyond = strays(box.f32(split, out), out, [GROUP * cuts[piece], out], [0, 1]);
        box.call("multiply", ...given, split, out, cutsAt, 0, piece);

        const want = productTwin(shape.weights, x, 1, out, width);
        return [
          { what: "y", got: whole, want: want.values, tolerance: want.bounds },
          beyond,
          { what: "y split", got: box.f32(split, out), want: whole, tolerance: 0 },
        ];
      },
    },
  ];
}
