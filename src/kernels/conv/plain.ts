/** Convolutions and batch norm in plain f64, straight from the definition: the kernels' slow twins. Images [B, C, H, W]. */
import type { ConvShape } from "./geometry.ts";

type Numbers = ArrayLike<number>;

export const sizesOf = (x: Numbers): Float64Array => Float64Array.from(x, Math.abs);

/** Every multiply-add of the convolution: indices of y, x and w. */
function eachTerm(s: ConvShape, images: number, visit: (y: number, x: number, w: number) => void): void {
  const [perGroup, outs] = [s.channels / s.groups, s.outs / s.groups];
  for (let b = 0; b < images; b++) {
    for (let o = 0; o < s.outs; o++) {
      for (let oy = 0; oy < s.outHeight; oy++) {
        for (let ox = 0; ox < s.outWidth; ox++) {
          const y = ((b * s.outs + o) * s.outHeight + oy) * s.outWidth + ox;
          for (let c = 0; c < perGroup; c++) {
            for (let ky = 0; ky < s.kernelHeight; ky++) {
              const iy = oy * s.strideY + ky - s.top;
              if (iy < 0 || iy >= s.height) continue;
              for (let kx = 0; kx < s.kernelWidth; kx++) {
                const ix = ox * s.strideX + kx - s.left;
                if (ix < 0 || ix >= s.width) continue;
                const channel = Math.floor(o / outs) * perGroup + c;
                const x = ((b * s.channels + channel) * s.height + iy) * s.width + ix;
                visit(y, x, ((o * perGroup + c) * s.kernelHeight + ky) * s.kernelWidth + kx);
              }
            }
          }
        }
      }
    }
  }
}

/** y[b, o] = bias[o] + sum of w[o, c, ky, kx] x[b, c, ..] */
export function convForward(s: ConvShape, x: Numbers, w: Numbers, bias: Numbers | null, images: number): Float64Array {
  const size = s.outHeight * s.outWidth;
  const y = Float64Array.from({ length: images * s.outs * size }, (_, i) =>
    bias ? bias[Math.floor(i / size) % s.outs] : 0,
  );
  eachTerm(s, images, (iy, ix, iw) => {
    y[iy] += w[iw] * x[ix];
  });
  return y;
}

/** The gradient of the input; `bias` [C] is added (the bias of a transposed convolution). */
export function convInputGradient(
  s: ConvShape,
  dy: Numbers,
  w: Numbers,
  bias: Numbers | null,
  images: number,
): Float64Array {
  const size = s.height * s.width;
  const dx = Float64Array.from({ length: images * s.channels * size }, (_, i) =>
    bias ? bias[Math.floor(i / size) % s.channels] : 0,
  );
  eachTerm(s, images, (iy, ix, iw) => {
    dx[ix] += w[iw] * dy[iy];
  });
  return dx;
}

/** The gradient of the weights [O, C / groups, kh, kw]. */
export function convWeightGradient(s: ConvShape, x: Numbers, dy: Numbers, images: number): Float64Array {
  const dw = new Float64Array((s.outs * s.channels * s.kernelHeight * s.kernelWidth) / s.groups);
  eachTerm(s, images, (iy, ix, iw) => {
    dw[iw] += dy[iy] * x[ix];
  });
  return dw;
}

/** [group][panel][k][width]; output r, term i is w[group * groupStride + r * outStride + weights[i] / 4]. */
export function packWeights(
  w: Numbers,
  weights: Int32Array,
  outs: number,
  groups: number,
  outStride: number,
  groupStride: number,
  width: number,
): Float32Array {
  const panels = Math.ceil(outs / width);
  const packed = new Float32Array(groups * panels * weights.length * width);
  for (let g = 0; g < groups; g++) {
    for (let o = 0; o < outs; o++) {
      for (let i = 0; i < weights.length; i++) {
        const panel = g * panels + Math.floor(o / width);
        packed[(panel * weights.length + i) * width + (o % width)] =
          w[g * groupStride + o * outStride + weights[i] / 4];
      }
    }
  }
  return packed;
}

/** What lies in each channel of x [B, C, size]. */
export const channelsOf = (x: Numbers, channels: number, size: number): number[][] => {
  const out: number[][] = Array.from({ length: channels }, () => []);
  for (let i = 0; i < x.length; i++) out[Math.floor(i / size) % channels].push(x[i]);
  return out;
};

const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);

/** Mean and variance (over all elements, not all but one) of each channel. */
export function channelStatistics(x: Numbers, channels: number, size: number): { mean: number[]; variance: number[] } {
  const all = channelsOf(x, channels, size);
  const mean = all.map((v) => sum(v) / v.length);
  return { mean, variance: all.map((v, c) => sum(v.map((a) => (a - mean[c]) ** 2)) / v.length) };
}

export interface ChannelNorm {
  readonly gamma: Numbers;
  readonly beta: Numbers;
  readonly mean: Numbers;
  readonly variance: Numbers;
  readonly eps: number;
  readonly relu: boolean;
}

/** y = (x - mean) / sqrt(variance + eps) gamma + beta, perhaps max(., 0) (Ioffe and Szegedy 2015). */
export function channelNorm(x: Numbers, size: number, n: ChannelNorm): Float64Array {
  const channels = n.gamma.length;
  return Float64Array.from(x, (v, i) => {
    const c = Math.floor(i / size) % channels;
    const y = ((v - n.mean[c]) / Math.sqrt(n.variance[c] + n.eps)) * n.gamma[c] + n.beta[c];
    return n.relu ? Math.max(0, y) : y;
  });
}

/**
 * Gradients; `fixed` where the statistics do not depend on x. `above` tells where relu let a value through (default: by
 * its sign), so that a kernel's rounding can be followed.
 */
export function channelNormBackward(
  x: Numbers,
  dy: Numbers,
  size: number,
  n: ChannelNorm,
  fixed: boolean,
  above?: (index: number) => boolean,
): { dx: Float64Array; dgamma: Float64Array; dbeta: Float64Array } {
  const channels = n.gamma.length;
  const y = channelNorm(x, size, n);
  const at = (i: number): number => Math.floor(i / size) % channels;
  const rstd = Array.from({ length: channels }, (_, c) => 1 / Math.sqrt(n.variance[c] + n.eps));
  const g = Float64Array.from(dy, (d, i) => (n.relu && !(above ? above(i) : y[i] > 0) ? 0 : d));
  const xhat = Float64Array.from(x, (v, i) => (v - n.mean[at(i)]) * rstd[at(i)]);
  const [dgamma, dbeta] = [new Float64Array(channels), new Float64Array(channels)];
  for (let i = 0; i < x.length; i++) {
    dgamma[at(i)] += g[i] * xhat[i];
    dbeta[at(i)] += g[i];
  }
  const count = x.length / channels;
  const dx = g.map((v, i) => {
    const c = at(i);
    const centred = fixed ? v : v - dbeta[c] / count - (xhat[i] * dgamma[c]) / count;
    return n.gamma[c] * rstd[c] * centred;
  });
  return { dx, dgamma, dbeta };
}
