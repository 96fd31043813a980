/** Weights of the dense kernels in the order in which they are read, beside their biases. */

/** Outputs that the dense 3x3 convolution computes together. */
export const CONV_GROUP = 4;

/** A bias padded with zeros to whole groups. */
export function groupBias(bias: ArrayLike<number>, out: number, group: number): Float32Array {
  const padded = new Float32Array(Math.ceil(out / group) * group);
  for (let o = 0; o < out; o++) padded[o] = bias[o];
  return padded;
}

/** Floats of one channel's depthwise weights: the bias, then the taps row by row. */
export const depthwiseRecord = (size: number): number => 1 + size * size;

/** Weights [channels, size, size] and bias as [channels][1 + size * size]. */
export function packDepthwise(
  weights: Float32Array,
  bias: ArrayLike<number>,
  channels: number,
  size: number,
): Float32Array {
  const taps = size * size;
  const records = new Float32Array(channels * depthwiseRecord(size));
  for (let i = 0; i < channels; i++) {
    records[i * (1 + taps)] = bias[i];
    records.set(weights.subarray(i * taps, (i + 1) * taps), i * (1 + taps) + 1);
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
