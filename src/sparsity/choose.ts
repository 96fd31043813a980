/**
 * From scores of a whole network to masks: counts of units by a budget, then the best units of each site.
 *
 * Units are elements, or blocks of a pattern with the mean of their members' scores. Counts are exact; ties fall to the
 * lower index. `globally` lets all sites compete in one pool.
 */
import { demand } from "../core/errors.ts";
import type { Fill } from "../nn/param.ts";
import { type Budget, keepCounts } from "./budget.ts";
import type { Score } from "./criteria.ts";
import type { Evidence } from "./evidence.ts";
import type { Mask } from "./mask.ts";
import { fixedSparsity, type Layout, layoutOf, type Pattern, unstructured } from "./pattern.ts";
import { keepBest, prunedCount, type RowScore, selectMask, unitScores } from "./select.ts";
import type { Site } from "./site.ts";

/** A budget that reads more than shapes. Counts are units kept of each site. */
export interface CountedBudget {
  readonly id: string;
  keep(sites: readonly Site[], pattern: Pattern, sparsity: number, e: Evidence): Int32Array;
}

export type NetBudget = Budget | CountedBudget;

export const countsOf = (
  budget: NetBudget,
  sites: readonly Site[],
  pattern: Pattern,
  sparsity: number,
  e: Evidence,
): Int32Array =>
  "keep" in budget ? budget.keep(sites, pattern, sparsity, e) : keepCounts(budget, sites, pattern, sparsity);

/** Scores by row, as selection reads them. */
export const byRow =
  (values: Float64Array, columns: number): RowScore =>
  (row, into) =>
    into.set(values.subarray(row * columns, (row + 1) * columns));

/** Mean scores of a site's units. */
export function onUnits(values: Float64Array, s: Site, layout: Layout): Float64Array {
  if (layout.units === values.length) return values;
  const fold = unitScores(byRow(values, s.columns), s, layout);
  const all = new Float64Array(layout.units);
  for (let u = 0; u < layout.unitRows; u++) {
    fold(u, all.subarray(u * layout.unitColumns, (u + 1) * layout.unitColumns));
  }
  return all;
}

/** Which units are kept: the bit of a unit's first element. */
export function unitBits(bits: Uint8Array, s: Site, layout: Layout): Uint8Array {
  if (layout.units === bits.length) return bits;
  const { unitRows, unitColumns, height, width } = layout;
  const kept = new Uint8Array(layout.units);
  for (let u = 0; u < unitRows; u++) {
    for (let v = 0; v < unitColumns; v++) kept[u * unitColumns + v] = bits[u * height * s.columns + v * width];
  }
  return kept;
}

function scored(score: Score, s: Site, e: Evidence, nested: boolean): Float64Array {
  const values = score.of(s, e);
  demand(!values.some(Number.isNaN), () => ({
    about: `score ${score.id} of ${s.name}`,
    expected: "numbers",
    got: "NaN",
    hint: "Training may have diverged; lower the learning rate.",
  }));
  if (nested && s.param.mask) {
    const { bits } = e.mask(s);
    for (let i = 0; i < values.length; i++) if (bits[i] === 0) values[i] = Number.NEGATIVE_INFINITY;
  }
  return values;
}

/** Counts that one pool over all sites gives: the best units of the whole network. */
export const globally = (score: Score, { nested = false } = {}): CountedBudget => ({
  id: `global ${score.id}`,
  keep(sites, pattern, sparsity, e) {
    const layouts = sites.map((s) => layoutOf(pattern, s));
    const total = layouts.reduce((n, l) => n + l.units, 0);
    const pool = new Float64Array(total);
    let at = 0;
    sites.forEach((s, i) => {
      pool.set(onUnits(scored(score, s, e, nested), s, layouts[i]), at);
      at += layouts[i].units;
    });
    const bits = keepBest(pool, total - prunedCount(sparsity, total));
    at = 0;
    return Int32Array.from(layouts, (l) => {
      let kept = 0;
      for (let i = 0; i < l.units; i++) kept += bits[at + i];
      at += l.units;
      return kept;
    });
  },
});

/** The given counts of kept units, whatever the sparsity: those of another run or method. */
export const given = (counts: ArrayLike<number>): CountedBudget => ({
  id: "given",
  keep: () => Int32Array.from(counts),
});

export interface Choice {
  readonly score: Score;
  readonly budget: NetBudget;
  /** fraction of zeros over all sites; N:M fixes its own */
  readonly sparsity?: number;
  readonly pattern?: Pattern;
  /** what is pruned already stays pruned */
  readonly nested?: boolean;
}

/** Masks of all sites. Nothing is changed; `applyMasks` does that. */
export function choose(sites: readonly Site[], c: Choice, e: Evidence): readonly Mask[] {
  const { pattern = unstructured, nested = false } = c;
  const sparsity = c.sparsity ?? fixedSparsity(pattern);
  demand(sparsity !== undefined, () => ({
    about: "choice of masks",
    expected: "a sparsity in [0, 1)",
    got: "none",
    hint: "Only N:M patterns fix it themselves.",
  }));
  const keep = countsOf(c.budget, sites, pattern, sparsity, e);
  return sites.map((s, i) => {
    const score = byRow(scored(c.score, s, e, nested), s.columns);
    const pruned = layoutOf(pattern, s).units - keep[i];
    return selectMask(score, { shape: s, pattern, pool: "matrix", pruned });
  });
}

/** Sets the masks of all sites; grown weights get `fill`. */
export function applyMasks(sites: readonly Site[], masks: readonly Mask[], fill: Fill = "zero"): void {
  sites.forEach((s, i) => {
    s.param.setMask(masks[i], fill);
  });
}

/** zeros / elements over the sites. */
export const sparsityOf = (sites: readonly Site[]): number =>
  1 - sites.reduce((n, s) => n + s.param.kept, 0) / sites.reduce((n, s) => n + s.numel, 0);

/** Sites that a choice would leave without any weight: the network would not pass anything through them. */
export const collapsed = (sites: readonly Site[], masks: readonly Mask[]): readonly string[] =>
  sites.filter((_, i) => masks[i].kept === 0).map((s) => s.name);
