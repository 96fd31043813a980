/**
 * Y[T, out] = X[T, in] · W^T for very few tokens and a group-quantised W (panel.ts), through 16-bit integer products.
 *
 * `prepare` quantises each group of inputs to whole numbers with one scale: up to 32767 for 8-bit weights, 4095 for 4-bit
 * ones, whose nibbles are multiplied where they lie (times 1, 16 or 256), so that a pair of inputs costs one mask instead
 * of a shift and a mask. Sums of a group fit 32 bits (255 · 32767 · 128, and 15 · 256 · 4095 · 128), hence the largest
 * group; they are exact, and what a zero point adds is taken off them exactly. Each group then adds scale · sum in f32, in
 * order: the same bits however panels are split. The error against the dequantised weight is that of the inputs: half
 * a step of max |x| / 32767 or / 4095 of the group.
 *
 * One thread, 2048 x 5504, weights not in any cache, groups of 128, G weights/s: f32 5 (limited by memory), bf16 10,
 * int8 17.5, int4 25.8; with zero points 17.4 and 24.7; groups of 32 15.5 and 24.4.
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
import { codeFunctions, emitCodes, panelPlaces } from "./codes.ts";
import { bitsOf, hasZeros, type QuantType } from "./format.ts";
import { headBytes, PANEL } from "./panel.ts";
import { gemvTrials } from "./trials.ts";

const { add, mul, shl, sub } = i32;
const n = i32.const;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
type I32 = Expr<"i32">;

/** Bytes ahead of a group of prepared inputs: scale (f32), sum (i32), sum times -8 (i32). */
const INPUT_HEAD = 16;
/** Groups of smaller inputs count as zeros: the inverse of their scale may overflow. */
export const LEAST_INPUT = 2 ** -100;
const VECTORS = PANEL / 4;
const UNROLL = 4;

/** Largest quantised input. */
export const inputTop = (type: QuantType): number => (bitsOf(type) === 8 ? 32767 : 4095);

/** Bytes of prepared inputs of one token. */
export const preparedBytes = (width: number, group: number): number =>
  Math.ceil(width / group) * (INPUT_HEAD + 2 * group);

const groupsOf = (width: I32, group: I32): I32 => i32.divu(sub(add(width, group), n(1)), group);
const groupBytes = (type: QuantType, group: I32): I32 =>
  add(n(headBytes(type)), mul(group, n((PANEL * bitsOf(type)) / 8)));

