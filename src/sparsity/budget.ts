/**
 * Budgets: how the allowed non-zeros are shared over layers. A budget gives shares; rounding to exact counts by
 * largest remainder is done here, once. Counts are in units of the pattern (elements, or blocks).
 */
import { demand, LacunaError } from "../core/errors.ts";
import { nearest } from "./nearest.ts";
import { checkSparsity, type LayerShape, layoutOf, type Pattern } from "./pattern.ts";
import { prunedCount } from "./select.ts";

/** One layer as a budget sees it. */
export interface BudgetLayer extends LayerShape {
  /** all axes, where there are more than two: [out, in, kh, kw] */
  readonly shape?: readonly number[];
  /** units that may be pruned */
  readonly units: number;
}

export interface Budget {
  readonly id: string;
  /**
   * Wanted share of units to keep in each layer, in [0, 1]; only the ratios between layers and the total matter, so
   * sum(share * units) must be (1 - sparsity) * sum(units). `evidence` is what a budget of a kind asks for (sensitivity
   * by layer name, say); the ones here ask for none.
   */
  shares(layers: readonly BudgetLayer[], sparsity: number, evidence?: ReadonlyMap<string, number>): readonly number[];
}

/** The same sparsity in every layer. */
export const uniform: Budget = {
  id: "uniform",
  shares: (layers, sparsity) => layers.map(() => 1 - sparsity),
};

export const budgets: readonly Budget[] = [uniform];

/** Throws `LacunaError` with the nearest name for an unknown one. */
export function budgetNamed(id: string): Budget {
  const found = budgets.find((b) => b.id === id);
  if (found) return found;
  const ids = budgets.map((b) => b.id);
  const near = nearest(id, ids);
  throw new LacunaError({
    about: "budget",
    expected: ids.join(", "),
    got: JSON.stringify(id),
    hint: near ? `Did you mean ${near}?` : "See lacuna prune --help.",
  });
}

/**
 * Whole counts near `wanted` that sum to `total`, each at most its cap: floors first, then one more each by largest
 * remainder, ties to the lower index. Throws `RangeError` when the caps cannot hold the total.
 */
export function largestRemainder(wanted: readonly number[], total: number, caps: readonly number[]): Int32Array {
  const counts = Int32Array.from(wanted, (w, i) => Math.max(0, Math.min(caps[i], Math.floor(w + 1e-6))));
  let left = total - counts.reduce((sum, c) => sum + c, 0);
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[b] - counts[b] - (wanted[a] - counts[a]) || a - b);
  for (let moved = true; left !== 0 && moved; ) {
    moved = false;
    // Too many can only come from wants that sum to more than the total; the smallest remainders give back.
    for (const i of left > 0 ? order : order.toReversed()) {
      if (left > 0 ? counts[i] >= caps[i] : counts[i] <= 0) continue;
      counts[i] += Math.sign(left);
      left -= Math.sign(left);
      moved = true;
      if (left === 0) break;
    }
  }
  if (left !== 0) throw new RangeError(`caps of ${caps} cannot hold a total of ${total}`);
  return counts;
}

/**
 * Units kept in each layer. Free patterns: the sum of pruned units is exactly floor(s * units + 1e-6) over all layers.
 * N:M: what the pattern fixes. Throws `LacunaError` for a sparsity outside [0, 1) or a pattern that does not fit.
 */
export function keepCounts(
  budget: Budget,
  layers: readonly Omit<BudgetLayer, "units">[],
  pattern: Pattern,
  sparsity: number,
  evidence?: ReadonlyMap<string, number>,
): Int32Array {
  checkSparsity(sparsity);
  const layouts = layers.map((l) => layoutOf(pattern, l));
  if (pattern.kind === "nm") return Int32Array.from(layouts, (l) => (l.units / pattern.of) * pattern.keep);
  const caps = layouts.map((l) => l.units);
  const units = caps.reduce((sum, n) => sum + n, 0);
  const shares = budget.shares(
    layers.map((l, i) => ({ ...l, units: caps[i] })),
    sparsity,
    evidence,
  );
  demand(
    shares.every((share) => share >= 0 && share <= 1),
    () => ({
      about: `budget ${budget.id}`,
      expected: "a share to keep in [0, 1] for every layer",
      got: shares.join(", "),
      hint: "The sparsity may be out of reach for this budget; ask for another.",
    }),
  );
  // Largest remainder works on what is pruned, so that a single layer prunes floor(s n), not ceil.
  const pruned = largestRemainder(
    shares.map((share, i) => (1 - share) * caps[i]),
    prunedCount(sparsity, units),
    caps,
  );
  return pruned.map((p, i) => caps[i] - p);
}
