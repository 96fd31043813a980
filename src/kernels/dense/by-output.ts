/**
 * What the vector products that keep outputs in lanes share: copying a row-major weight [out, in] so that the weights of
 * neighbouring outputs lie together, and putting sums of eight outputs back into order.
 *
 * Two layouts, both in the stored element type and with zeros for outputs beyond the last of a block of 32:
 * `panel32` [out/32][in][32], one stream for dense products; `byinput` [in][32 * ceil(out/32)], where the weights of one
 * input lie together and can be skipped. Neither reorders elements within 32.
 */

import {
  type Expr,
  f32,
  f32x4,
  forRange,
  i32,
  type Local,
  type ModuleBuilder,
  type Stmt,
  v128,
  when,
} from "../wasm/asm.ts";
import { bytesOf, type ElementType, HALF_AFTER, HALF_BEFORE, shiftOf } from "./element.ts";

/** Outputs in a block. */
export const OUTPUTS = 32;
/** Inputs copied before the next output: their lines of the target stay in the first cache. */
const INPUTS = 64;

export type OutputLayout = "panel32" | "byinput";

export const outputBlocks = (out: number): number => Math.ceil(out / OUTPUTS);
/** Elements of the copy of a weight [out, in]. */
export const packedElements = (out: number, width: number): number => outputBlocks(out) * OUTPUTS * width;

const { add, mul, shl, lt } = i32;
const n = i32.const;
const min = (a: Expr<"i32">, b: Expr<"i32">, to: Local<"i32">): Stmt => {
  const set = to.set(a);
  return { type: "void", code: [set.code, when(lt(b, to), to.set(b)).code] };
};

/** Adds `pack`. */
export function addPack(m: ModuleBuilder, type: ElementType, layout: OutputLayout): void {
  const size = bytesOf(type);
  const bytes = (count: Expr<"i32">): Expr<"i32"> => shl(count, n(shiftOf(type)));
  const params = {
    w: "i32",
    ldw: "i32",
    out: "i32",
    in: "i32",
    packed: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("pack", params, ({ p, locals }) => {
    const [b, k, last, o, kk, source, target, step, base] = locals("i32", 9);
    const value = locals("i32", 1)[0];
    const load = size === 4 ? i32.load(source) : i32.load16u(source);
    const store = size === 4 ? i32.store(target, value) : i32.store16(target, value);
    const width = p.in;
    const wide = mul(i32.shrs(add(p.out, n(OUTPUTS - 1)), n(5)), n(OUTPUTS));
    return [
      step.set(layout === "panel32" ? n(OUTPUTS * size) : bytes(wide)),
      forRange(
        b,
        p.from,
        p.to,
        1,
        base.set(add(p.packed, mul(b, layout === "panel32" ? mul(width, n(OUTPUTS * size)) : n(OUTPUTS * size)))),
        forRange(
          k,
          n(0),
          width,
          INPUTS,
          min(add(k, n(INPUTS)), width, last),
          forRange(
            o,
            n(0),
            n(OUTPUTS),
            1,
            source.set(add(p.w, bytes(add(mul(add(mul(b, n(OUTPUTS)), o), p.ldw), k)))),
            target.set(add(add(base, mul(k, step)), bytes(o))),
            forRange(
              kk,
              k,
              last,
              1,
              value.set(n(0)),
              when(lt(add(mul(b, n(OUTPUTS)), o), p.out), value.set(load)),
              store,
              source.set(add(source, n(size))),
              target.set(add(target, step)),
            ),
          ),
        ),
      ),
    ];
  });
}

export const packFunction = (type: ElementType, layout: OutputLayout) => ({
  params: ["w", "ldw", "out", "in", "packed", "from", "to"],
  does:
    `copies W[out, in], row-major ${type} with a row stride in elements, to ` +
    (layout === "panel32" ? "[out/32][in][32]" : "[in][out rounded up to 32]") +
    "; zeros beyond out; from, to: blocks of 32 outputs",
});

/** Plain twin of `pack`. */
export function packPlain<A extends Float32Array | Uint16Array>(
  w: A,
  ldw: number,
  out: number,
  width: number,
  layout: OutputLayout,
): A {
  const wide = outputBlocks(out) * OUTPUTS;
  const make = w.constructor as new (length: number) => A;
  const packed = new make(wide * width);
  for (let o = 0; o < out; o++) {
    for (let k = 0; k < width; k++) {
      const at = layout === "panel32" ? ((o >> 5) * width + k) * OUTPUTS + (o & 31) : k * wide + o;
      packed[at] = w[o * ldw + k];
    }
  }
  return packed;
}

/** An input as a factor of raw weights (element.ts). */
export const splatInput = (type: ElementType, at: Expr<"i32">, offset = 0): Expr<"v128"> => {
  const x = v128.load32splat(at, offset);
  return type === "f16" ? f32x4.mul(x, f32x4.splat(f32.const(HALF_BEFORE))) : x;
};

/** Sums of eight outputs as `loadEightRaw` orders and scales them, made the first four and the last four outputs. */
export function ordered(
  type: ElementType,
  low: Expr<"v128">,
  high: Expr<"v128">,
): readonly [Expr<"v128">, Expr<"v128">] {
  if (type === "bf16") return [v128.shuffle32(low, high, [0, 4, 1, 5]), v128.shuffle32(low, high, [2, 6, 3, 7])];
  if (type === "f32") return [low, high];
  const scale = f32x4.splat(f32.const(HALF_AFTER));
  return [f32x4.mul(low, scale), f32x4.mul(high, scale)];
}
