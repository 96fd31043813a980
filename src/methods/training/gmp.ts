/**
 * Gradual magnitude pruning (Zhu and Gupta 2017, arXiv 1710.01878): sparsity rises by a cubic ramp; after every update the
 * smallest weights of each layer are masked. Masked weights are held: they keep their value, are ranked again, and return
 * when others shrink below them (`recover: false`: they are 0 and stay away).
 *
 * Counts are floor(s n) pruned, ties by index; the paper's code rounds and breaks ties at random. Blocks are those of
 * `pattern`. When the ramp has ended, `store` makes the weights CSR, and the rest of the run pays for non-zeros only.
 */
import { type Budget, keepCounts, uniform } from "../../sparsity/budget.ts";
import type { CountedBudget, NetBudget } from "../../sparsity/choose.ts";
import { magnitude, type Score } from "../../sparsity/criteria.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import type { Pattern } from "../../sparsity/pattern.ts";
import { type RewireMeter, rewire } from "../../sparsity/rewire.ts";
import { type Cadence, cubic, everySteps, type Ramp } from "../../sparsity/schedule.ts";
import type { Site } from "../../sparsity/site.ts";
import { settle, storeSparse } from "../../sparsity/store.ts";

export interface GmpOptions {
  /** final sparsity, of all sites together by `budget` or of each site by itself */
  readonly sparsity: number | ((site: Site) => number);
  /** fractions of the run between which masks change and the sparsity rises; default 0.1 and 0.6 */
  readonly begin?: number;
  readonly end?: number;
  /** steps between updates; default 20 */
  readonly every?: number;
  /** whether a masked weight may return by its magnitude; default true */
  readonly recover?: boolean;
  /** shares of the sites, for a sparsity that is one number; default uniform */
  readonly budget?: NetBudget | Budget;
  readonly pattern?: Pattern;
  /** share of the final sparsity, 0 to 1; default cubic from `begin` to `end` */
  readonly ramp?: Ramp;
  /** what is kept, for comparison; default magnitude */
  readonly score?: Score;
  /** weights whose layer can run it are stored sparse after the last update; default false */
  readonly store?: boolean;
}

/** `sparsity` of a call is the share of the way to each site's own. */
const eachTo = (final: (site: Site) => number): CountedBudget => ({
  id: "each site its own",
  keep: (sites, pattern, way) => Int32Array.from(sites, (s) => keepCounts(uniform, [s], pattern, way * final(s))[0]),
});

/** The method; `meter` counts what its updates did. */
export function gmp(options: GmpOptions): SparseTraining & { readonly meter: RewireMeter } {
  const { sparsity, begin = 0.1, end = 0.6, every = 20, recover = true, store = false, pattern } = options;
  const { budget = uniform, score = magnitude, ramp = cubic(0, 1, { begin, end }) } = options;
  const byNumber = typeof sparsity === "number";
  let done = false;
  const inside = everySteps(every);
  // The first update at or after the end of the ramp is the last one.
  const when: Cadence = (t) => !done && (inside(t) || t.step === t.steps) && t.step > begin * t.steps;
  const hook = rewire({
    drop: score,
    budget: byNumber ? budget : eachTo(sparsity),
    target: byNumber ? (t) => sparsity * ramp(t) : ramp,
    when,
    rank: recover ? "all" : "active",
    fill: "keep",
    ...(pattern && { pattern }),
  });
  return {
    id: "gmp",
    meter: hook.meter,
    begin: ({ sites }) => {
      for (const { param } of sites) param.off = recover ? "held" : "zero";
    },
    hooks: [
      {
        ...hook,
        step(run) {
          hook.step?.(run);
          if (done || !when(run.t) || run.t.step < end * run.t.steps) return;
          done = true;
          if (!store) return;
          settle(run.sites);
          storeSparse(run.sites);
        },
      },
    ],
  };
}
