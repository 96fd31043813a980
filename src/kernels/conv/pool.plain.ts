/** Pooling and sub-pixel moves in plain f64, straight from the definition: the slow twins of the kernels. */

type Numbers = ArrayLike<number>;

export interface Windows {
  readonly height: number;
  readonly width: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernelHeight: number;
  readonly kernelWidth: number;
  readonly strideY: number;
  readonly strideX: number;
  readonly top: number;
  readonly left: number;
}

/** For every output of every plane: its index, and the plane's elements in its window. */
function eachWindow(planes: number, w: Windows, visit: (out: number, plane: number, at: readonly number[]) => void) {
  for (let u = 0; u < planes; u++) {
    for (let oy = 0; oy < w.outHeight; oy++) {
      for (let ox = 0; ox < w.outWidth; ox++) {
        const at: number[] = [];
        for (let ky = 0; ky < w.kernelHeight; ky++) {
          for (let kx = 0; kx < w.kernelWidth; kx++) {
            const [y, x] = [oy * w.strideY + ky - w.top, ox * w.strideX + kx - w.left];
            if (y >= 0 && y < w.height && x >= 0 && x < w.width) at.push(y * w.width + x);
          }
        }
        visit((u * w.outHeight + oy) * w.outWidth + ox, u * w.height * w.width, at);
      }
    }
  }
}

/** The largest value of each window and its place in the plane; the first among equals. */
export function maxPool(x: Numbers, planes: number, w: Windows): { values: Float64Array; index: Int32Array } {
  const values = new Float64Array(planes * w.outHeight * w.outWidth);
  const index = new Int32Array(values.length);
  eachWindow(planes, w, (out, plane, at) => {
    const best = at.reduce((a, b) => (x[plane + b] > x[plane + a] ? b : a));
    values[out] = x[plane + best];
    index[out] = best;
  });
  return { values, index };
}

export function scatter(dy: Numbers, index: Int32Array, planes: number, size: number, outSize: number): Float64Array {
  const dx = new Float64Array(planes * size);
  for (let i = 0; i < dy.length; i++) dx[Math.floor(i / outSize) * size + index[i]] += dy[i];
  return dx;
}

export function sumPool(x: Numbers, planes: number, w: Windows, mean: boolean): Float64Array {
  const out = new Float64Array(planes * w.outHeight * w.outWidth);
  eachWindow(planes, w, (o, plane, at) => {
    out[o] = at.reduce((a, i) => a + x[plane + i], 0) / (mean ? at.length : 1);
  });
  return out;
}

export function spread(dy: Numbers, planes: number, w: Windows, mean: boolean): Float64Array {
  const dx = new Float64Array(planes * w.height * w.width);
  eachWindow(planes, w, (o, plane, at) => {
    for (const i of at) dx[plane + i] += dy[o] / (mean ? at.length : 1);
  });
  return dx;
}

export const meanOf = (x: Float32Array): number => x.reduce((a, b) => a + b, 0) / x.length;

/** [C r r, H, W] -> [C, H r, W r] (Shi et al. 2016). */
export function toPixels(x: Numbers, planes: number, height: number, width: number, r: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let u = 0; u < planes; u++) {
    for (let y = 0; y < height * r; y++) {
      for (let xx = 0; xx < width * r; xx++) {
        const channel = u * r * r + (y % r) * r + (xx % r);
        const from = (channel * height + Math.floor(y / r)) * width + Math.floor(xx / r);
        out[(u * height * r + y) * width * r + xx] = x[from];
      }
    }
  }
  return out;
}