function emitPrepare(m: ModuleBuilder, type: QuantType): void {
  const params = { x: "i32", ldx: "i32", in: "i32", group: "i32", tokens: "i32", prepared: "i32" } as const;
  m.func("prepare", params, ({ p, locals }) => {
    const [t, k, i, at, source, end, target, sum, code, last] = locals("i32", 10);
    const [max, inverse] = locals("f32", 2);
    const [v, sums, other] = locals("v128", 3);
    const top = f32.const(inputTop(type));
    const small = f32.lt(max, f32.const(LEAST_INPUT));
    const along = (step: number, ...body: Stmt[]): Stmt =>
      seq(i.set(source), whileLoop(i32.ltu(i, end), ...body, i.set(add(i, n(step)))));
    const fold = (x: Local<"v128">, op: (a: Expr<"f32">, b: Expr<"f32">) => Expr<"f32">): Expr<"f32"> =>
      op(op(f32x4.extract(x, 0), f32x4.extract(x, 1)), op(f32x4.extract(x, 2), f32x4.extract(x, 3)));
    const codes = (offset: number): Expr<"v128"> =>
      i32x4.truncSatF32x4s(f32x4.nearest(f32x4.mul(v128.load(i, offset), f32x4.splat(inverse))));
    const scales = seq(
      inverse.set(select(f32.const(0), f32.div(top, max), small)),
      f32.store(at, select(f32.const(0), f32.div(max, top), small)),
    );
    const whole = seq(
      v.set(v128.const32(0, 0, 0, 0)),
      along(16, v.set(f32x4.max(v, f32x4.abs(v128.load(i))))),
      max.set(fold(v, f32.max)),
      scales,
      sums.set(v128.const32(0, 0, 0, 0)),
      along(
        32,
        v.set(codes(0)),
        other.set(codes(16)),
        sums.set(i32x4.add(sums, i32x4.add(v, other))),
        v128.store(target, i16x8.narrowS(v, other)),
        target.set(add(target, n(16))),
      ),
      sum.set(
        add(add(i32x4.extract(sums, 0), i32x4.extract(sums, 1)), add(i32x4.extract(sums, 2), i32x4.extract(sums, 3))),
      ),
    );
    const ragged = seq(
      max.set(f32.const(0)),
      along(4, max.set(f32.max(max, f32.abs(f32.load(i))))),
      scales,
      sum.set(n(0)),
      along(
        4,
        code.set(i32.truncSatF32(f32.nearest(f32.mul(f32.load(i), inverse)))),
        sum.set(add(sum, code)),
        i32.store16(target, code),
        target.set(add(target, n(2))),
      ),
      whileLoop(i32.ltu(target, last), i32.store16(target, n(0)), target.set(add(target, n(2)))),
    );
    return [
      at.set(p.prepared),
      forRange(
        t,
        n(0),
        p.tokens,
        1,
        k.set(n(0)),
        whileLoop(
          i32.lt(k, p.in),
          source.set(add(p.x, shl(add(mul(t, p.ldx), k), n(2)))),
          target.set(add(at, n(INPUT_HEAD))),
          last.set(add(target, shl(p.group, n(1)))),
          k.set(add(k, p.group)),
          end.set(add(source, shl(p.group, n(2)))),
          when(i32.le(k, p.in), whole, seq(end.set(sub(end, shl(sub(k, p.in), n(2)))), ragged)),
          i32.store(at, sum, 4),
          i32.store(at, mul(sum, n(-8)), 8),
          i32.store(at, n(0), 12),
          at.set(last),
        ),
      ),
    ];
  });
}

const word = (bits: number): Expr<"v128"> => {
  const both = bits | (bits << 16);
  return v128.const32(both, both, both, both);
};

/** Nibble p of each 16-bit word where it lies; the last one is moved down because the sign bit is there. */
export const nibbles = (v: Local<"v128">): Expr<"v128">[] => [
  v128.and(v, word(0x000f)),
  v128.and(v, word(0x00f0)),
  v128.and(v, word(0x0f00)),
  i16x8.shru(v, n(12)),
];
/** log2 of what nibble p is too large by */
export const NIBBLE_SHIFT = [0, 4, 8, 0] as const;

