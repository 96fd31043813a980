/** What trials of splittable functions share: run whole, run in pieces, compare. */
import type { Comparison, Draw } from "../kernel.ts";

/** Half the distance between neighbouring f32 numbers, relative. */
export const EPS = 2 ** -24;

/** Runs [0, total) in up to three pieces, an empty one among them. */
export function inPieces(draw: Draw, total: number, run: (from: number, to: number) => void): void {
  const a = draw.int(0, total);
  const b = draw.int(a, total);
  run(0, a);
  run(a, a);
  run(b, total);
  run(a, b);
}

/** A result, computed at once and in pieces, against its twin: close to the twin, and pieces bit for bit the same. */
export function agree(
  what: string,
  whole: ArrayLike<number>,
  pieces: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number | ArrayLike<number>,
): Comparison[] {
  return [
    { what, got: whole, want, tolerance },
    { what: `${what}, in pieces`, got: pieces, want: whole, tolerance: 0 },
  ];
}

export const ids = (draw: Draw, count: number, low: number, high: number): Int32Array =>
  Int32Array.from({ length: count }, () => draw.int(low, high));

export const bits = (draw: Draw, count: number): Uint8Array =>
  Uint8Array.from(draw.floats(count), (x) => (x > 0 ? 1 : 0));
