/**
 * Image quality on one channel: PSNR, and SSIM (Wang et al. 2004: Gaussian window 11 x 11 of deviation 1.5, K1 = 0.01,
 * K2 = 0.03, windows that lie wholly inside). A border can be left out, as super-resolution does by the scale.
 */
import { exp, ln } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
import type { Plane } from "../data/resize.ts";

export interface QualityOptions {
  /** the greatest value a pixel can have; default 1 */
  readonly peak?: number;
  /** pixels left out on every side; default 0 */
  readonly border?: number;
  /** first clip to 0..peak and round to 255 steps, as a saved picture would; default false */
  readonly bytes?: boolean;
}

function prepare(a: Plane, b: Plane, options: QualityOptions, least: number): { x: Plane; y: Plane; peak: number } {
  const { peak = 1, border = 0, bytes = false } = options;
  const [h, w] = [a.height - 2 * border, a.width - 2 * border];
  demand(a.height === b.height && a.width === b.width && h >= least && w >= least, () => ({
    about: "image quality",
    expected: `two planes of one size, at least ${least + 2 * border} pixels a side`,
    got: `${a.height} x ${a.width} and ${b.height} x ${b.width}`,
    hint: "Crop both to the same size.",
  }));
  const finish = (v: number): number =>
    bytes ? (Math.floor((Math.min(peak, Math.max(0, v)) / peak) * 255 + 0.5) * peak) / 255 : v;
  const cut = (p: Plane): Plane => {
    const values = new Float32Array(h * w);
    for (let i = 0; i < h; i++) {
      for (let j = 0; j < w; j++) values[i * w + j] = finish(p.values[(i + border) * p.width + j + border]);
    }
    return { height: h, width: w, values };
  };
  return { x: cut(a), y: cut(b), peak };
}

/** Peak signal-to-noise ratio in dB; infinite for equal planes. */
export function psnr(a: Plane, b: Plane, options: QualityOptions = {}): number {
  const { x, y, peak } = prepare(a, b, options, 1);
  let sum = 0;
  for (let i = 0; i < x.values.length; i++) {
    const d = x.values[i] - y.values[i];
    sum += d * d;
  }
  return (10 * ln((peak * peak * x.values.length) / sum)) / Math.LN10;
}

const WINDOW = 11;

function gaussian(): Float64Array {
  const w = Float64Array.from({ length: WINDOW }, (_, i) => exp(-((i - 5) ** 2) / (2 * 1.5 ** 2)));
  const sum = w.reduce((a, b) => a + b, 0);
  return w.map((v) => v / sum);
}

/** Weighted means over all windows that lie inside: [H - 10, W - 10]. */
function blur(v: Float64Array, h: number, w: number, window: Float64Array): Float64Array {
  const [oh, ow] = [h - WINDOW + 1, w - WINDOW + 1];
  const rows = new Float64Array(h * ow);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < ow; j++) {
      let sum = 0;
      for (let k = 0; k < WINDOW; k++) sum += window[k] * v[i * w + j + k];
      rows[i * ow + j] = sum;
    }
  }
  const out = new Float64Array(oh * ow);
  for (let i = 0; i < oh; i++) {
    for (let j = 0; j < ow; j++) {
      let sum = 0;
      for (let k = 0; k < WINDOW; k++) sum += window[k] * rows[(i + k) * ow + j];
      out[i * ow + j] = sum;
    }
  }
  return out;
}

/** Mean structural similarity, at most 1. */
export function ssim(a: Plane, b: Plane, options: QualityOptions = {}): number {
  const { x: px, y: py, peak } = prepare(a, b, options, WINDOW);
  const [x, y] = [Float64Array.from(px.values), Float64Array.from(py.values)];
  const window = gaussian();
  const means = (v: Float64Array): Float64Array => blur(v, px.height, px.width, window);
  const [mx, my] = [means(x), means(y)];
  const [xx, yy, xy] = [means(x.map((v) => v * v)), means(y.map((v) => v * v)), means(x.map((v, i) => v * y[i]))];
  const [c1, c2] = [(0.01 * peak) ** 2, (0.03 * peak) ** 2];
  let sum = 0;
  for (let i = 0; i < mx.length; i++) {
    const [vx, vy, cov] = [xx[i] - mx[i] * mx[i], yy[i] - my[i] * my[i], xy[i] - mx[i] * my[i]];
    sum += ((2 * mx[i] * my[i] + c1) * (2 * cov + c2)) / ((mx[i] * mx[i] + my[i] * my[i] + c1) * (vx + vy + c2));
  }
  return sum / mx.length;
}
