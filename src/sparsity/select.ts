/**
 * From scores to masks: exact counts, stable ties. Higher score, then lower index, is kept; NaN is an error.
 *
 * Counts are given, never thresholds. What competes is a pool: the whole matrix, or one row (one row group of the
 * block's height); N:M competes inside its run. A block's score is the mean of its members'.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { type Mask, maskOf } from "./mask.ts";
import { type LayerShape, type Layout, layoutOf, type Pattern } from "./pattern.ts";

/** Fills `into` [C] with the scores of output row `row`; larger = keep. */
export type RowScore = (row: number, into: Float64Array) => void;

/** Who competes with whom. N:M patterns ignore it. */
export type Pool = "matrix" | "row";

/** Pruned of `n` at a sparsity: floor(s n + 1e-6), so that 0.7 * 10 is 7. */
export const prunedCount = (sparsity: number, n: number): number => Math.floor(sparsity * n + 1e-6);

/**
 * Marks the `keep` best of `scores` with 1. O(n) on average: the keep-th best value is found by quickselect,
 * values above it are kept, and equals are kept in index order until the count is reached.
 */
export function keepBest(scores: Float64Array, keep: number, bits = new Uint8Array(scores.length)): Uint8Array {
  const n = scores.length;
  checkKeep(keep, n);
  checkNumbers(scores);
  if (keep === 0) return bits.fill(0);
  if (keep === n) return bits.fill(1);
  const threshold = kthLargest(scores.slice(), keep);
  let ties = keep;
  for (let i = 0; i < n; i++) if (scores[i] > threshold) ties--;
  for (let i = 0; i < n; i++) {
    const kept = scores[i] > threshold || (scores[i] === threshold && ties-- > 0);
    bits[i] = kept ? 1 : 0;
  }
  return bits;
}

/** The plain O(n log n) twin of `keepBest`: sort by score, then by index. */
export function keepBestBySorting(scores: Float64Array, keep: number): Uint8Array {
  checkKeep(keep, scores.length);
  checkNumbers(scores);
  const order = Array.from(scores.keys()).sort((a, b) =>
    scores[a] === scores[b] ? a - b : scores[a] > scores[b] ? -1 : 1,
  );
  const bits = new Uint8Array(scores.length);
  for (const i of order.slice(0, keep)) bits[i] = 1;
  return bits;
}

function checkKeep(keep: number, n: number): void {
  if (!Number.isInteger(keep) || keep < 0 || keep > n) throw new RangeError(`cannot keep ${keep} of ${n}`);
}

function checkNumbers(scores: Float64Array): void {
  for (let i = 0; i < scores.length; i++) if (Number.isNaN(scores[i])) throw new NotANumber(i);
}

/** A score was NaN; callers that know the layer turn it into a `LacunaError`. */
class NotANumber extends Error {
  readonly index: number;
  constructor(index: number) {
    super(`score ${index} is not a number`);
    this.index = index;
  }
}

/** Value at rank `k` (1-based) from the top; reorders `a`. Three-way partition, so that many ties cost nothing. */
function kthLargest(a: Float64Array, k: number): number {
  let lo = 0;
  let hi = a.length - 1;
  const rank = k - 1;
  let state = 0x9e3779b9;
  while (lo < hi) {
    // The pivot is drawn from a fixed sequence: no input of practical interest is quadratic, and runs agree.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const span = hi - lo + 1;
    const pivot = median(a[lo + (state % span)], a[lo + ((state >>> 8) % span)], a[lo + (span >>> 1)]);
    let greater = lo;
    let less = hi;
    for (let i = lo; i <= less; ) {
      const v = a[i];
      if (v > pivot) {
        a[i++] = a[greater];
        a[greater++] = v;
      } else if (v < pivot) {
        a[i] = a[less];
        a[less--] = v;
      } else i++;
    }
    if (rank < greater) hi = greater - 1;
    else if (rank > less) lo = less + 1;
    else return pivot;
  }
  return a[lo];
}

const median = (a: number, b: number, c: number): number => Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));

