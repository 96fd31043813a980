/** Weights of the dense kernels in the order in which they are read, beside their biases. */

/** Outputs that the dense 3x3 convolution computes together. */
export const CONV_GROUP = 4;

/** A bias padded with zeros to whole groups. */
export function groupBias(bias: ArrayLike<number>, out: number, group: number): Float32Array {
  const padded = new Float32Array(Math.ceil(out / group) * group);
  for (let o = 0; o < out; o++) padded[o] = bias[o];
  return padded;
}

/**
 * Copies of each depthwise weight: 3x3 weights stay in registers, 5x5 ones are loaded for every use, and a load that
 * spreads one float over the lanes costs one operation more than a plain one.
 */
export const depthwiseLanes = (size: number): number => (size === 3 ? 1 : 4);

/** Floats of one channel's depthwise weights: the bias, then the taps row by row, each `depthwiseLanes` times. */
export const depthwiseRecord = (size: number): number => (1 + size * size) * depthwiseLanes(size);

/** Weights [channels, size, size] and bias as [channels][1 + size * size][lanes]. */
export function packDepthwise(
  weights: ArrayLike<number>,
  bias: ArrayLike<number>,
  channels: number,
  size: number,
): Float32Array {
  const [taps, lanes] = [size * size, depthwiseLanes(size)];
  const records = new Float32Array(channels * depthwiseRecord(size));
  for (let i = 0, at = 0; i < channels; i++) {
    for (let t = -1; t < taps; t++, at += lanes) records.fill(t < 0 ? bias[i] : weights[i * taps + t], at, at + lanes);
  }
  return records;
}

/** Weights [out, in, 3, 3] as [ceil(out / 4)][in][9][4], padded with zeros. */
export function packConv(weights: ArrayLike<number>, out: number, inputs: number): Float32Array {
  const each = inputs * 9;
  const packed = new Float32Array(Math.ceil(out / CONV_GROUP) * each * CONV_GROUP);
  for (let o = 0; o < out; o++) {
    const first = Math.floor(o / CONV_GROUP) * each * CONV_GROUP + (o % CONV_GROUP);
    for (let i = 0; i < each; i++) packed[first + i * CONV_GROUP] = weights[o * each + i];
  }
  return packed;
}
