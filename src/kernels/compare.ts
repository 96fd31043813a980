/** What a trial's comparison comes to, and values to try kernels on: for the property test and the check in browsers. */
import type { Comparison } from "./kernel.ts";

/** Values of about unit size with one exact zero in eight; mulberry32, which is enough for test data. */
export function seededFloats(seed: number, count: number, scale: number): Float32Array {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: count }, () => (next() < 0.125 ? 0 : (2 * next() - 1) * 1.7 * scale));
}

/** The first index that differs and the largest difference, in words; null when all agree. */
export function disagreement({ what, got, want, tolerance }: Comparison): string | null {
  if (got.length !== want.length) return `${what}: ${got.length} values, expected ${want.length}`;
  let first = -1;
  let worst = -1;
  let worstBy = -1;
  let count = 0;
  for (let i = 0; i < got.length; i++) {
    if (Object.is(got[i], want[i]) || got[i] === want[i]) continue;
    const allowed = typeof tolerance === "number" ? tolerance : tolerance[i];
    const difference = Math.abs(got[i] - want[i]);
    if (difference <= allowed) continue;
    count++;
    if (first < 0) first = i;
    const by = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    if (by > worstBy) [worst, worstBy] = [i, by];
  }
  if (first < 0) return null;
  const at = (i: number): string =>
    `[${i}] got ${got[i]}, want ${want[i]}, allowed ${typeof tolerance === "number" ? tolerance : tolerance[i]}`;
  return `${what}: ${count} of ${got.length} differ; first ${at(first)}; largest difference ${worstBy} at ${at(worst)}`;
}