export interface Selection {
  readonly shape: LayerShape;
  readonly pattern: Pattern;
  readonly pool: Pool;
  /** units pruned over the whole weight; a row pool prunes floor(pruned / rows) in each; N:M ignores it */
  readonly pruned: number;
}

/** Mask of one weight. Throws `LacunaError` for NaN scores and for patterns that do not fit the weight. */
export function selectMask(score: RowScore, { shape, pattern, pool, pruned }: Selection): Mask {
  const layout = layoutOf(pattern, shape);
  const { unitRows, unitColumns, units, quota } = layout;
  demand(quota || (Number.isInteger(pruned) && pruned >= 0 && pruned <= units), () => ({
    about: `layer ${shape.name}`,
    expected: `a count of pruned units in 0 to ${units}`,
    got: String(pruned),
    hint: "Counts come from a budget.",
  }));
  const fold = unitScores(score, shape, layout);
  const kept = new Uint8Array(units);
  try {
    if (pool === "matrix" && quota === undefined) {
      const all = new Float64Array(units);
      for (let u = 0; u < unitRows; u++) fold(u, all.subarray(u * unitColumns, (u + 1) * unitColumns));
      keepBest(all, units - pruned, kept);
    } else {
      const one = new Float64Array(unitColumns);
      const keep = unitColumns - Math.floor(pruned / unitRows);
      for (let u = 0; u < unitRows; u++) {
        fold(u, one);
        const bits = kept.subarray(u * unitColumns, (u + 1) * unitColumns);
        if (quota) keepInRuns(one, quota.keep, quota.of, bits);
        else keepBest(one, keep, bits);
      }
    }
  } catch (error) {
    if (!(error instanceof NotANumber)) throw error;
    throw new LacunaError({
      about: `layer ${shape.name}`,
      expected: "scores that are numbers",
      got: "NaN",
      hint: "The weights or the calibration statistics hold NaN or infinite values; check the model with `lacuna inspect`.",
    });
  }
  return expandUnits(kept, layout, shape);
}

/** Keeps the best `keep` of every `of` consecutive scores; `of` divides the length. */
export function keepInRuns(scores: Float64Array, keep: number, of: number, bits: Uint8Array): Uint8Array {
  checkNumbers(scores);
  for (let start = 0; start < scores.length; start += of) {
    for (let i = start; i < start + of; i++) {
      let better = 0;
      for (let j = start; j < start + of; j++) {
        if (scores[j] > scores[i] || (scores[j] === scores[i] && j < i)) better++;
      }
      bits[i] = better < keep ? 1 : 0;
    }
  }
  return bits;
}

/** Mean score of each unit of a unit row; ragged units average the members they have. */
export function unitScores(
  score: RowScore,
  shape: LayerShape,
  layout: Layout,
): (unitRow: number, into: Float64Array) => void {
  const { height, width, unitColumns } = layout;
  if (height === 1 && width === 1) return score;
  const row = new Float64Array(shape.columns);
  return (unitRow, into) => {
    const first = unitRow * height;
    const last = Math.min(first + height, shape.rows);
    into.fill(0);
    for (let r = first; r < last; r++) {
      score(r, row);
      for (let v = 0; v < unitColumns; v++) {
        const end = Math.min((v + 1) * width, shape.columns);
        for (let c = v * width; c < end; c++) into[v] += row[c];
      }
    }
    for (let v = 0; v < unitColumns; v++) {
      into[v] /= (last - first) * (Math.min((v + 1) * width, shape.columns) - v * width);
    }
  };
}

/** Spreads one bit a unit over the elements. */
export function expandUnits(kept: Uint8Array, layout: Layout, shape: LayerShape): Mask {
  const { height, width, unitColumns } = layout;
  if (height === 1 && width === 1) return maskOf(kept);
  const bits = new Uint8Array(shape.rows * shape.columns);
  for (let r = 0; r < shape.rows; r++) {
    const units = Math.floor(r / height) * unitColumns;
    for (let v = 0; v < unitColumns; v++) {
      if (kept[units + v] === 0) continue;
      const row = r * shape.columns;
      bits.fill(1, row + v * width, row + Math.min((v + 1) * width, shape.columns));
    }
  }
  return maskOf(bits);
}
