/** What `top-f32` needs and does, in plain TypeScript. */

/** Bytes of scratch for n scores: the counts of a digit, then keys, indices and a second set of keys. */
export const topScratchBytes = (n: number): number => 4 * 2048 + 3 * 4 * n;

/** Indices of the `keep` largest scores, rising; of equal scores the lower index is kept first. -0 equals 0. */
export function topPlain(scores: ArrayLike<number>, keep: number): number[] {
  const order = Array.from({ length: scores.length }, (_, i) => i);
  order.sort((a, b) => scores[b] - scores[a] || a - b);
  return order.slice(0, keep).sort((a, b) => a - b);
}
