/**
 * The layout of convolutional networks at inference, and what its kernels share.
 *
 * Activations are planes: channel c of an image lies at `base + 4 * c * plane`, rows follow one another without gaps,
 * and `plane` is the stride in floats from channel to channel. Every layer reads and writes this layout, so nothing is
 * repacked between layers. Floats between the last pixel and the next plane may hold anything, and kernels may write
 * there: a 1x1 convolution computes whole vectors and needs no remainder. `planeStride` is an odd number of cache lines,
 * since the planes of a 112 x 112 or 56 x 56 image would otherwise fall into a few sets of the first-level cache.
 *
 * Every convolution ends with min(max(sum, lo), hi): ReLU is lo = 0, ReLU6 [0, 6], none (-Infinity, Infinity). NaN stays.
 */
import {
  brIf,
  type Expr,
  type FunctionScope,
  f32x4,
  i32,
  type Label,
  type Local,
  type Stmt,
  select,
  seq,
  v128,
} from "../wasm/asm.ts";

export type I32 = Expr<"i32">;
export const c = i32.const;
export const { add, sub, mul, shl, lt, ltu, gt } = i32;
/** pointer + (index << shift) */
export const at = (pointer: I32, index: I32, shift: number): I32 => add(pointer, shl(index, c(shift)));
export const min = (a: I32, b: I32): I32 => select(a, b, lt(a, b));
export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Floats of a cache line, and of the widest column tile. */
export const LINE = 16;

/** Floats from one plane of `pixels` to the next. */
export function planeStride(pixels: number): number {
  const lines = Math.ceil(pixels / LINE);
  return LINE * (lines % 2 === 0 ? lines + 1 : lines);
}

/** Parameters of a kernel function, all i32 but the bounds of the activation. */
export type Params<L extends string> = { readonly [K in L]: K extends "lo" | "hi" ? "f32" : "i32" };
export const params = <const L extends readonly string[]>(list: L): Params<L[number]> =>
  Object.fromEntries(list.map((name) => [name, name === "lo" || name === "hi" ? "f32" : "i32"])) as Params<L[number]>;

/** The sum limited to [lo, hi]; both bounds are splatted. NaN stays NaN. */
export const clamped = (sum: Expr<"v128">, lo: Local<"v128">, hi: Local<"v128">): Expr<"v128"> =>
  f32x4.pmin(f32x4.pmax(sum, lo), hi);

/** What hands out locals: the scope of a function under construction. */
export type Scope = Pick<FunctionScope<Record<string, "i32">, "void">, "local" | "locals">;

/** Locals for the bounds of an activation, and what sets them. */
export function bounds(
  f: Scope,
  lo: Expr<"f32">,
  hi: Expr<"f32">,
): { low: Local<"v128">; high: Local<"v128">; set: Stmt } {
  const [low, high] = f.locals("v128", 2);
  return { low, high, set: seq(low.set(f32x4.splat(lo)), high.set(f32x4.splat(hi))) };
}

/**
 * Makes exits to `target` that are never taken: `pointer` is a multiple of 4. Between two exits V8 11 first does all
 * loads and then all sums, so an exit bounds how many values are alive at once and keeps a tile in registers. Every exit
 * asks another question, since a branch whose answer is known from the one before it is removed.
 */
export function exitsTo(target: Label, pointer: I32): () => Stmt {
  let asked = 1;
  return () => {
    asked += 2;
    return brIf(target, i32.eq(pointer, c(asked)));
  };
}

/** Lanes l where `holds(l)`, as a mask. */
export const laneMask = (holds: (lane: number) => boolean): Expr<"v128"> => {
  const bits = (lane: number): number => (holds(lane) ? -1 : 0);
  return v128.const32(bits(0), bits(1), bits(2), bits(3));
};
