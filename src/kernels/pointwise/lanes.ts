/**
 * One set of f32 operations for four lanes and for one, so that a formula is written once and the scalar tail of a
 * loop gives the same bits as its vector body. Wherever a range is cut, an element then comes out the same.
 *
 * No multiply-add is fused here: that would make the bits depend on the engine.
 */
import type { Expr, Local, Stmt, ValType } from "../wasm/asm.ts";
import { after, f32, f32x4, i16x8, i32, i32x4, select, v128 } from "../wasm/asm.ts";

/** What gives out locals: the scope of a function under construction. */
export interface Maker {
  local<T extends ValType>(type: T): Local<T>;
}

type Op1<A extends ValType, R extends ValType> = (a: Expr<A>) => Expr<R>;
type Op2<A extends ValType, R extends ValType> = (a: Expr<A>, b: Expr<A>) => Expr<R>;

/** f32 values of type `F` with 32-bit integers and truth values of type `I`. */
export interface Lanes<F extends "v128" | "f32" = "v128" | "f32", I extends "v128" | "i32" = "v128" | "i32"> {
  readonly type: F;
  readonly integer: I;
  /** bytes one value takes in memory */
  readonly bytes: 4 | 16;
  value(x: number): Expr<F>;
  bits(x: number): Expr<I>;
  load(address: Expr<"i32">, offset?: number): Expr<F>;
  store(address: Expr<"i32">, value: Expr<F>, offset?: number): Stmt;
  /** unsigned bytes, widened */
  loadBytes(address: Expr<"i32">, offset?: number): Expr<I>;
  /** unsigned 16-bit values, widened */
  loadHalves(address: Expr<"i32">, offset?: number): Expr<I>;
  /** stores the low 16 bits of integers in [0, 65535] */
  storeHalves(address: Expr<"i32">, value: Expr<I>, offset?: number): Stmt;
  /** the same number in every lane */
  splat(x: Expr<"f32">): Expr<F>;
  add: Op2<F, F>;
  sub: Op2<F, F>;
  mul: Op2<F, F>;
  div: Op2<F, F>;
  abs: Op1<F, F>;
  neg: Op1<F, F>;
  sqrt: Op1<F, F>;
  nearest: Op1<F, F>;
  /** x limited to [low, high]; NaN stays NaN */
  clamp(f: Maker, x: Expr<F>, low: number, high: number): Expr<F>;
  lt: Op2<F, I>;
  gt: Op2<F, I>;
  eq: Op2<F, I>;
  /** a where the truth value holds, else b */
  choose(a: Expr<F>, b: Expr<F>, truth: Expr<I>): Expr<F>;
  /** to an integer, towards zero; NaN becomes 0 */
  toInt: Op1<F, I>;
  fromInt: Op1<I, F>;
  asBits: Op1<F, I>;
  asFloat: Op1<I, F>;
  iadd: Op2<I, I>;
  isub: Op2<I, I>;
  iand: Op2<I, I>;
  ior: Op2<I, I>;
  ixor: Op2<I, I>;
  /** signed a > b, a truth value */
  igt: Op2<I, I>;
  ichoose(a: Expr<I>, b: Expr<I>, truth: Expr<I>): Expr<I>;
  /** is not zero, as a truth value */
  some: Op1<I, I>;
  shl(a: Expr<I>, by: number): Expr<I>;
  /** with the sign */
  shr(a: Expr<I>, by: number): Expr<I>;
  /** filled with zeros */
  shru(a: Expr<I>, by: number): Expr<I>;
}

export type Float = "v128" | "f32";
export type Int = "v128" | "i32";

const floatBits = (x: number): number => new Int32Array(new Float32Array([x]).buffer)[0];

export const four: Lanes<"v128", "v128"> = {
  type: "v128",
  integer: "v128",
  bytes: 16,
  value: (x) => four.bits(floatBits(x)),
  bits: (x) => v128.const32(x, x, x, x),
  load: v128.load,
  store: v128.store,
  loadBytes: (a, offset) => i32x4.extendLowU(i16x8.extendLowU(v128.load32zero(a, offset))),
  loadHalves: v128.load16x4u,
  storeHalves: (a, value, offset) => v128.store64(a, i16x8.narrowU(value, four.bits(0)), offset),
  splat: f32x4.splat,
  add: f32x4.add,
  sub: f32x4.sub,
  mul: f32x4.mul,
  div: f32x4.div,
  abs: f32x4.abs,
  neg: f32x4.neg,
  sqrt: f32x4.sqrt,
  nearest: f32x4.nearest,
  // pmin(a, b) is b < a ? b : a, hence a where a is NaN
  clamp: (_, x, low, high) => f32x4.pmin(f32x4.pmax(x, four.value(low)), four.value(high)),
  lt: f32x4.lt,
  gt: f32x4.gt,
  eq: f32x4.eq,
  choose: v128.bitselect,
  toInt: i32x4.truncSatF32x4s,
  fromInt: f32x4.convertI32x4s,
  asBits: (a) => a,
  asFloat: (a) => a,
  iadd: i32x4.add,
  isub: i32x4.sub,
  iand: v128.and,
  ior: v128.or,
  ixor: v128.xor,
  igt: i32x4.gt,
  ichoose: v128.bitselect,
  some: (a) => i32x4.ne(a, four.bits(0)),
  shl: (a, by) => i32x4.shl(a, i32.const(by)),
  shr: (a, by) => i32x4.shrs(a, i32.const(by)),
  shru: (a, by) => i32x4.shru(a, i32.const(by)),
};

export const one: Lanes<"f32", "i32"> = {
  type: "f32",
  integer: "i32",
  bytes: 4,
  value: f32.const,
  bits: i32.const,
  load: f32.load,
  store: f32.store,
  loadBytes: i32.load8u,
  loadHalves: i32.load16u,
  storeHalves: i32.store16,
  splat: (x) => x,
  add: f32.add,
  sub: f32.sub,
  mul: f32.mul,
  div: f32.div,
  abs: f32.abs,
  neg: f32.neg,
  sqrt: f32.sqrt,
  nearest: f32.nearest,
  clamp: (f, x, low, high) => {
    const v = f.local("f32");
    const raised = after(v.set(x), select(f32.const(low), v, f32.lt(v, f32.const(low))));
    return after(v.set(raised), select(f32.const(high), v, f32.lt(f32.const(high), v)));
  },
  lt: f32.lt,
  gt: f32.gt,
  eq: f32.eq,
  choose: select,
  toInt: i32.truncSatF32,
  fromInt: f32.convertI32s,
  asBits: i32.reinterpretF32,
  asFloat: f32.reinterpretI32,
  iadd: i32.add,
  isub: i32.sub,
  iand: i32.and,
  ior: i32.or,
  ixor: i32.xor,
  igt: i32.gt,
  ichoose: select,
  some: (a) => i32.ne(a, i32.const(0)),
  shl: (a, by) => i32.shl(a, i32.const(by)),
  shr: (a, by) => i32.shrs(a, i32.const(by)),
  shru: (a, by) => i32.shru(a, i32.const(by)),
};
