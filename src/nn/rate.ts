/**
 * Learning rate over a run: linear warm-up, then a half cosine down to a floor. `step` counts from 0.
 */
import { sinCosTurns } from "../core/elementary.ts";

export interface RateOptions {
  readonly peak: number;
  readonly floor: number;
  readonly warmup: number;
  readonly steps: number;
}

export function rateAt(step: number, o: RateOptions): number {
  if (step < o.warmup) return (o.peak * (step + 1)) / o.warmup;
  const through = Math.min(1, (step - o.warmup) / Math.max(1, o.steps - o.warmup));
  const [, cos] = sinCosTurns(through / 2);
  return o.floor + ((o.peak - o.floor) * (1 + cos)) / 2;
}
