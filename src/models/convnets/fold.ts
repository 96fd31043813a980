/** Batch norm at inference is a factor and a summand for each output: both go into the weight and bias before it. */

export interface BatchNorm {
  /** gamma, one for each output */
  readonly scale: ArrayLike<number>;
  /** beta */
  readonly shift: ArrayLike<number>;
  readonly mean: ArrayLike<number>;
  readonly variance: ArrayLike<number>;
  readonly epsilon: number;
}

/**
 * Weight [out, ...] and bias [out] (zeros when left out) of a layer followed by batch norm, as one layer:
 * w' = w f and b' = (b - mean) f + shift, f = scale / sqrt(variance + epsilon), in f64, rounded once. Zeros stay zeros.
 */
export function foldBatchNorm(
  weight: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
  norm: BatchNorm,
): { weight: Float32Array; bias: Float32Array } {
  const out = norm.scale.length;
  if (out > 0 && weight.length % out !== 0) throw new Error(`fold: ${weight.length} weights over ${out} outputs`);
  const each = out === 0 ? 0 : weight.length / out;
  const folded = { weight: new Float32Array(weight.length), bias: new Float32Array(out) };
  for (let o = 0; o < out; o++) {
    const factor = norm.scale[o] / Math.sqrt(norm.variance[o] + norm.epsilon);
    for (let i = o * each; i < (o + 1) * each; i++) folded.weight[i] = weight[i] * factor;
    folded.bias[o] = ((bias?.[o] ?? 0) - norm.mean[o]) * factor + norm.shift[o];
  }
  return folded;
}
