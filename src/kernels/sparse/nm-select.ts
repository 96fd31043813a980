/**
 * N:M of a dense weight, chosen anew each time: the N largest of every M entries along an axis, ties to the lower index.
 *
 * For training that keeps its dense weights (straight-through, SR-STE, bidirectional pruning): `mask` and `prune` for dense
 * products, `pack` for the stream of `nm1x1` (`streams.ts`), so that a sparse product follows without a dense copy. The
 * axis is free: unit u starts at element (u / inner) outerStride + (u % inner) innerStride, its entries are `step` elements
 * apart. [out, in, kh, kw] along `in`: outer = in kh kw, inner = kh kw, innerStride 1, step kh kw; along `out`: outer 1,
 * inner 1, step in kh kw. M is at most 64; a NaN is taken last.
 *
 * A run is searched N times without branches on values, as what is largest cannot be predicted; for M of 4, 8 and 16 along
 * the last axis, or along the first, four units are searched at once, a lane each. Ladder, one thread: a training step of
 * 784-1024-1024-10 with 2:8 in both directions (forward and backward packed), batch 128, takes 39 ms with runs searched one
 * by one and 22 ms with four at once; dense 28 ms.
 */

import type { Comparison, Draw, EmitOptions, Kernel, Sandbox, Trial } from "../kernel.ts";
import {
  type Expr,
  type FnRef,
  f32,
  f32x4,
  forRange,
  i32,
  i32x4,
  i64,
  type Local,
  ModuleBuilder,
  type Stmt,
  select,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { add, at, c, range, transposed, zero } from "./panels.ts";
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

/** M for which four units are searched at once. */
const FAST = [4, 8, 16] as const;

/**
 * The same for four units: bit 4i + l says that entry i of lane l is kept. The lanes' runs begin `apart` bytes apart with
 * entries side by side (`rows`), or side by side with entries `bytes` apart.
 */
function addChooseFour(m: ModuleBuilder, size: number, rows: boolean): FnRef<"i64"> {
  return m.func(
    `choose${size}${rows ? "rows" : "columns"}`,
    { by: "i32", apart: "i32", n: "i32" },
    (f) => {
      const { by, apart, n } = f.p;
      const pass = f.local("i32");
      const v = f.locals("v128", size);
      const [best, done, hit] = f.locals("v128", 3);
      const [r, t] = [f.locals("v128", 4), f.locals("v128", 4)];
      const row = f.locals("i32", 4);
      const bits = f.local("i64");
      const taken = f32x4.splat(f32.const(-1));
      const byRows = (): Stmt[] => [
        row[0].set(by),
        ...[1, 2, 3].map((l) => row[l].set(add(row[l - 1], apart))),
        ...range(size / 4).flatMap((tile) => {
          const { first, rows: turned } = transposed(r, t);
          return [
            ...r.map((lane, l) => lane.set(v128.load(row[l], 16 * tile))),
            first,
            ...turned.map((x, i) => v[4 * tile + i].set(f32x4.abs(x))),
          ];
        }),
      ];
      const byColumns = (): Stmt[] => [
        row[0].set(by),
        ...v.flatMap((x) => [x.set(f32x4.abs(v128.load(row[0]))), row[0].set(add(row[0], apart))]),
      ];
      return [
        ...(rows ? byRows() : byColumns()),
        // What is chosen becomes -1, below every size; its sign tells it afterwards.
        forRange(
          pass,
          c(0),
          n,
          1,
          best.set(taken),
          ...v.map((x) => best.set(f32x4.pmax(best, x))),
          done.set(zero),
          ...v.flatMap((x) => [
            hit.set(v128.andnot(f32x4.eq(x, best), done)),
            done.set(v128.or(done, hit)),
            x.set(v128.bitselect(taken, x, hit)),
          ]),
        ),
        bits.set(i64.const(0n)),
        ...v.map((x, i) => bits.set(i64.or(bits, i64.shl(i64.extendI32u(i32x4.bitmask(x)), i64.const(BigInt(4 * i)))))),
        f.ret(bits),
      ];
    },
    "i64",
    false,
  );
}

/** Bits of one run among others: bit `spread` i of `bits` says that entry i is kept. */
interface Chosen {
  readonly element: Local<"i32">;
  readonly bits: Local<"i64">;
  /** log2 of the spread: 0, or 2 where four units were searched at once */
  readonly shift: Local<"i32">;
  readonly run: Local<"i32">;
  readonly unit: Local<"i32">;
}

interface Maker {
  readonly p: Axis & { readonly by: Local<"i32"> };
  local(type: "i32"): Local<"i32">;
  local(type: "i64"): Local<"i64">;
}

function emit({ shared }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const choose = addChoose(m);
  const four = FAST.map((size) => ({
    size,
    rows: addChooseFour(m, size, true),
    columns: addChooseFour(m, size, false),
  }));
  /** `body` for the runs of the units `from` .. `to`; the body may use up `bits`. */
  const overRuns = (f: Maker, body: (chosen: Chosen) => Stmt): Stmt => {
    const { outer, inner, innerStride, step, runs, from, to, by, n } = f.p;
    const [unit, element, run, lane, shift, start, side, size] = Array.from({ length: 8 }, () => f.local("i32"));
    const [bits, word] = [f.local("i64"), f.local("i64")];
    const first = (): Expr<"i32"> =>
      add(i32.mul(i32.divu(unit, inner), outer), i32.mul(i32.remu(unit, inner), innerStride));
    const rows = i32.eq(step, c(1));
    const word4 = (k: number): Stmt => {
      const { size: s, rows: byRows, columns } = four[k];
      const address = at(by, start, 2);
      const some = when(
        rows,
        word.set(byRows.call(address, i32.shl(outer, c(2)), n)),
        word.set(columns.call(address, i32.shl(step, c(2)), n)),
      );
      return k === four.length - 1 ? some : when(i32.eq(f.p.m, c(s)), some, word4(k + 1));
    };
    const known = FAST.map((s) => i32.eq(f.p.m, c(s))).reduce((a, b) => i32.or(a, b));
    // Units that lie side by side, or rows whose entries do.
    const even = i32.and(i32.eq(inner, c(1)), i32.or(rows, i32.eq(outer, c(1))));
    const [others, which] = [f.local("i32"), f.local("i32")];
    return seq(
      others.set(from),
      when(
        i32.and(known, even),
        seq(
          shift.set(c(2)),
          side.set(outer),
          size.set(i32.mul(f.p.m, step)),
          others.set(i32.sub(to, i32.and(i32.sub(to, from), c(3)))),
          forRange(
            unit,
            from,
            others,
            4,
            start.set(first()),
            forRange(
              run,
              c(0),
              runs,
              1,
              word4(0),
              element.set(start),
              forRange(
                lane,
                c(0),
                c(4),
                1,
                bits.set(i64.and(i64.shru(word, i64.extendI32u(lane)), i64.const(0x1111111111111111n))),
                which.set(add(unit, lane)),
                body({ element, bits, shift, run, unit: which }),
                element.set(add(element, side)),
              ),
              start.set(add(start, size)),
            ),
          ),
        ),
      ),
      shift.set(c(0)),
      forRange(
        unit,
        others,
        to,
        1,
        element.set(first()),
        forRange(
          run,
          c(0),
          runs,
          1,
          bits.set(choose.call(at(by, element, 2), i32.shl(step, c(2)), n, f.p.m)),
          body({ element, bits, shift, run, unit }),
          element.set(add(element, i32.mul(f.p.m, step))),
        ),
      ),
    );
  };
  const next = ({ bits, shift }: Chosen): Stmt => bits.set(i64.shru(bits, i64.extendI32u(i32.shl(c(1), shift))));
  const isKept = ({ bits }: Chosen): Expr<"i32"> => i32.and(i32.wrap(bits), c(1));

  m.func("mask", { by: "i32", bits: "i32", ...AXIS, ...RANGE }, (f) => {
    const [i, place] = f.locals("i32", 2);
    return overRuns(f, (chosen) =>
      seq(
        place.set(add(f.p.bits, chosen.element)),
        forRange(i, c(0), f.p.m, 1, i32.store8(place, isKept(chosen)), next(chosen), place.set(add(place, f.p.step))),
      ),
    );
  });
  m.func("prune", { by: "i32", x: "i32", rest: "f32", out: "i32", ...AXIS, ...RANGE }, (f) => {
    const [i, offset] = f.locals("i32", 2);
    const value = f.local("f32");
    const { x, rest, out, step } = f.p;
    return overRuns(f, (chosen) =>
      seq(
        offset.set(i32.shl(chosen.element, c(2))),
        forRange(
          i,
          c(0),
          f.p.m,
          1,
          value.set(f32.load(add(x, offset))),
          f32.store(add(out, offset), select(value, f32.mul(rest, value), isKept(chosen))),
          next(chosen),
          offset.set(add(offset, i32.shl(step, c(2)))),
        ),
      ),
    );
  });
  m.func("pack", { by: "i32", offsets: "i32", values: "i32", slots: "i32", stride: "i32", ...AXIS, ...RANGE }, (f) => {
    const { by, offsets, values, slots, stride, step, runs, n } = f.p;
    const [slot, place, i, end, column] = f.locals("i32", 5);
    const put = (k: Expr<"i32">, value: Expr<"f32">): Stmt =>
      seq(
        i32.store8(add(offsets, place), i32.sub(k, i32.mul(i32.shru(slot, c(2)), stride))),
        f32.store(at(values, place, 2), value),
        slot.set(add(slot, c(1))),
        place.set(add(place, c(1))),
      );
    return overRuns(f, ({ element, bits, shift, run, unit }) => {
      const lowest = i32.shru(i32.wrap(i64.ctz(bits)), shift);
      const base = i32.mul(run, f.p.m);
      return seq(
        slot.set(i32.mul(run, n)),
        place.set(add(i32.mul(unit, slots), slot)),
        whileLoop(
          i32.eqz(i64.eqz(bits)),
          column.set(lowest),
          put(add(base, column), f32.load(at(by, add(element, i32.mul(column, step)), 2))),
          bits.set(i64.and(bits, i64.sub(bits, i64.const(1n)))),
        ),
        // Fewer than N are chosen where there are NaNs; after the last run comes the unit's padding.
        end.set(i32.mul(add(run, c(1)), n)),
        end.set(select(slots, end, i32.eq(add(run, c(1)), runs))),
        forRange(i, slot, end, 1, put(base, f32.const(0))),
      );
    });
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
  [4, 8],
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

/**
 * [outer units, runs m, kernel] along the middle axis, or [runs m, rest] along the first; with ties. With `side`, of the
 * sizes that are searched for four units at once, and units enough for that.
 */
function drawCase(draw: Draw, side = false): Drawn {
  const patterns = PATTERNS.filter(([, m]) => !side || FAST.some((s) => s === m));
  const [n, m] = patterns[draw.int(0, patterns.length - 1)];
  const runs = draw.int(1, 3);
  const along = draw.int(0, 1) === 0;
  const [units, kernel] = side ? [draw.int(4, 11), 1] : [draw.int(1, 11), draw.int(1, 3)];
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

const dense = (name: string, side: boolean): Trial => ({
  name,
  run(draw, box): readonly Comparison[] {
    const d = drawCase(draw, side);
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
});

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
  trials: [dense("mask and prune", false), dense("mask and prune, four units at once", true), packed],
};
