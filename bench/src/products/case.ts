/**
 * The products of the benches: Y[T, out] = X[T, in] W^T, row-major f32, with a constant weight that every contestant may
 * prepare as it likes when it loads it.
 *
 * Weights and activations are drawn from seeds, the same in every seat. Several copies take turns, enough to keep one
 * from staying in the second-level cache. `sample` and `want` compare results before anything is timed.
 */
import { stream } from "../../../src/core/random.ts";
import { drawnWeight } from "../../../src/runtime/drawn.ts";
import { type Form, isSparse } from "../../../src/runtime/layer.ts";

export interface ProductCase {
  /** unique within a seat */
  readonly id: string;
  readonly tokens: number;
  readonly out: number;
  readonly in: number;
  /** what Lacuna stores; "calls" is dense without anything prepared. Peers are dense whatever it says. */
  readonly form: Form | "calls";
  /** of the layout that is drawn: weights or blocks kept */
  readonly density: number;
  /** layout of the drawn mask; default the form's own, dense for dense forms */
  readonly mask?: Form;
  /** products of one call, one after the other; default 1 */
  readonly repeat?: number;
}

/** What a seat of products answers. */
export interface Products {
  load(c: ProductCase): Promise<void> | void;
  /** products of the next copies, as many as the case says */
  run(id: string): unknown;
  /** Y of copy 1 */
  sample(id: string): Promise<Float32Array> | Float32Array;
  unload(id: string): Promise<void> | void;
}

const CACHE = 3 * 2 ** 20;
/** Copies that take turns: more bytes than a second-level cache holds, and two at least. */
export const copiesOf = (c: ProductCase): number =>
  Math.min(8, Math.max(2, Math.ceil(CACHE / (4 * c.out * c.in * c.density + 4 * c.tokens * c.in))));

/** W [out, in] of one copy. */
export function weightOf(c: ProductCase, copy: number): Float32Array {
  const form = c.mask ?? c.form;
  const layout = form !== "calls" && isSparse(form) ? form : "dense";
  return drawnWeight({ out: c.out, in: c.in, type: "f32" }, layout, c.density, 11 + copy);
}

/** X [tokens, in] of one copy. */
export function inputOf(c: ProductCase, copy: number): Float32Array {
  const draws = stream(3 + copy, "products");
  return Float32Array.from({ length: c.tokens * c.in }, (_, i) => 2 * draws.uniform(i) - 1);
}

/** Row-major [out, in] to [in, out]. */
export function transposed(w: Float32Array, out: number, width: number): Float32Array {
  const t = new Float32Array(w.length);
  for (let r = 0; r < out; r++) for (let k = 0; k < width; k++) t[k * out + r] = w[r * width + k];
  return t;
}

/**
 * Largest error over a sample of Y of copy 1, for each term of its sum. Values are of about unit size, so that f32 sums
 * in any order stay within 6e-8 a term, and a missing term shows.
 */
export function worstError(c: ProductCase, got: ArrayLike<number>): number {
  const w = weightOf(c, 1);
  const x = inputOf(c, 1);
  if (got.length !== c.tokens * c.out) return Number.POSITIVE_INFINITY;
  const stride = Math.max(1, Math.floor(got.length / 997));
  let worst = 0;
  for (let at = 0; at < got.length; at += stride) {
    const [t, o] = [Math.floor(at / c.out), at % c.out];
    let sum = 0;
    for (let k = 0; k < c.in; k++) sum += x[t * c.in + k] * w[o * c.in + k];
    const error = Math.abs(sum - got[at]);
    if (!(error <= worst)) worst = error;
  }
  return worst / c.in;
}

/** Throws unless `got` is the product. */
export function checkProduct(name: string, c: ProductCase, got: ArrayLike<number>): void {
  const error = worstError(c, got);
  if (!(error < 1e-7)) throw new Error(`bench: ${name}'s product ${c.id} is wrong by ${error} a term`);
}
