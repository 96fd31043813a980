/**
 * Bicubic resampling as MATLAB's imresize does it (Keys 1981, a = -1/2): when shrinking, the kernel is widened by the
 * scale, so that it also smooths; edges are mirrored; output pixel centres lie evenly over the input. Separable, f64
 * inside. Other kernels, sizes instead of a scale, and colour are not here: give one plane at a time.
 */
import { demand } from "../core/errors.ts";

/** One channel of an image. */
export interface Plane {
  readonly height: number;
  readonly width: number;
  /** [H, W] */
  readonly values: Float32Array;
}

/** Keys' cubic with a = -1/2. */
export function cubic(x: number): number {
  const a = Math.abs(x);
  if (a <= 1) return (1.5 * a - 2.5) * a * a + 1;
  if (a < 2) return ((-0.5 * a + 2.5) * a - 4) * a + 2;
  return 0;
}

export interface Taps {
  /** inputs of each output */
  readonly taps: number;
  /** [outputs, taps] */
  readonly places: Int32Array;
  readonly weights: Float64Array;
}

/** Which inputs make each of `outputs` outputs, and with what weights; weights of one output add up to 1. */
export function bicubicTaps(inputs: number, outputs: number, scale: number): Taps {
  const shrink = Math.min(1, scale);
  const width = 4 / shrink;
  const taps = Math.ceil(width) + 2;
  const places = new Int32Array(outputs * taps);
  const weights = new Float64Array(outputs * taps);
  for (let o = 0; o < outputs; o++) {
    // the centre in input pixels, counted from 0
    const centre = (o + 0.5) / scale - 0.5;
    const left = Math.floor(centre - width / 2);
    let sum = 0;
    for (let t = 0; t < taps; t++) {
      const at = left + t;
      const w = shrink * cubic(shrink * (centre - at));
      const mirrored = ((at % (2 * inputs)) + 2 * inputs) % (2 * inputs);
      places[o * taps + t] = mirrored < inputs ? mirrored : 2 * inputs - 1 - mirrored;
      weights[o * taps + t] = w;
      sum += w;
    }
    for (let t = 0; t < taps; t++) weights[o * taps + t] /= sum;
  }
  return { taps, places, weights };
}

const toByte = (x: number): number => Math.min(255, Math.max(0, Math.floor(x + 0.5)));

export interface ResizeOptions {
  /** round to 0..255 after each direction, as MATLAB does for images of bytes; default false */
  readonly bytes?: boolean;
}

/** The plane at `scale` times its size, rounded up. Rows are resampled first. */
export function resize(plane: Plane, scale: number, options: ResizeOptions = {}): Plane {
  const { height: h, width: w, values } = plane;
  demand(scale > 0 && Number.isFinite(scale) && h > 0 && w > 0 && values.length === h * w, () => ({
    about: "resize",
    expected: "a positive scale and a plane of H x W values",
    got: `${scale}, ${h} x ${w} and ${values.length} values`,
    hint: "Give one channel at a time.",
  }));
  const outH = Math.ceil(h * scale);
  const outW = Math.ceil(w * scale);
  const finish = options.bytes ? toByte : (x: number): number => x;
  const down = bicubicTaps(h, outH, scale);
  const middle = new Float64Array(outH * w);
  for (let i = 0; i < outH; i++) {
    for (let t = i * down.taps; t < (i + 1) * down.taps; t++) {
      const [row, weight] = [down.places[t] * w, down.weights[t]];
      if (weight !== 0) for (let j = 0; j < w; j++) middle[i * w + j] += weight * values[row + j];
    }
    for (let j = i * w; j < (i + 1) * w; j++) middle[j] = finish(middle[j]);
  }
  const across = bicubicTaps(w, outW, scale);
  const out = new Float32Array(outH * outW);
  for (let i = 0; i < outH; i++) {
    for (let j = 0; j < outW; j++) {
      let sum = 0;
      for (let t = j * across.taps; t < (j + 1) * across.taps; t++)
        sum += across.weights[t] * middle[i * w + across.places[t]];
      out[i * outW + j] = finish(sum);
    }
  }
  return { height: outH, width: outW, values: out };
}
