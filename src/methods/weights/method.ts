/**
 * What a weight-pruning method is: one linear's weights and what was seen of its inputs in, new weights and a mask out.
 *
 * Pure: it reads no file, walks no model and rounds nothing to a stored type. A method that only scores is made by
 * `scoring`; one that moves weights, too, implements `prune` itself.
 */
import type { InputStatistics, Wanted } from "../../calibrate/taps.ts";
import { applyMask, type Mask } from "../../sparsity/mask.ts";
import { type LayerShape, layoutOf, type Pattern } from "../../sparsity/pattern.ts";
import { type Pool, type RowScore, selectMask } from "../../sparsity/select.ts";

export interface Paper {
  readonly title: string;
  readonly authors: string;
  readonly year: number;
  readonly arxiv?: string;
}

/**
 * Statistics of the inputs of a linear, where the method asked for them. Linears that share an input share this object.
 * `gram` is [C, C] f64 in engine memory, upper triangle read; a method that asked for it may overwrite it.
 */
export type LayerStatistics = Partial<Omit<InputStatistics, "gram">> & { readonly gram?: { readonly ptr: number } };

export interface LayerInput {
  /** R outputs, C inputs */
  readonly shape: LayerShape;
  /** [R, C] row-major; not written */
  readonly weights: Float32Array;
  readonly pattern: Pattern;
  /** units of the pattern to keep, of `layoutOf(pattern, shape).units`; from a budget; ignored by N:M */
  readonly keep: number;
  readonly statistics: LayerStatistics;
  readonly seed: number;
}

export interface LayerResult {
  /** [R, C], +0 where the mask is 0 */
  readonly weights: Float32Array;
  readonly mask: Mask;
  /** figures for the run record: loss, damping and the like */
  readonly notes: Readonly<Record<string, number>>;
}

export interface WeightMethod {
  readonly id: string;
  readonly title: string;
  readonly paper: Paper;
  /** what the calibration walk must collect; empty: no calibration text is needed */
  readonly needs: Wanted;
  prune(layer: LayerInput): LayerResult;
}

/** The statistic a method asked for; its absence is a defect of the caller. */
export function present<T>(value: T | undefined, name: string, layer: LayerInput): T {
  if (value === undefined) throw new Error(`layer ${layer.shape.name}: the walk did not collect "${name}"`);
  return value;
}

/** Units to prune; meaningless for N:M, whose quota decides. */
export const prunedUnits = ({ pattern, shape, keep }: LayerInput): number => layoutOf(pattern, shape).units - keep;

/** A method that keeps the best by a score and leaves their values alone. */
export function scoring(
  about: Omit<WeightMethod, "prune">,
  pool: Pool,
  score: (layer: LayerInput) => RowScore,
): WeightMethod {
  return {
    ...about,
    prune(layer) {
      const { shape, pattern, weights } = layer;
      const mask = selectMask(score(layer), { shape, pattern, pool, pruned: prunedUnits(layer) });
      return { weights: applyMask(weights, mask), mask, notes: {} };
    },
  };
}
