/**
 * N:M of a dense weight, chosen anew each time: the N largest of every M entries along an axis, ties to the lower index.
 *
 * For training that keeps its dense weights (straight-through, SR-STE, bidirectional pruning): `mask` and `prune` for dense
 * products, `pack` for the stream of `nm1x1` (`streams.ts`), so that a sparse product follows without a dense copy. The
 * axis is free: unit u starts at element (u / inner) outerStride + (u % inner) innerStride, its entries are `step` elements
 * apart. [out, in, kh, kw] along `in`: outer = in kh kw, inner = kh kw, innerStride 1, step kh kw; along `out`: outer 1,
 * inner 1, step in kh kw. M is at most 64; a NaN is taken last.
 *
 * A run is searched N times without branches on values, as what is largest cannot be predicted.
 */

import type { Comparison, Draw, EmitOptions, Kernel, Sandbox, Trial } from "../kernel.ts";
import {
  type Expr,
  type FnRef,
  f32,
  forRange,
  i32,
  i64,
  type Local,
  ModuleBuilder,
  type Stmt,
  select,
  seq,
  when,
} from "../wasm/asm.ts";
import { add, at, c } from "./panels.ts";
import { nmStream, nmSupported } from "./streams.ts";

const AXIS = { outer: "i32", inner: "i32", innerStride: "i32", step: "i32", runs: "i32", n: "i32", m: "i32" } as const;
const RANGE = { from: "i32", to: "i32" } as const;
type Axis = Readonly<Record<keyof typeof AXIS | "from" | "to", Local<"i32">>>;

/** Bits of the N entries of a run that are kept. */
function addChoose(m: ModuleBuilder): FnRef<"i64"> {
  return m.func(
    "choose",
    { by: "i32", bytes: "i32", n: "i32", m: "i32" },
    (f) => {
      const { by, bytes, n, m: count } = f.p;
      const [pass, i, p] = f.locals("i32", 3);
      const [best, value] = f.locals("f32", 2);
      const [chosen, bit, found, better] = [f.local("i64"), f.local("i64"), f.local("i64"), f.local("i32")];
      const free = i32.eqz(i32.wrap(i64.popcnt(i64.and(chosen, bit))));
      return [
        chosen.set(i64.const(0n)),
        forRange(
          pass,
          c(0),
          n,
          1,
          best.set(f32.const(-1)),
          found.set(i64.const(1n)),
          bit.set(i64.const(1n)),
          p.set(by),
          forRange(
            i,
            c(0),
            count,
            1,
            value.set(f32.abs(f32.load(p))),
            better.set(i32.and(f32.gt(value, best), free)),
            best.set(select(value, best, better)),
            found.set(select(bit, found, better)),
            bit.set(i64.add(bit, bit)),
            p.set(add(p, bytes)),
          ),
          chosen.set(i64.or(chosen, found)),
        ),
        f.ret(chosen),
      ];
    },
    "i64",
    false,
  );
}

