/**
 * exp, log, sin, cos and what is made of them, as expressions for kernels: `expV(f, x)` for four lanes, `expS(f, x)`
 * for one, bit for bit the same. They do not depend on the engine's `Math`, so results agree everywhere.
 *
 * Method: Cody-Waite reduction and the minimax polynomials of S. L. Moshier's Cephes library (single precision).
 * Largest errors found on dense grids stand in `math.test.ts`. `f` gives out locals (the scope of the function).
 * Sine and cosine are meant for |x| up to 8,192; farther out the reduction loses digits.
 */
import type { Expr } from "../wasm/asm.ts";
import { after, seq } from "../wasm/asm.ts";
import type { Float, Int, Lanes, Maker } from "./lanes.ts";
import { four, one } from "./lanes.ts";

/** c[0] x^n + ... + c[n]; `x` must be cheap to read again (a local). */
function horner<F extends Float, I extends Int>(o: Lanes<F, I>, x: Expr<F>, c: readonly number[]): Expr<F> {
  return c.slice(1).reduce((sum, next) => o.add(o.mul(sum, x), o.value(next)), o.value(c[0]));
}

/** 1.5 * 2^23: adding it rounds to a whole number, which then stands in the low bits. Cheaper than a conversion. */
const ROUNDER = 12582912;
const ROUNDER_BITS = 0x4b400000;

/** e^x: 0 from below -104 on (subnormal results included before), +inf above 88.73, NaN for NaN. */
export function expOf<F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> {
  const v = f.local(o.type);
  const n = f.local(o.type);
  const t = f.local(o.type);
  const r = f.local(o.type);
  const k = f.local(o.integer);
  const half = f.local(o.integer);
  const prepare = seq(
    v.set(o.clamp(f, x, -104, 89)),
    k.set(o.asBits(t.tee(o.add(o.mul(v, o.value(Math.LOG2E)), o.value(ROUNDER))))),
    n.set(o.sub(t, o.value(ROUNDER))),
    r.set(o.sub(o.sub(v, o.mul(n, o.value(0.693359375))), o.mul(n, o.value(-2.1219444e-4)))),
    k.set(o.isub(k, o.bits(ROUNDER_BITS))),
    half.set(o.shr(k, 1)),
  );
  const p = horner(
    o,
    r,
    [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1],
  );
  const y = o.add(o.add(o.mul(p, o.mul(r, r)), r), o.value(1));
  const power = (e: Expr<I>): Expr<F> => o.asFloat(o.shl(o.iadd(e, o.bits(127)), 23));
  // Two factors, because 2^k itself may be beyond the range in which the result still is a number.
  return after(prepare, o.mul(o.mul(y, power(half)), power(o.isub(k, half))));
}

/** Natural logarithm: -inf at 0, NaN below, subnormals exact, +inf and NaN kept. */
export function logOf<F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> {
  const v = f.local(o.type);
  const small = f.local(o.integer);
  const e = f.local(o.type);
  const m = f.local(o.type);
  const z = f.local(o.type);
  const bits = f.local(o.integer);
  const sqrtHalf = o.bits(0x3f3504f3);
  const prepare = seq(
    v.set(x),
    small.set(o.lt(v, o.value(1.1754943508222875e-38))),
    bits.set(o.isub(o.asBits(o.choose(o.mul(v, o.value(8388608)), v, small)), sqrtHalf)),
    e.set(o.fromInt(o.shr(bits, 23))),
    e.set(o.choose(o.sub(e, o.value(23)), e, small)),
    m.set(o.sub(o.asFloat(o.iadd(o.iand(bits, o.bits(0x7fffff)), sqrtHalf)), o.value(1))),
    z.set(o.mul(m, m)),
  );
  const p = horner(
    o,
    m,
    [
      7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
      2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    ],
  );
  const low = o.sub(o.add(o.mul(m, o.mul(z, p)), o.mul(e, o.value(-2.1219444e-4))), o.mul(z, o.value(0.5)));
  const normal = o.add(o.add(m, low), o.mul(e, o.value(0.693359375)));
  const upper = o.choose(normal, v, o.lt(v, o.value(Number.POSITIVE_INFINITY)));
  const atZero = o.choose(o.value(Number.NEGATIVE_INFINITY), upper, o.eq(v, o.value(0)));
  return after(prepare, o.choose(o.value(Number.NaN), atZero, o.lt(v, o.value(0))));
}

