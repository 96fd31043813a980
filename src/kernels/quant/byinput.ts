/**
 * y[out] = W x over listed inputs for a group-quantised W stored input by input (byinput-plain.ts), through 16-bit
 * integer products.
 *
 * `list` cuts the active inputs into batches of up to eight of one group and quantises a batch's values to at most
 * 32767; `active` sums a batch exactly in 32 bits and adds scale · sum in f32, batch after batch: the same bits however
 * the outputs are split. What a batch costs apart from its products is one scale, one conversion and one sum for each
 * output, so that few active inputs in small groups (three in a group of 32 at 90 % zeros) gain bytes but little time.
 *
 * One thread, 2048 x 5504, weights not in any cache, us at 50 / 70 / 90 % zeros: f32 1466 / 844 / 286, bf16 899 / 559 /
 * 190, int8 (groups of 128) 756 / 466 / 170, int4 636 / 400 / 151, in groups of 32 735 / 497 / 279.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import { storeLanes } from "../sparse/panels.ts";
import {
  brIf,
  type Expr,
  f32,
  f32x4,
  forRange,
  i16x8,
  i32,
  i32x4,
  type Local,
  label,
  loop,
  ModuleBuilder,
  type Stmt,
  select,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { BLOCK } from "./byinput-plain.ts";
import { byInputPlaces, codeFunctions, emitCodes } from "./codes.ts";
import { bitsOf, hasZeros, type QuantType } from "./format.ts";
import { LEAST_INPUT, NIBBLE_SHIFT, nibbles } from "./gemv.ts";
import { byInputTrials } from "./trials.ts";

const { add, mul, shl, sub } = i32;
const n = i32.const;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const zero = v128.const32(0, 0, 0, 0);

/** Inputs of a batch, most first; all even, since they are multiplied in pairs. */
const TOGETHER = [8, 4, 2] as const;
const MOST = TOGETHER[0];
const TOP = 32767;

/**
 * A batch, 64 bytes: group (i32), inputs (2, 4 or 8), scale (f32), sum of the quantised values (i32), eight inputs of the
 * group (i32), four pairs of 16-bit values. Inputs that fill it up have the value 0.
 */
const AT = { group: 0, count: 4, scale: 8, sum: 12, rows: 16, pairs: 48 } as const;
const BATCH = 64;

function emitList(m: ModuleBuilder): void {
  const params = { list: "i32", values: "i32", count: "i32", group: "i32", batches: "i32" } as const;
  m.func(
    "list",
    params,
    ({ p, locals, ret }) => {
      const [i, j, end, group, at, sum, code, count, made] = locals("i32", 9);
      const [max, inverse] = locals("f32", 2);
      const entry = (k: Expr<"i32">): Expr<"i32"> => i32.load(add(p.list, shl(k, n(2))));
      const value = f32.load(add(p.values, shl(j, n(2))));
      const small = f32.lt(max, f32.const(LEAST_INPUT));
      return [
        at.set(p.batches),
        whileLoop(
          i32.lt(i, p.count),
          group.set(i32.divu(entry(i), p.group)),
          // as many as follow in the same group
          max.set(f32.const(0)),
          end.set(add(i, n(MOST))),
          when(i32.gt(end, p.count), end.set(p.count)),
          j.set(i),
          whileLoop(
            i32.lt(j, end),
            when(i32.ne(i32.divu(entry(j), p.group), group), end.set(j)),
            when(i32.lt(j, end), max.set(f32.max(max, f32.abs(value)))),
            j.set(add(j, n(1))),
          ),
          count.set(sub(end, i)),
          count.set(select(n(8), select(n(4), n(2), i32.gt(count, n(2))), i32.gt(count, n(4)))),
          inverse.set(select(f32.const(0), f32.div(f32.const(TOP), max), small)),
          i32.store(at, group, AT.group),
          i32.store(at, count, AT.count),
          f32.store(at, select(f32.const(0), f32.div(max, f32.const(TOP)), small), AT.scale),
          sum.set(n(0)),
          forRange(
            j,
            i,
            add(i, count),
            1,
            code.set(n(0)),
            when(
              i32.lt(j, end),
              seq(
                code.set(i32.truncSatF32(f32.nearest(f32.mul(value, inverse)))),
                i32.store(add(at, shl(sub(j, i), n(2))), sub(entry(j), mul(group, p.group)), AT.rows),
              ),
              // the batch's first input once more
              i32.store(add(at, shl(sub(j, i), n(2))), sub(entry(i), mul(group, p.group)), AT.rows),
            ),
            i32.store16(add(at, shl(sub(j, i), n(1))), code, AT.pairs),
            sum.set(add(sum, code)),
          ),
          i32.store(at, sum, AT.sum),
          at.set(add(at, n(BATCH))),
          made.set(add(made, n(1))),
          i.set(end),
        ),
        ret(made),
      ];
    },
    "i32",
  );
}

