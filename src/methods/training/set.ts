/**
 * SET (Mocanu et al. 2018, Nature Communications): at the end of each epoch the share zeta of the positive and of the
 * negative weights nearest to 0 goes, and as many come at random places. What went does not come back in the same update.
 */

import type { Fill } from "../../nn/param.ts";
import { erk } from "../../sparsity/budget-shapes.ts";
import { magnitude, random } from "../../sparsity/criteria.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import { type RewireHook, type RewireMeter, rewire } from "../../sparsity/rewire.ts";
import { type Cadence, constant, everyEpochs, type Ramp } from "../../sparsity/schedule.ts";
import { beginAtRandom, type StaticOptions } from "./static.ts";

export interface SetOptions extends StaticOptions {
  readonly sparsity: number;
  /** zeta; default 0.3 */
  readonly fraction?: Ramp;
  /** default: at the end of each epoch */
  readonly when?: Cadence;
  /** default 0, as RigL's authors run it; SET itself draws small numbers */
  readonly fill?: Fill;
}

export interface Dynamic extends SparseTraining {
  readonly meter: RewireMeter;
}

export const dynamic = (id: string, begin: StaticOptions, hook: RewireHook): Dynamic => ({
  id,
  begin: (b) => beginAtRandom(b, begin),
  hooks: [hook],
  meter: hook.meter,
});

export function set(options: SetOptions): Dynamic {
  const { sparsity, budget = erk, pattern, fraction = constant(0.3), when = everyEpochs(1), fill = "zero" } = options;
  const hook = rewire({
    drop: magnitude,
    grow: random,
    budget,
    target: constant(sparsity),
    fraction,
    when,
    strata: "sign",
    regrow: false,
    fill,
    ...(pattern && { pattern }),
  });
  return dynamic("set", options, hook);
}
