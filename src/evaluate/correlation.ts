/** Pearson's and Spearman's correlation; equal values share the mean of their ranks. */
import { demand } from "../core/errors.ts";

/** Ranks from 1; equal values get the mean of the ranks they take up. */
export function ranks(x: ArrayLike<number>): Float64Array {
  const order = Array.from({ length: x.length }, (_, i) => i).sort((a, b) => x[a] - x[b]);
  const out = new Float64Array(x.length);
  for (let i = 0; i < order.length; ) {
    let j = i;
    while (j < order.length && x[order[j]] === x[order[i]]) j++;
    for (let k = i; k < j; k++) out[order[k]] = (i + 1 + j) / 2;
    i = j;
  }
  return out;
}

/** Linear correlation in [-1, 1]; NaN where one side is constant. */
export function pearson(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const n = x.length;
  demand(n === y.length && n >= 2, () => ({
    about: "correlation",
    expected: "two lists of the same length, at least 2",
    got: `${n} and ${y.length}`,
    hint: "Give pairs.",
  }));
  let [mx, my] = [0, 0];
  for (let i = 0; i < n; i++) {
    mx += x[i] / n;
    my += y[i] / n;
  }
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const [a, b] = [x[i] - mx, y[i] - my];
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return xy / Math.sqrt(xx * yy);
}

/** Rank correlation in [-1, 1]; NaN where one side is constant. */
export const spearman = (x: ArrayLike<number>, y: ArrayLike<number>): number => pearson(ranks(x), ranks(y));