/** Two vectors of 16-bit lanes as pairs: the lower lanes, the upper lanes. */
const pairLow = (a: Expr<"v128">, b: Expr<"v128">): Expr<"v128"> =>
  v128.shuffle(a, b, [0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23]);
const pairHigh = (a: Expr<"v128">, b: Expr<"v128">): Expr<"v128"> =>
  v128.shuffle(a, b, [8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31]);

function emitActive(m: ModuleBuilder, type: QuantType): void {
  const small = bitsOf(type) === 4;
  const params = {
    w: "i32",
    batches: "i32",
    count: "i32",
    group: "i32",
    sums: "i32",
    y: "i32",
    out: "i32",
    from: "i32",
    to: "i32",
  } as const;
  /** outputs of a step, bytes of their codes, vectors of their sums */
  const step = small ? 32 : 16;
  const stepBytes = 16;
  const vectors = step / 4;
  m.func("active", params, ({ p, locals }) => {
    const [batch, last, wide, rowBytes, groupBytes, base, at, start, end, scales, zeros, left, target] = locals(
      "i32",
      13,
    );
    const rows = locals("i32", MOST);
    const acc = locals("v128", vectors);
    const [xs, a, b, c, scale] = locals("v128", 5);
    const sumProducts = (i: number, part: Expr<"v128">): Stmt =>
      acc[i].set(i32x4.add(acc[i], i32x4.dotI16x8(part, xs)));
    const pair = (q: number): Stmt[] => {
      const [one, two] = [rows[2 * q], rows[2 * q + 1]];
      const head = xs.set(v128.load32splat(batch, AT.pairs + 4 * q));
      if (small) {
        return [
          head,
          a.set(v128.load(one)),
          b.set(v128.load(two)),
          c.set(pairLow(a, b)),
          ...nibbles(c).map((part, i) => sumProducts(i, part)),
          c.set(pairHigh(a, b)),
          ...nibbles(c).map((part, i) => sumProducts(4 + i, part)),
        ];
      }
      return [
        head,
        ...range(2).flatMap((h) => [
          a.set(v128.load8x8s(one, 8 * h)),
          b.set(v128.load8x8s(two, 8 * h)),
          sumProducts(2 * h, pairLow(a, b)),
          sumProducts(2 * h + 1, pairHigh(a, b)),
        ]),
      ];
    };
    const lift = (i: number): number => (small ? NIBBLE_SHIFT[i % 4] : 0);
    const raised = (value: Expr<"v128">, i: number): Expr<"v128"> =>
      lift(i) > 0 ? i32x4.shl(value, n(lift(i))) : value;
    /** takes off what the zero points of four outputs add; `c` holds the sum of the values */
    const correct = (i: number): Stmt[] => {
      if (type === "int8") return [];
      if (type === "int4") return [acc[i].set(i32x4.sub(acc[i], raised(i32x4.shl(c, n(3)), i)))];
      const bytes = v128.load32zero(zeros, 4 * i);
      const wider = small ? i32x4.extendLowU(i16x8.extendLowU(bytes)) : i32x4.extendLowS(i16x8.extendLowS(bytes));
      return [acc[i].set(i32x4.sub(acc[i], raised(i32x4.mul(wider, c), i)))];
    };
    const pass = (count: number): Stmt => {
      const again = label("columns");
      const used = rows.slice(0, count);
      return seq(
        ...used.map((row, r) => row.set(add(base, mul(i32.load(batch, AT.rows + 4 * r), rowBytes)))),
        at.set(start),
        loop(
          again,
          ...acc.map((v) => v.set(zero)),
          ...range(count / 2).flatMap(pair),
          ...(type === "int8" ? [] : [c.set(v128.load32splat(batch, AT.sum))]),
          scale.set(v128.load32splat(batch, AT.scale)),
          ...acc.flatMap((v, i) => [
            ...correct(i),
            v128.store(
              at,
              f32x4.add(
                v128.load(at, 16 * i),
                f32x4.mul(
                  f32x4.convertI32x4s(v),
                  f32x4.mul(
                    v128.load(scales, 16 * i),
                    lift(i) > 0 ? f32x4.mul(scale, f32x4.splat(f32.const(2 ** -lift(i)))) : scale,
                  ),
                ),
              ),
              16 * i,
            ),
          ]),
          ...used.map((row) => row.set(add(row, n(stepBytes)))),
          scales.set(add(scales, n(4 * step))),
          ...(hasZeros(type) ? [zeros.set(add(zeros, n(step)))] : []),
          brIf(again, i32.ltu(at.tee(add(at, n(4 * step))), end)),
        ),
      );
    };
    const first = shl(p.from, n(5));
    return when(
      i32.lt(p.from, p.to),
      seq(
        wide.set(shl(i32.shru(add(p.out, n(BLOCK - 1)), n(5)), n(5))),
        rowBytes.set(small ? i32.shru(wide, n(1)) : wide),
        groupBytes.set(add(mul(wide, n(hasZeros(type) ? 5 : 4)), mul(p.group, rowBytes))),
        start.set(add(p.sums, shl(first, n(2)))),
        end.set(add(p.sums, shl(shl(p.to, n(5)), n(2)))),
        forRange(at, start, end, 16, v128.store(at, zero)),
        batch.set(p.batches),
        last.set(add(p.batches, mul(p.count, n(BATCH)))),
        whileLoop(
          i32.ltu(batch, last),
          base.set(add(p.w, mul(i32.load(batch, AT.group), groupBytes))),
          scales.set(add(base, shl(first, n(2)))),
          zeros.set(add(add(base, shl(wide, n(2))), first)),
          base.set(add(add(base, mul(wide, n(hasZeros(type) ? 5 : 4))), small ? i32.shru(first, n(1)) : first)),
          ...TOGETHER.map((count) => when(i32.eq(i32.load(batch, AT.count), n(count)), pass(count))),
          batch.set(add(batch, n(BATCH))),
        ),
        target.set(add(p.y, shl(first, n(2)))),
        left.set(sub(p.out, first)),
        forRange(
          at,
          start,
          end,
          16,
          when(i32.gt(left, n(0)), seq(a.set(v128.load(at)), storeLanes(target, a as Local<"v128">, left))),
          target.set(add(target, n(16))),
          left.set(sub(left, n(4))),
        ),
      ),
    );
  });
}

