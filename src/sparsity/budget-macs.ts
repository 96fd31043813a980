/**
 * Budgets in multiply-adds: how many weights are kept so that layers together cost what they may. A budget of shapes says
 * how the weights are shared out; its sparsity is found by bisection, as a weight of a convolution costs once for each place.
 */
import { demand } from "../core/errors.ts";
import { type Budget, keepCounts, uniform } from "./budget.ts";
import type { CountedBudget } from "./choose.ts";
import { unstructured } from "./pattern.ts";
import type { Site } from "./site.ts";

/** Multiply-adds of one example, forward, when `keep[i]` weights of each site are kept. */
export const macsOf = (sites: readonly Site[], keep: ArrayLike<number>): number =>
  sites.reduce((n, s, i) => n + (s.macs / s.numel) * keep[i], 0);

/**
 * Weights to keep of each site: as many as cost at most `macs` for one example. What is left over is less than the next
 * weight would cost. Throws `LacunaError` when not even one weight can be had.
 */
export function keepForMacs(sites: readonly Site[], macs: number, budget: Budget = uniform): Int32Array {
  const units = sites.reduce((n, s) => n + s.numel, 0);
  const at = (pruned: number): Int32Array => keepCounts(budget, sites, unstructured, pruned / units);
  // Rounding of what is a whole number of multiply-adds in exact arithmetic.
  const fits = (pruned: number): boolean => macsOf(sites, at(pruned)) <= macs + 1e-6;
  let [low, high] = [0, units - 1];
  demand(fits(high), () => ({
    about: `budget of ${macs} multiply-adds`,
    expected: `at least one weight's of ${sites.map((s) => s.name).join(", ")}`,
    got: String(macs),
    hint: "What stays dense takes all of it; choose a lower sparsity or a wider network.",
  }));
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return at(high);
}

/** Sites that share a number of multiply-adds for one example, by their parameters' names. */
export interface MacGroup {
  readonly names: readonly string[];
  readonly macs: number;
}

/** Each group at what it may cost, whatever sparsity is asked for. Sites of no group are an error. */
export const atMacs = (groups: readonly MacGroup[], budget: Budget = uniform): CountedBudget => ({
  id: `${budget.id} by multiply-adds`,
  keep(sites) {
    const keep = new Int32Array(sites.length).fill(-1);
    for (const { names, macs } of groups) {
      const places = names.map((name) => sites.findIndex((s) => s.name === name)).filter((i) => i >= 0);
      const counts = keepForMacs(
        places.map((i) => sites[i]),
        macs,
        budget,
      );
      places.forEach((i, k) => {
        keep[i] = counts[k];
      });
    }
    demand(!keep.includes(-1), () => ({
      about: "budget by multiply-adds",
      expected: "a group for every site",
      got: `none for ${sites.filter((_, i) => keep[i] < 0).map((s) => s.name)}`,
      hint: "Give the method the sites that its groups name.",
    }));
    return keep;
  },
});
