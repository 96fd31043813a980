/**
 * Curves of quality against cost, measured at a few points, and what is read off them: the cost of a quality that lies
 * between two points. Noise may make a curve fall where it cannot; `rising` mends that.
 */

/** The non-decreasing sequence nearest to `values` (pool adjacent violators). */
export function rising(values: readonly number[]): number[] {
  const pools: { sum: number; n: number }[] = [];
  for (const value of values) {
    pools.push({ sum: value, n: 1 });
    for (let k = pools.length - 1; k > 0 && pools[k - 1].sum / pools[k - 1].n > pools[k].sum / pools[k].n; k--) {
      const { sum, n } = pools.pop() as (typeof pools)[number];
      pools[k - 1].sum += sum;
      pools[k - 1].n += n;
    }
  }
  return pools.flatMap(({ sum, n }) => new Array<number>(n).fill(sum / n));
}

/**
 * y at `x` on the broken line through (xs, ys), both rising, held at the ends. Where several points share an x, the first
 * of them counts: of networks as good as each other, the fastest.
 */
export function readOff(xs: readonly number[], ys: readonly number[], x: number): number {
  const points = xs.flatMap((v, i) => (i > 0 && xs[i - 1] === v ? [] : [{ x: v, y: ys[i] }]));
  const at = points.findIndex((p) => p.x >= x);
  if (at < 0) return points[points.length - 1].y;
  if (at === 0) return points[0].y;
  const [a, b] = [points[at - 1], points[at]];
  return a.y + ((b.y - a.y) * (x - a.x)) / (b.x - a.x);
}