const BLOCKS = `from, to: blocks of ${BLOCK} outputs`;

const byInput = (type: QuantType): Kernel => ({
  name: `gemv-${type}-byinput`,
  family: "quant",
  summary: `y = W x over listed inputs, W ${type} with a scale${
    hasZeros(type) ? " and a zero point" : ""
  } for each group of inputs, stored input by input, by 16-bit integer products`,
  functions: {
    list: {
      params: ["list", "values", "count", "group", "batches"],
      does:
        "cuts the active inputs (rising, i32) and their values (f32) into batches of one group and quantises them; returns " +
        "how many; batches gets batchBytes(count) at most",
    },
    active: {
      params: ["w", "batches", "count", "group", "sums", "y", "out", "from", "to"],
      does:
        "y[out] = the sum over the batches' inputs of value times W's column, W as quantise or packByInput left it; sums " +
        `is room for f32 [out rounded up to ${BLOCK}]; ${BLOCKS}`,
    },
    ...codeFunctions("byInputBytes(type, out, in, group)", BLOCKS),
  },
  emit({ shared }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    emitList(m);
    emitActive(m, type);
    emitCodes(m, type, byInputPlaces(type));
    return m.bytes();
  },
  trials: byInputTrials(type),
});

export const gemvByInputInt8 = byInput("int8");
export const gemvByInputUint8 = byInput("uint8");
export const gemvByInputInt4 = byInput("int4");
export const gemvByInputUint4 = byInput("uint4");
