/** Plain f64 twins of the convolutions over planes, and how far f32 sums may be from them. */

export interface Twin {
  /** [channels][pixels], without gaps */
  readonly values: Float64Array;
  /** largest possible error of an f32 sum in any order, fused or not: 2 (n + 1) 2^-24 (sum of sizes), see sparse/twin.ts */
  readonly bounds: Float64Array;
}

export interface ConvShape {
  readonly in: number;
  readonly out: number;
  readonly height: number;
  readonly width: number;
  readonly size: number;
  readonly stride: number;
  /** inputs of channel o: all of them (1) or only channel o (`out`) */
  readonly groups: number;
}

/** min(max(value, lo), hi); NaN stays */
export const limit = (value: number, lo: number, hi: number): number => Math.min(Math.max(value, lo), hi);

/**
 * Convolution with padding floor(size / 2), weights [out, in / groups, size, size], x [in][plane]; bias, then the limits.
 * Limiting moves two numbers no further apart, so the bound of the sum holds for the result.
 */
export function convTwin(
  shape: ConvShape,
  x: ArrayLike<number>,
  plane: number,
  weights: ArrayLike<number>,
  bias: ArrayLike<number>,
  lo: number,
  hi: number,
): Twin {
  const { out, height, width, size, stride, groups } = shape;
  const each = shape.in / groups;
  const pad = size >> 1;
  const outHeight = Math.ceil(height / stride);
  const outWidth = Math.ceil(width / stride);
  const values = new Float64Array(out * outHeight * outWidth);
  const bounds = new Float64Array(values.length);
  let at = 0;
  for (let o = 0; o < out; o++) {
    const first = Math.floor((o * groups) / out) * each;
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++, at++) {
        let sum = bias[o];
        let sizes = Math.abs(sum);
        for (let i = 0; i < each; i++) {
          for (let ky = 0; ky < size; ky++) {
            for (let kx = 0; kx < size; kx++) {
              const iy = oy * stride + ky - pad;
              const ix = ox * stride + kx - pad;
              if (iy < 0 || iy >= height || ix < 0 || ix >= width) continue;
              const w = weights[((o * each + i) * size + ky) * size + kx];
              const term = w * x[(first + i) * plane + iy * width + ix];
              sum += term;
              sizes += Math.abs(term);
            }
          }
        }
        values[at] = limit(sum, lo, hi);
        bounds[at] = 2 * (each * size * size + 2) * 2 ** -24 * sizes;
      }
    }
  }
  return { values, bounds };
}
