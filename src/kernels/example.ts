/** Drawn numbers for the examples of ladders: the same everywhere, without a pattern, of no further quality. */

/** A number in [0, 1) from two integers (an integer hash). */
export function drawnUnit(index: number, seed: number): number {
  let h = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(seed + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
}

/** Values in [-1, 1) that bf16 holds exactly. */
export function drawnValues(count: number, seed: number): Float32Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = (Math.floor(256 * drawnUnit(i, seed)) - 128) / 128 || 1 / 128;
  return values;
}