function sineWave<F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>, quarter: 0 | 1): Expr<F> {
  const v = f.local(o.type);
  const q = f.local(o.type);
  const r = f.local(o.type);
  const z = f.local(o.type);
  const k = f.local(o.integer);
  const prepare = seq(
    v.set(x),
    q.set(o.nearest(o.mul(v, o.value(2 / Math.PI)))),
    r.set(o.sub(v, o.mul(q, o.value(1.5703125)))),
    r.set(o.sub(r, o.mul(q, o.value(4.837512969970703e-4)))),
    r.set(o.sub(r, o.mul(q, o.value(7.549789954891882e-8)))),
    z.set(o.mul(r, r)),
    k.set(o.iadd(o.toInt(q), o.bits(quarter))),
  );
  const sine = o.add(o.mul(o.mul(horner(o, z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]), z), r), r);
  const cosine = o.add(
    o.sub(
      o.mul(o.mul(horner(o, z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]), z), z),
      o.mul(z, o.value(0.5)),
    ),
    o.value(1),
  );
  const shape = o.choose(cosine, sine, o.some(o.iand(k, o.bits(1))));
  return after(prepare, o.asFloat(o.ixor(o.asBits(shape), o.shl(o.iand(k, o.bits(2)), 30))));
}

export const sinOf = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> =>
  sineWave(o, f, x, 0);
export const cosOf = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> =>
  sineWave(o, f, x, 1);

/** 1 / (1 + e^-x) */
export const sigmoidOf = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> =>
  o.div(o.value(1), o.add(o.value(1), expOf(o, f, o.neg(x))));

/** Hyperbolic tangent: a polynomial below 0.625, 1 - 2 / (e^2x + 1) above. */
export function tanhOf<F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Expr<F>): Expr<F> {
  const v = f.local(o.type);
  const z = f.local(o.type);
  const near = o.add(
    o.mul(
      o.mul(
        horner(o, z, [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]),
        z,
      ),
      v,
    ),
    v,
  );
  const grown = expOf(o, f, o.add(v, v));
  const far = o.sub(o.value(1), o.div(o.value(2), o.add(grown, o.value(1))));
  return after(seq(v.set(x), z.set(o.mul(v, v))), o.choose(near, far, o.lt(o.abs(v), o.value(0.625))));
}

type Emit<F extends Float> = (f: Maker, x: Expr<F>) => Expr<F>;
export const expV: Emit<"v128"> = (f, x) => expOf(four, f, x);
export const expS: Emit<"f32"> = (f, x) => expOf(one, f, x);
export const logV: Emit<"v128"> = (f, x) => logOf(four, f, x);
export const logS: Emit<"f32"> = (f, x) => logOf(one, f, x);
export const sinV: Emit<"v128"> = (f, x) => sinOf(four, f, x);
export const sinS: Emit<"f32"> = (f, x) => sinOf(one, f, x);
export const cosV: Emit<"v128"> = (f, x) => cosOf(four, f, x);
export const cosS: Emit<"f32"> = (f, x) => cosOf(one, f, x);
export const sigmoidV: Emit<"v128"> = (f, x) => sigmoidOf(four, f, x);
export const sigmoidS: Emit<"f32"> = (f, x) => sigmoidOf(one, f, x);
export const tanhV: Emit<"v128"> = (f, x) => tanhOf(four, f, x);
export const tanhS: Emit<"f32"> = (f, x) => tanhOf(one, f, x);