function emitRows(m: ModuleBuilder, type: QuantType): void {
  const params = {
    w: "i32",
    prepared: "i32",
    in: "i32",
    group: "i32",
    y: "i32",
    ldy: "i32",
    out: "i32",
    tokens: "i32",
    from: "i32",
    to: "i32",
  } as const;
  const small = bitsOf(type) === 4;
  m.func("rows", params, ({ p, locals }) => {
    const [panel, t, g, groups, w, codes, head, x, xEnd, blockBytes, inputBytes, y, left] = locals("i32", 13);
    const acc = locals("v128", VECTORS);
    const total = locals("v128", VECTORS);
    const [xs, v, scale] = locals("v128", 3);
    const again = label("pairs");
    const wide = small ? PANEL : 2 * PANEL;
    const step = (u: number): Stmt =>
      seq(
        xs.set(v128.load32splat(x, 4 * u)),
        ...(small
          ? [
              v.set(v128.load(codes, wide * u)),
              ...nibbles(v).map((part, i) => acc[i].set(i32x4.add(acc[i], i32x4.dotI16x8(part, xs)))),
            ]
          : acc.map((a, i) => a.set(i32x4.add(a, i32x4.dotI16x8(v128.load8x8s(codes, wide * u + 8 * i), xs))))),
      );
    const lift = (i: number): number => (small ? NIBBLE_SHIFT[i] : 0);
    const raised = (value: Expr<"v128">, i: number): Expr<"v128"> =>
      lift(i) > 0 ? i32x4.shl(value, n(lift(i))) : value;
    /** sums start at what the common zero point of 4 bits takes off */
    const start = (i: number): Stmt =>
      acc[i].set(type === "int4" ? raised(v128.load32splat(head, 8), i) : v128.const32(0, 0, 0, 0));
    const half = small ? [i16x8.extendLowU, i16x8.extendHighU] : [i16x8.extendLowS, i16x8.extendHighS];
    const zeroPoints = seq(
      v.set(v128.load32splat(head, 4)),
      ...range(VECTORS).flatMap((i) => [
        scale.set(half[i >> 1](v128.load(w, 4 * PANEL))),
        scale.set((i % 2 === 0 ? i32x4.extendLowS : i32x4.extendHighS)(scale)),
        acc[i].set(i32x4.sub(acc[i], raised(i32x4.mul(scale, v), i))),
      ]),
    );
    const flush = seq(
      scale.set(v128.load32splat(head)),
      ...range(VECTORS).map((i) => {
        const factor = lift(i) > 0 ? f32x4.mul(scale, f32x4.splat(f32.const(2 ** -lift(i)))) : scale;
        return total[i].set(
          f32x4.add(total[i], f32x4.mul(f32x4.convertI32x4s(acc[i]), f32x4.mul(v128.load(w, 16 * i), factor))),
        );
      }),
    );
    return [
      groups.set(groupsOf(p.in, p.group)),
      blockBytes.set(groupBytes(type, p.group)),
      inputBytes.set(mul(groups, add(shl(p.group, n(1)), n(INPUT_HEAD)))),
      forRange(
        panel,
        p.from,
        p.to,
        1,
        left.set(sub(p.out, mul(panel, n(PANEL)))),
        forRange(
          t,
          n(0),
          p.tokens,
          1,
          w.set(add(p.w, mul(mul(panel, groups), blockBytes))),
          head.set(add(p.prepared, mul(t, inputBytes))),
          ...total.map((a) => a.set(v128.const32(0, 0, 0, 0))),
          forRange(
            g,
            n(0),
            groups,
            1,
            ...range(VECTORS).map(start),
            codes.set(add(w, n(headBytes(type)))),
            x.set(add(head, n(INPUT_HEAD))),
            xEnd.set(add(x, shl(p.group, n(1)))),
            loop(
              again,
              ...range(UNROLL).map(step),
              codes.set(add(codes, n(wide * UNROLL))),
              brIf(again, i32.ne(x.tee(add(x, n(4 * UNROLL))), xEnd)),
            ),
            ...(hasZeros(type) ? [zeroPoints] : []),
            flush,
            head.set(xEnd),
            w.set(add(w, blockBytes)),
          ),
          y.set(add(p.y, shl(add(mul(t, p.ldy), mul(panel, n(PANEL))), n(2)))),
          ...total.map((a, i) => when(i32.gt(left, n(4 * i)), storeLanes(add(y, n(16 * i)), a, sub(left, n(4 * i))))),
        ),
      ),
    ];
  });
}

const PANELS = `from, to: panels of ${PANEL} outputs`;

const gemvQuant = (type: QuantType): Kernel => ({
  name: `gemv-${type}-panel16`,
  family: "quant",
  summary: `Y[T, out] = X[T, in] W^T for very few tokens, W ${type} with a scale${
    hasZeros(type) ? " and a zero point" : ""
  } for each group of inputs, by 16-bit integer products`,
  functions: {
    prepare: {
      params: ["x", "ldx", "in", "group", "tokens", "prepared"],
      does:
        `quantises X[tokens, in] group by group to at most ${inputTop(type)}; prepared gets preparedBytes(in, group) a ` +
        "token; group is a multiple of 8 up to 128, here and below",
    },
    rows: {
      params: ["w", "prepared", "in", "group", "y", "ldy", "out", "tokens", "from", "to"],
      does: `Y[tokens, out] = X[tokens, in] · W^T, W as quantise or packQuantised left it, X prepared; ${PANELS}`,
    },
    ...codeFunctions("quantisedBytes(type, out, in, group)", PANELS),
  },
  emit({ shared }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    emitPrepare(m, type);
    emitRows(m, type);
    emitCodes(m, type, panelPlaces(type));
    return m.bytes();
  },
  trials: gemvTrials(type),
});

export const gemvInt8 = gemvQuant("int8");
export const gemvUint8 = gemvQuant("uint8");
export const gemvInt4 = gemvQuant("int4");
export const gemvUint4 = gemvQuant("uint4");
