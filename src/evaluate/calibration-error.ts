/**
 * Expected calibration error (Guo et al. 2017): how far confidence lies from accuracy, over bins of equal width.
 *
 * Bin b of B holds confidences in (b/B, (b+1)/B]. From probabilities; `probabilities` in classify.ts makes them.
 */
import { demand } from "../core/errors.ts";
import { argmax } from "./classify.ts";

export interface CalibrationBin {
  readonly count: number;
  /** means within the bin; 0 where it is empty */
  readonly confidence: number;
  readonly accuracy: number;
}

export interface Calibration {
  /** 0 to 1 */
  readonly error: number;
  readonly bins: readonly CalibrationBin[];
}

/** Probabilities [N, K] against labels. */
export function calibrationError(p: ArrayLike<number>, labels: ArrayLike<number>, bins = 15): Calibration {
  const n = labels.length;
  const k = p.length / n;
  const predicted = argmax(p, n);
  const [count, confidence, right] = [new Int32Array(bins), new Float64Array(bins), new Int32Array(bins)];
  for (let i = 0; i < n; i++) {
    const c = p[i * k + predicted[i]];
    demand(c >= 0 && c <= 1 + 1e-6, () => ({
      about: "calibration error",
      expected: "probabilities",
      got: `${c} for example ${i}`,
      hint: "Give the softmax of the logits.",
    }));
    const bin = Math.min(bins - 1, Math.max(0, Math.ceil(c * bins) - 1));
    count[bin]++;
    confidence[bin] += c;
    right[bin] += predicted[i] === labels[i] ? 1 : 0;
  }
  const all = Array.from(count, (m, b) => ({
    count: m,
    confidence: m ? confidence[b] / m : 0,
    accuracy: m ? right[b] / m : 0,
  }));
  return { error: all.reduce((sum, b) => sum + (b.count / n) * Math.abs(b.accuracy - b.confidence), 0), bins: all };
}
