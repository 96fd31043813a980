/** Plain f64 twin of every sparse product, from the dense weight; and how far f32 sums may be from it. */

export interface Product {
  /** Y[T, out] = X[T, in] W[out, in]^T over the weights that are not zero */
  readonly values: Float64Array;
  /**
   * Largest possible error of an f32 sum in any order, fused or not: each of at most n products and n sums is off by a
   * factor of 1 + u with u = 2^-24, hence (n + 1) u sum |w x| to first order; doubled for the higher orders.
   */
  readonly bounds: Float64Array;
}

export function productTwin(
  weights: Float32Array,
  x: Float32Array,
  tokens: number,
  out: number,
  width: number,
): Product {
  const values = new Float64Array(tokens * out);
  const bounds = new Float64Array(tokens * out);
  for (let t = 0; t < tokens; t++) {
    for (let o = 0; o < out; o++) {
      let sum = 0;
      let size = 0;
      let count = 0;
      for (let k = 0; k < width; k++) {
        const w = weights[o * width + k];
        if (w === 0) continue;
        const term = w * x[t * width + k];
        sum += term;
        size += Math.abs(term);
        count++;
      }
      values[t * out + o] = sum;
      bounds[t * out + o] = 2 * (count + 1) * 2 ** -24 * size;
    }
  }
  return { values, bounds };
}
