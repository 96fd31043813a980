/** Plain f64 twin of every dense product, and how far f32 sums may be from it. */

/** Plain twin: row-major A[M, K] · B[K, N] in f64, and the sums of |a||b| that bound its f32 error. */
export function product(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  m: number,
  columns: number,
  k: number,
): { sums: Float64Array; sizes: Float64Array } {
  const sums = new Float64Array(m * columns);
  const sizes = new Float64Array(m * columns);
  for (let i = 0; i < m; i++) {
    for (let kk = 0; kk < k; kk++) {
      for (let j = 0; j < columns; j++) {
        const term = a[i * k + kk] * b[kk * columns + j];
        sums[i * columns + j] += term;
        sizes[i * columns + j] += Math.abs(term);
      }
    }
  }
  return { sums, sizes };
}

/** Worst case of a sum of k products rounded at every step: (k + 1) half-units of the sum of sizes. */
export const sumTolerance = (k: number, sizes: Float64Array): Float64Array => sizes.map((s) => s * (k + 1) * 2 ** -24);
