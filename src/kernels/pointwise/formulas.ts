/** The pointwise functions as kernel expressions, for one lane or four. Operands are locals, cheap to read again. */
import type { Expr, Local } from "../wasm/asm.ts";
import { after } from "../wasm/asm.ts";
import type { Float, Int, Lanes, Maker } from "./lanes.ts";
import { expOf, sigmoidOf } from "./math.ts";

export type Formula1 = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, x: Local<F>) => Expr<F>;
export type Formula2 = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, a: Local<F>, b: Local<F>) => Expr<F>;

/** x / (1 + e^-x) */
export const silu: Formula1 = (o, f, x) => o.div(x, o.add(o.value(1), expOf(o, f, o.neg(x))));

/** s + x s (1 - s), s = sigmoid(x) */
export const siluSlope: Formula1 = (o, f, x) => {
  const s = f.local(o.type);
  return after(s.set(sigmoidOf(o, f, x)), o.mul(s, o.add(o.value(1), o.mul(x, o.sub(o.value(1), s)))));
};

export const relu: Formula1 = (o, _, x) => o.choose(o.value(0), x, o.lt(x, o.value(0)));

const GELU = 2 * Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** 2 sqrt(2 / pi) (x + 0.044715 x^3); half of it is the argument of tanh */
const geluInner: Formula1 = (o, _, x) =>
  o.mul(o.value(GELU), o.mul(x, o.add(o.value(1), o.mul(o.value(CUBIC), o.mul(x, x)))));

/** x sigmoid(2u): the tanh form without the cancellation in 1 + tanh u */
export const gelu: Formula1 = (o, f, x) => o.div(x, o.add(o.value(1), expOf(o, f, o.neg(geluInner(o, f, x)))));

/** s + x s (1 - s) (2u)', s = sigmoid(2u) */
export const geluSlope: Formula1 = (o, f, x) => {
  const s = f.local(o.type);
  const inner = o.mul(o.value(GELU), o.add(o.value(1), o.mul(o.value(3 * CUBIC), o.mul(x, x))));
  const rest = o.mul(o.mul(x, o.sub(o.value(1), s)), inner);
  return after(s.set(sigmoidOf(o, f, geluInner(o, f, x))), o.mul(s, o.add(o.value(1), rest)));
};
