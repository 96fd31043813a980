/**
 * Cosine and sine tables of the rotary embedding (Su et al., 2021): angle = position * base^(-2i/E).
 *
 * Everything is f64 arithmetic of our own, because `Math.sin` and `Math.pow` differ between engines: sine and cosine
 * by the polynomials of Sun's fdlibm after a three-part Cody-Waite reduction, log and exp by short series. Angles are
 * kept in f64 to the end; Hugging Face rounds frequency and angle to f32 first, which at position 8,191 moves the
 * angle by up to 2.5e-4. Scalings of the frequencies (Llama 3, linear) are given by the caller.
 */

import { LacunaError } from "../../core/errors.ts";

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/** Natural logarithm of a positive normal number, to about 1e-15 relative. */
export function logF64(x: number): number {
  let m = x;
  let e = 0;
  while (m >= Math.SQRT2) {
    m /= 2;
    e++;
  }
  while (m < Math.SQRT1_2) {
    m *= 2;
    e--;
  }
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum = 0;
  for (let k = 23; k >= 3; k -= 2) sum = (sum + 1 / k) * z;
  return e * LN2_HIGH + (2 * s + (2 * s * sum + e * LN2_LOW));
}

/** e^x for |x| < 700, to about 1e-15 relative. */
export function expF64(x: number): number {
  const k = Math.round(x / LN2_HIGH);
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let n = 15; n >= 1; n--) sum = 1 + (r / n) * sum;
  // doubling and halving are exact, and `**` is not the same everywhere
  let power = 1;
  for (let i = Math.abs(k); i > 0; i--) power *= k < 0 ? 0.5 : 2;
  return sum * power;
}

// pi/2 in three parts of 33 bits, so that multiples up to 2^20 of the first two are exact.
const PIO2_1 = 1.5707963267341256;
const PIO2_2 = 6.077100506303966e-11;
const PIO2_3 = 2.0222662487959506e-21;

const SINE = [
  1.58969099521155e-10, -2.5050760253406863e-8, 2.7557313707070068e-6, -0.0001984126982985795, 0.00833333333332249,
  -0.16666666666666632,
];
const COSINE = [
  -1.1359647557788195e-11, 2.087572321298175e-9, -2.7557314351390663e-7, 2.480158728947673e-5, -0.001388888888887411,
  0.0416666666666666,
];

/** c[0] z^5 + ... + c[5] */
const horner = (z: number, c: readonly number[]): number =>
  ((((c[0] * z + c[1]) * z + c[2]) * z + c[3]) * z + c[4]) * z + c[5];

/** Sine and cosine to about 1e-15 absolute for |x| up to 1e6. */
export function sinCosF64(x: number): { sin: number; cos: number } {
  const n = Math.round(x / (PIO2_1 + PIO2_2));
  const r = x - n * PIO2_1 - n * PIO2_2 - n * PIO2_3;
  const z = r * r;
  const s = r + r * z * horner(z, SINE);
  const c = 1 - (z / 2 - z * z * horner(z, COSINE));
  switch (((n % 4) + 4) % 4) {
    case 0:
      return { sin: s, cos: c };
    case 1:
      return { sin: c, cos: -s };
    case 2:
      return { sin: -s, cos: -c };
    default:
      return { sin: -c, cos: s };
  }
}

/** base^(-2i/E) for i < E/2, in f64. */
export function inverseFrequencies(E: number, base: number): Float64Array {
  if (!Number.isInteger(E) || E < 2 || E % 2 !== 0) {
    throw new LacunaError({
      about: "head width",
      expected: "a positive even number",
      got: String(E),
      hint: "Rotary embedding turns pairs of channels.",
    });
  }
  if (!(base >= 1 && base < Number.POSITIVE_INFINITY)) {
    throw new LacunaError({
      about: "rope base",
      expected: "a finite number of at least 1",
      got: String(base),
      hint: "Llama 2 has 10000, Llama 3 500000.",
    });
  }
  const log = logF64(base);
  return Float64Array.from({ length: E / 2 }, (_, i) => expF64((-2 * i * log) / E));
}

export interface RopeTable {
  /** [positions, E/2] */
  readonly cos: Float32Array;
  /** [positions, E/2] */
  readonly sin: Float32Array;
}

/** Inverse frequencies to use instead of the plain ones, or what makes them out of the plain ones. */
export type RopeScaling = ArrayLike<number> | ((plain: Float64Array) => ArrayLike<number>);

/**
 * Tables for the positions 0 to positions - 1, at most 2^20.
 * @throws LacunaError for an odd head width, a bad base, or a scaling that does not give E/2 finite values
 */
export function ropeTable(E: number, base: number, positions: number, scaling?: RopeScaling): RopeTable {
  const plain = inverseFrequencies(E, base);
  const frequencies = scaling === undefined ? plain : typeof scaling === "function" ? scaling(plain) : scaling;
  const half = E / 2;
  if (frequencies.length !== half || !Array.from(frequencies).every((x) => Number.isFinite(x) && Math.abs(x) <= 1)) {
    throw new LacunaError({
      about: "rope scaling",
      expected: `${half} inverse frequencies within [-1, 1]`,
      got: `${frequencies.length} values`,
      hint: "Check rope_scaling in config.json.",
    });
  }
  if (!Number.isInteger(positions) || positions < 0 || positions > 2 ** 20) {
    throw new LacunaError({
      about: "rope positions",
      expected: "a whole number from 0 to 1048576",
      got: String(positions),
      hint: "Use a shorter context.",
    });
  }
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let t = 0; t < positions; t++) {
    for (let i = 0; i < half; i++) {
      const angle = sinCosF64(t * frequencies[i]);
      cos[t * half + i] = angle.cos;
      sin[t * half + i] = angle.sin;
    }
  }
  return { cos, sin };
}