function emit({ shared }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const choose = addChoose(m);
  /** Over the units `from` .. `to` and their runs: `element` is the first element of the run, `chosen` its bits. */
  const overRuns = (
    f: {
      readonly p: Axis & { readonly by: Local<"i32"> };
      local(type: "i32"): Local<"i32">;
      local(type: "i64"): Local<"i64">;
    },
    before: (unit: Local<"i32">) => Stmt,
    body: (element: Local<"i32">, chosen: Local<"i64">, run: Local<"i32">) => Stmt,
  ): Stmt => {
    const { outer, inner, innerStride, step, runs, from, to, by } = f.p;
    const [u, element, run] = [f.local("i32"), f.local("i32"), f.local("i32")];
    const chosen = f.local("i64");
    return forRange(
      u,
      from,
      to,
      1,
      element.set(add(i32.mul(i32.divu(u, inner), outer), i32.mul(i32.remu(u, inner), innerStride))),
      before(u),
      forRange(
        run,
        c(0),
        runs,
        1,
        chosen.set(choose.call(at(by, element, 2), i32.shl(step, c(2)), f.p.n, f.p.m)),
        body(element, chosen, run),
        element.set(add(element, i32.mul(f.p.m, step))),
      ),
    );
  };
  const isSet = (bits: Expr<"i64">, i: Local<"i32">): Expr<"i32"> =>
    i32.and(i32.wrap(i64.shru(bits, i64.extendI32u(i))), c(1));

  m.func("mask", { by: "i32", bits: "i32", ...AXIS, ...RANGE }, (f) => {
    const [i, place] = f.locals("i32", 2);
    return overRuns(
      f,
      () => seq(),
      (element, chosen) =>
        seq(
          place.set(add(f.p.bits, element)),
          forRange(i, c(0), f.p.m, 1, i32.store8(place, isSet(chosen, i)), place.set(add(place, f.p.step))),
        ),
    );
  });
  m.func("prune", { by: "i32", x: "i32", rest: "f32", out: "i32", ...AXIS, ...RANGE }, (f) => {
    const [i, offset, bytes] = f.locals("i32", 3);
    const value = f.local("f32");
    const { x, rest, out, step } = f.p;
    return overRuns(
      f,
      () => bytes.set(i32.shl(step, c(2))),
      (element, chosen) =>
        seq(
          offset.set(i32.shl(element, c(2))),
          forRange(
            i,
            c(0),
            f.p.m,
            1,
            value.set(f32.load(add(x, offset))),
            f32.store(add(out, offset), select(value, f32.mul(rest, value), isSet(chosen, i))),
            offset.set(add(offset, bytes)),
          ),
        ),
    );
  });
  m.func("pack", { by: "i32", offsets: "i32", values: "i32", slots: "i32", stride: "i32", ...AXIS, ...RANGE }, (f) => {
    const { by, offsets, values, slots, stride, step, runs } = f.p;
    const [i, slot, offsetAt, valueAt, last] = f.locals("i32", 5);
    const put = (column: Expr<"i32">, value: Expr<"f32">): Stmt =>
      seq(
        i32.store8(offsetAt, i32.sub(column, i32.mul(i32.shru(slot, c(2)), stride))),
        f32.store(valueAt, value),
        slot.set(add(slot, c(1))),
        offsetAt.set(add(offsetAt, c(1))),
        valueAt.set(add(valueAt, c(4))),
      );
    const pad = (until: Expr<"i32">, column: Expr<"i32">): Stmt =>
      forRange(i, slot, until, 1, put(column, f32.const(0)));
    return overRuns(
      f,
      (unit) =>
        seq(
          slot.set(c(0)),
          offsetAt.set(add(offsets, i32.mul(unit, slots))),
          valueAt.set(add(values, i32.shl(i32.mul(unit, slots), c(2)))),
        ),
      (element, chosen, run) =>
        seq(
          forRange(
            i,
            c(0),
            f.p.m,
            1,
            when(
              isSet(chosen, i),
              put(add(i32.mul(run, f.p.m), i), f32.load(at(by, add(element, i32.mul(i, step)), 2))),
            ),
          ),
          // Fewer than N are chosen where there are NaNs; after the last run comes the unit's padding.
          last.set(i32.mul(add(run, c(1)), f.p.n)),
          last.set(select(slots, last, i32.eq(add(run, c(1)), runs))),
          pad(last, i32.mul(run, f.p.m)),
        ),
    );
  });
  return m.bytes();
}

/** Where a unit's entries lie, in elements. */
export interface NmAxis {
  readonly units: number;
  readonly outer: number;
  readonly inner: number;
  readonly innerStride: number;
  readonly step: number;
  readonly runs: number;
}

/** Plain twin: bits of the kept entries, in the weight's own places. */
export function nmBits(w: ArrayLike<number>, a: NmAxis, n: number, m: number): Uint8Array {
  const bits = new Uint8Array(w.length);
  for (let u = 0; u < a.units; u++) {
    const start = Math.floor(u / a.inner) * a.outer + (u % a.inner) * a.innerStride;
    for (let run = 0; run < a.runs; run++) {
      const places = Array.from({ length: m }, (_, i) => start + (run * m + i) * a.step);
      const order = [...places].sort((p, q) => Math.abs(w[q]) - Math.abs(w[p]) || p - q);
      for (const p of order.slice(0, n)) bits[p] = 1;
    }
  }
  return bits;
}

const PATTERNS = [
  [2, 4],
  [1, 4],
  [2, 8],
  [3, 3],
  [1, 16],
  [15, 16],
  [8, 64],
] as const;

interface Drawn {
  readonly w: Float32Array;
  readonly axis: NmAxis;
  readonly args: readonly number[];
  readonly n: number;
  readonly m: number;
  readonly middle: number;
}

