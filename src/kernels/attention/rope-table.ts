/**
 * Cosine and sine tables of the rotary embedding (Su et al., 2021): angle = position * base^(-2i/E).
 *
 * Everything is f64 arithmetic of our own (elementary.ts), because `Math.sin` and `Math.pow` differ between engines.
 * Angles are kept in f64 to the end; Hugging Face rounds frequency and angle to f32 first, which at position 8,191
 * moves the angle by up to 2.5e-4. Scalings of the frequencies (Llama 3, linear) are given by the caller.
 */

import { LacunaError } from "../../core/errors.ts";
import { exp, ln, sinCos } from "../elementary.ts";

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
  const log = ln(base);
  return Float64Array.from({ length: E / 2 }, (_, i) => exp((-2 * i * log) / E));
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
      const angle = sinCos(t * frequencies[i]);
      cos[t * half + i] = angle.cos;
      sin[t * half + i] = angle.sin;
    }
  }
  return { cos, sin };
}
