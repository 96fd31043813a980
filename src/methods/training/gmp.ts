/**
 * Gradual magnitude pruning (Zhu and Gupta 2017, arXiv 1710.01878): sparsity rises by a cubic ramp; after every update the
 * smallest weights of each layer are masked. Masked weights are held: they keep their value, are ranked again, and return
 * when others shrink below them (`recover: false`: they are 0 and stay away).
 */
import { type Budget, uniform } from "../../sparsity/budget.ts";
import type { NetBudget } from "../../sparsity/choose.ts";
import { magnitude } from "../../sparsity/criteria.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import type { Pattern } from "../../sparsity/pattern.ts";
import { rewire } from "../../sparsity/rewire.ts";
import { type Cadence, cubic, everySteps, type Ramp } from "../../sparsity/schedule.ts";

export interface GmpOptions {
  /** final sparsity */
  readonly sparsity: number;
  /** fractions of the run between which the sparsity rises; default 0.1 and 0.6 */
  readonly begin?: number;
  readonly end?: number;
  /** steps between updates; default 20 */
  readonly every?: number;
  readonly recover?: boolean;
  readonly budget?: NetBudget | Budget;
  readonly pattern?: Pattern;
  readonly ramp?: Ramp;
}

export function gmp(options: GmpOptions): SparseTraining {
  const { sparsity, begin = 0.1, end = 0.6, every = 20, recover = true, budget = uniform, pattern } = options;
  const target = options.ramp ?? cubic(0, sparsity, { begin, end });
  let done = false;
  const inside = everySteps(every);
  // The first update at or after the end of the ramp is the last one.
  const when: Cadence = (t) => {
    if (done || !(inside(t) || t.step === t.steps) || t.step <= begin * t.steps) return false;
    return true;
  };
  const hook = rewire({
    drop: magnitude,
    budget,
    target,
    when,
    rank: recover ? "all" : "active",
    fill: "keep",
    ...(pattern && { pattern }),
  });
  return {
    id: "gmp",
    begin: ({ sites }) => {
      for (const { param } of sites) param.off = recover ? "held" : "zero";
    },
    hooks: [
      {
        ...hook,
        step(run) {
          hook.step?.(run);
          done ||= when(run.t) && run.t.step >= end * run.t.steps;
        },
      },
    ],
  };
}