/** [outer units, runs m, kernel] along the middle axis, or [runs m, rest] along the first; with ties. */
function drawCase(draw: Draw): Drawn {
  const [n, m] = PATTERNS[draw.int(0, PATTERNS.length - 1)];
  const runs = draw.int(1, 3);
  const along = draw.int(0, 1) === 0;
  const [units, kernel] = [draw.int(1, 5), draw.int(1, 3)];
  const columns = runs * m;
  const axis: NmAxis = along
    ? { units: units * kernel, outer: columns * kernel, inner: kernel, innerStride: 1, step: kernel, runs }
    : { units, outer: 1, inner: 1, innerStride: 0, step: units, runs };
  const size = along ? units * columns * kernel : units * columns;
  const w = draw.floats(size).map((v) => Math.round(4 * v) / 4);
  const { outer, inner, innerStride, step } = axis;
  return { w, axis, args: [outer, inner, innerStride, step, runs, n, m], n, m, middle: draw.int(0, axis.units) };
}

const twice = (box: Sandbox, fn: string, before: readonly number[], d: Drawn): void => {
  box.call(fn, ...before, ...d.args, d.middle, d.axis.units);
  box.call(fn, ...before, ...d.args, 0, d.middle);
};

const dense: Trial = {
  name: "mask and prune",
  run(draw, box): readonly Comparison[] {
    const d = drawCase(draw);
    const by = box.put(d.w);
    const want = nmBits(d.w, d.axis, d.n, d.m);
    const [bits, x, out] = [box.room(d.w.length), draw.floats(d.w.length), box.room(4 * d.w.length)];
    const rest = draw.int(0, 4) / 4;
    twice(box, "mask", [by, bits], d);
    twice(box, "prune", [by, box.put(x), rest, out], d);
    return [
      { what: "bits", got: box.u8(bits, want.length), want, tolerance: 0 },
      // one product, rounded as here
      { what: "pruned", got: box.f32(out, x.length), want: x.map((v, i) => (want[i] ? v : rest * v)), tolerance: 0 },
    ];
  },
};

const packed: Trial = {
  name: "pack is the stream of the pruned weight",
  run(draw, box): readonly Comparison[] {
    const d = drawCase(draw);
    const { axis, n, m, w } = d;
    const columns = axis.runs * m;
    const [used, stride] = [axis.runs * n, (4 * m) / n];
    const slots = 4 * Math.ceil(used / 4);
    const by = box.put(w);
    const [offsets, values] = [box.room(axis.units * slots), box.room(4 * axis.units * slots)];
    if (!nmSupported(n, m, columns)) return [];
    twice(box, "pack", [by, offsets, values, slots, stride], d);
    const bits = nmBits(w, axis, n, m);
    // The same unit by unit, as rows of a matrix; chosen zeros stay in the stream here and not there.
    const rows = new Float32Array(axis.units * columns);
    for (let u = 0; u < axis.units; u++) {
      const start = Math.floor(u / axis.inner) * axis.outer + (u % axis.inner) * axis.innerStride;
      for (let k = 0; k < columns; k++) rows[u * columns + k] = bits[start + k * axis.step] * w[start + k * axis.step];
    }
    const back = new Float32Array(rows.length);
    const column = new Int8Array(box.u8(offsets, axis.units * slots));
    box.f32(values, axis.units * slots).forEach((v, i) => {
      const unit = Math.floor(i / slots);
      back[unit * columns + Math.floor((i % slots) / 4) * stride + column[i]] += v;
    });
    const whole = nmStream(rows, axis.units, columns, n, m, 1);
    return [
      { what: "weights", got: back, want: rows, tolerance: 0 },
      { what: "sizes", got: [slots, stride], want: [whole.slots, whole.stride], tolerance: 0 },
    ];
  },
};

const axis = Object.keys(AXIS);
export const nmSelect: Kernel = {
  name: "nm-select-f32",
  family: "sparse",
  summary: "N:M of a dense weight along any axis: its mask, the pruned weight, or its stream",
  functions: {
    mask: {
      params: ["by", "bits", ...axis, "from", "to"],
      does: "bytes 1 where |by| is among the N largest of its run",
    },
    prune: {
      params: ["by", "x", "rest", "out", ...axis, "from", "to"],
      does: "out = x where |by| is among the N largest of its run, rest * x elsewhere; from, to: units",
    },
    pack: {
      params: ["by", "offsets", "values", "slots", "stride", ...axis, "from", "to"],
      does: "the nm1x1 stream of the pruned weight; slots is N runs rounded up to 4, stride 4M/N; from, to: units",
    },
  },
  emit,
  trials: [dense, packed],
};
