/**
 * RigL (Evci et al. 2020, arXiv 1911.11134): every dT steps the smallest weights go and those with the largest dense
 * gradient come; the exchanged share falls by half a cosine until 3/4 of the run. What went may come back at once, and
 * then keeps value and state. `growth: random` makes it the other half of ITOP.
 */
import { erk } from "../../sparsity/budget-shapes.ts";
import { gradient, magnitude, type Score } from "../../sparsity/criteria.ts";
import { rewire } from "../../sparsity/rewire.ts";
import { constant, cosine, everySteps } from "../../sparsity/schedule.ts";
import { type Dynamic, dynamic } from "./set.ts";
import type { StaticOptions } from "./static.ts";

export interface RiglOptions extends StaticOptions {
  readonly sparsity: number;
  /** dT, in steps; default 100 */
  readonly every?: number;
  /** first and last share of the weights that is exchanged; default 0.3 and 0 */
  readonly fraction?: readonly [first: number, last: number];
  /** part of the run after which the masks stay; default 0.75 */
  readonly until?: number;
  /** default: the size of the gradient */
  readonly growth?: Score;
  readonly regrow?: boolean;
}

export function rigl(options: RiglOptions): Dynamic {
  const { sparsity, budget = erk, pattern, every = 100, until = 0.75, growth = gradient, regrow = true } = options;
  const [first, last] = options.fraction ?? [0.3, 0];
  const hook = rewire({
    drop: magnitude,
    grow: growth,
    budget,
    target: constant(sparsity),
    fraction: cosine(first, last, { end: until }),
    when: everySteps(every, { until }),
    regrow,
    ...(pattern && { pattern }),
  });
  return dynamic(options.growth ? `rigl, growth ${growth.id}` : "rigl", options, hook);
}
