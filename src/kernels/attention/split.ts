/** For trials: a function must give the same bits wherever its range of units is cut. */

import type { Comparison, Draw, Sandbox } from "../kernel.ts";

/**
 * Calls `fn` on [0, total), then again in two parts cut where the draw says, and compares the two.
 * @param outputs address and count of what it writes
 */
export function runSplit(
  box: Sandbox,
  draw: Draw,
  total: number,
  fn: string,
  args: readonly number[],
  outputs: readonly (readonly [number, number])[],
): Comparison[] {
  box.call(fn, ...args, 0, total);
  const whole = outputs.map(([at, count]) => box.f32(at, count).slice());
  for (const [at, count] of outputs) box.f32(at, count).fill(Number.NaN);
  const cut = draw.int(0, total);
  box.call(fn, ...args, 0, cut);
  box.call(fn, ...args, cut, total);
  return outputs.map(([at, count], i) => ({
    what: `${fn}, output ${i} split at ${cut} of ${total}`,
    got: box.f32(at, count),
    want: whole[i],
    tolerance: 0,
  }));
}
