/** Numerical gradients, the oracle of the gradients' twins. */

/** Central differences of a scalar function of a vector; error about step^2 of the third derivative. */
export function numericalGradient(value: (x: number[]) => number, at: readonly number[], step = 1e-5): number[] {
  return at.map((_, i) => {
    const moved = (by: number): number[] => at.map((x, j) => (j === i ? x + by : x));
    return (value(moved(step)) - value(moved(-step))) / (2 * step);
  });
}

export const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, x, i) => s + x * b[i], 0);

/** `count` fixed values in about [-1.5, 1.5], different for each seed and none of them 0. */
export const someValues = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => 1.5 * Math.sin(1.7 * i + 2.3 * seed + 0.4 * i * i));

/** Largest difference of two vectors; infinite if their lengths differ. */
export const farthest = (a: readonly number[], b: readonly number[]): number =>
  a.length === b.length ? Math.max(0, ...a.map((x, i) => Math.abs(x - b[i]))) : Number.POSITIVE_INFINITY;
