/**
 * Dropout (Srivastava et al. 2014) by hashing: whether an element stays is a function of two keys and its index, so
 * the backward pass needs no mask, and neither threads nor the order of work change a bit.
 *
 * The hash is two rounds of Wellons' lowbias32 (2018, "Prospecting for hash functions"), one key before each.
 */
import type { Comparison, Kernel } from "../kernel.ts";
import type { Expr } from "../wasm/asm.ts";
import { i32, i32x4, seq, v128 } from "../wasm/asm.ts";
import { defineKernel, described } from "./define.ts";
import type { Float, Int, Lanes } from "./lanes.ts";
import { streamRange } from "./stream.ts";
import { agree, inPieces } from "./trial.ts";

const FIRST = 0x7feb352d;
const SECOND = 0x846ca68b;

/** Bits of the hash that are compared with the threshold. */
export const HASH_BITS = 24;

/** The twin of the kernel's hash; the top 24 bits, from 0. */
export function dropHash(index: number, key0: number, key1: number): number {
  const mix = (x: number): number => {
    let h = x ^ (x >>> 16);
    h = Math.imul(h, FIRST);
    h ^= h >>> 15;
    h = Math.imul(h, SECOND);
    return h ^ (h >>> 16);
  };
  return mix(mix((index + key0) | 0) ^ key1) >>> (32 - HASH_BITS);
}

const isWide = (type: Float): boolean => type === "v128";
const multiply = <F extends Float, I extends Int>(o: Lanes<F, I>, a: Expr<I>, b: number): Expr<I> =>
  (isWide(o.type)
    ? i32x4.mul(a as Expr<"v128">, v128.const32(b, b, b, b))
    : i32.mul(a as Expr<"i32">, i32.const(b))) as Expr<I>;
/** `first` + k and the numbers after it, one a lane. */
const indices = <F extends Float, I extends Int>(o: Lanes<F, I>, first: Expr<"i32">, k: number): Expr<I> =>
  (isWide(o.type)
    ? i32x4.add(i32x4.splat(first), v128.const32(k, k + 1, k + 2, k + 3))
    : i32.add(first, i32.const(k))) as Expr<I>;
const all = <F extends Float, I extends Int>(o: Lanes<F, I>, x: Expr<"i32">): Expr<I> =>
  (isWide(o.type) ? i32x4.splat(x) : x) as Expr<I>;

const keep = described(
  {
    x: "i32",
    out: "i32",
    key0: "i32",
    key1: "i32",
    kept: "i32",
    scale: "f32",
    from: "i32",
    to: "i32",
  },
  "out = scale * x where the top 24 bits of hash(index, key0, key1) are below kept, else 0",
  (f) => {
    const { x, out, key0, key1, kept, scale, from, to } = f.p;
    const index = f.local("i32");
    return seq(
      index.set(key0),
      streamRange(
        f,
        from,
        to,
        [
          [x, 4],
          [out, 4],
          [index, 1],
        ],
        2,
        (o, k) => {
          const h = f.local(o.integer);
          const mix = [
            h.set(o.ixor(h, o.shru(h, 16))),
            h.set(multiply(o, h, FIRST)),
            h.set(o.ixor(h, o.shru(h, 15))),
            h.set(multiply(o, h, SECOND)),
            h.set(o.ixor(h, o.shru(h, 16))),
          ];
          return seq(
            h.set(indices(o, index, k)),
            ...mix,
            h.set(o.ixor(h, all(o, key1))),
            ...mix,
            o.store(
              out,
              o.choose(
                o.mul(o.load(x, 4 * k), o.splat(scale)),
                o.value(0),
                o.igt(all(o, kept), o.shru(h, 32 - HASH_BITS)),
              ),
              4 * k,
            ),
          );
        },
      ),
    );
  },
);

export const dropoutKernel: Kernel = defineKernel({
  name: "dropout-f32",
  family: "pointwise",
  summary: "Dropout by a hash of the element's index",
  functions: { keep },
  trials: [
    {
      name: "kept, scaled, zeroed",
      run(draw, box): Comparison[] {
        const count = draw.int(0, 50);
        const [key0, key1] = [draw.int(-(2 ** 31), 2 ** 31 - 1), draw.int(-(2 ** 31), 2 ** 31 - 1)];
        const kept = draw.int(0, 2 ** HASH_BITS);
        const scale = Math.fround(1.25);
        const x = draw.floats(count);
        const at = box.put(x);
        const [whole, pieces] = [box.room(4 * count), box.room(4 * count)];
        const run = (out: number, from: number, to: number): number =>
          box.call("keep", at, out, key0, key1, kept, scale, from, to);
        run(whole, 0, count);
        inPieces(draw, count, (from, to) => run(pieces, from, to));
        const want = Array.from(x, (v, i) => (dropHash(i, key0, key1) < kept ? Math.fround(scale * v) : 0));
        return agree("kept", box.f32(whole, count), box.f32(pieces, count), want, 0);
      },
    },
  ],
});
