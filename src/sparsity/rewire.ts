/**
 * Dynamic sparse training: one loop for SET, RigL, ITOP, SNFS, DSL, SparCL and gradual pruning.
 *
 * At an update of a site with k units to keep, the worst units go until k - ceil(fraction k) are left, then the best of
 * the others come until there are k. Counts are exact; drop ties fall to the lower index being kept, growth ties (all
 * gradients 0) to the hash. Grown weights start without a past in the optimiser. The step has been taken before; scores
 * read that step's batch (Evci et al. 2020, whose code leaves the step out; the cost differs by less than 0.1 %).
 */
import { demand } from "../core/errors.ts";
import type { Fill } from "../nn/param.ts";
import { largestRemainder } from "./budget.ts";
import { countsOf, type NetBudget, onUnits, unitBits } from "./choose.ts";
import type { Score } from "./criteria.ts";
import type { Evidence } from "./evidence.ts";
import type { Hook, Run } from "./hook.ts";
import type { Mask } from "./mask.ts";
import { layoutOf, type Pattern, unstructured } from "./pattern.ts";
import { type Cadence, constant, type Ramp, type Tick } from "./schedule.ts";
import { expandUnits, keepBest } from "./select.ts";
import type { Site } from "./site.ts";

export interface Rewire {
  /** the worst go */
  readonly drop: Score;
  /** the best come; nothing grows without it */
  readonly grow?: Score;
  readonly pattern?: Pattern;
  readonly budget: NetBudget;
  /** sparsity after an update */
  readonly target: Ramp;
  /** share of the kept units that is exchanged; default 0 */
  readonly fraction?: Ramp;
  readonly when: Cadence;
  /** who can survive: active units, or all (a held weight may return by its magnitude); default active */
  readonly rank?: "active" | "all";
  /** SET's rule: the same share of the positive and of the negative weights goes */
  readonly strata?: "sign";
  /** whether what was just dropped may grow again (and then keeps value and state); default true */
  readonly regrow?: boolean;
  readonly fill?: Fill;
}

export interface RewireMeter {
  readonly updates: number;
  /** elements, over all updates */
  readonly dropped: number;
  readonly grown: number;
  /** elements that have ever been active / all elements: the exploration rate R_s of ITOP */
  readonly explored: number;
  /** share of the final mask's elements that the first mask did not have */
  readonly fromFirst: number;
}

export interface RewireHook extends Hook {
  readonly meter: RewireMeter;
}

/** Bits of the `keep` best among candidates; ties by `lot` where it is given, else by index. */
function bestOf(
  scores: Float64Array,
  candidates: Int32Array,
  keep: number,
  lot?: (flat: number) => number,
): readonly number[] {
  if (keep === 0) return [];
  const values = new Float64Array(candidates.length);
  for (let i = 0; i < values.length; i++) values[i] = scores[candidates[i]];
  const bits = keepBest(values, keep);
  if (lot && keep < candidates.length) {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < bits.length; i++) if (bits[i] && values[i] < least) least = values[i];
    const tied: number[] = [];
    let open = 0;
    for (let i = 0; i < bits.length; i++) {
      if (values[i] !== least) continue;
      tied.push(i);
      open += bits[i];
    }
    if (open < tied.length) {
      const drawn = keepBest(
        Float64Array.from(tied, (i) => lot(candidates[i])),
        open,
      );
      tied.forEach((i, j) => {
        bits[i] = drawn[j];
      });
    }
  }
  const chosen: number[] = [];
  for (let i = 0; i < bits.length; i++) if (bits[i]) chosen.push(candidates[i]);
  return chosen;
}

/** Units for which `f` holds, in order. */
function where(n: number, f: (u: number) => boolean): Int32Array {
  const found = new Int32Array(n);
  let count = 0;
  for (let u = 0; u < n; u++) if (f(u)) found[count++] = u;
  return found.subarray(0, count);
}

/** One site's new mask with `keep` units, `exchanged` of them grown anew. */
export function rewired(r: Rewire, s: Site, keep: number, exchanged: number, e: Evidence): Mask {
  const layout = layoutOf(r.pattern ?? unstructured, s);
  const { units } = layout;
  const before = unitBits(e.mask(s).bits, s, layout);
  const drops = onUnits(checked(r.drop, s, e), s, layout);
  const able = r.rank === "all" ? where(units, () => true) : where(units, (u) => before[u] === 1);
  const survivors = Math.min(able.length, keep - Math.min(exchanged, units - keep));
  const after = new Uint8Array(units);
  if (r.strata === "sign") {
    const w = onUnits(Float64Array.from(e.weight(s)), s, layout);
    const [plus, minus] = [able.filter((u) => w[u] >= 0), able.filter((u) => w[u] < 0)];
    const gone = able.length - survivors;
    const caps = [plus.length, minus.length];
    const share = largestRemainder(
      caps.map((n) => (able.length === 0 ? 0 : (gone * n) / able.length)),
      gone,
      caps,
    );
    for (const u of bestOf(drops, plus, plus.length - share[0])) after[u] = 1;
    for (const u of bestOf(drops, minus, minus.length - share[1])) after[u] = 1;
  } else for (const u of bestOf(drops, able, survivors)) after[u] = 1;
  const open = keep - survivors;
  if (r.grow && open > 0) {
    const scores = onUnits(checked(r.grow, s, e), s, layout);
    const at = e.random(s);
    const fresh = where(units, (u) => after[u] === 0 && (r.regrow !== false || before[u] === 0));
    const first = bestOf(scores, fresh, Math.min(open, fresh.length), at);
    for (const u of first) after[u] = 1;
    // Where too few were inactive, the dropped ones come back after all: counts stay exact.
    const rest = where(units, (u) => after[u] === 0);
    for (const u of bestOf(drops, rest, open - first.length)) after[u] = 1;
  }
  return expandUnits(after, layout, s);
}

function checked(score: Score, s: Site, e: Evidence): Float64Array {
  const values = score.of(s, e);
  demand(!values.some(Number.isNaN), () => ({
    about: `score ${score.id} of ${s.name}, step ${e.t.step}`,
    expected: "numbers",
    got: "NaN",
    hint: "Training may have diverged; lower the learning rate.",
  }));
  return values;
}

/** The hook. Masks must be set before (`applyMasks`); `when` decides when they change. One instance serves one run. */
export function rewire(r: Rewire): RewireHook {
  const { fraction = constant(0), pattern = unstructured, fill = "zero" } = r;
  const scores = [r.drop, ...(r.grow ? [r.grow] : [])];
  const remembering = scores.filter((s) => s.observe);
  const meter = { updates: 0, dropped: 0, grown: 0, explored: 0, fromFirst: 0 };
  let first: Uint8Array[] | undefined;
  const needsAt = (t: Tick): readonly Score[] => (r.when(t) ? scores : remembering);
  const measure = ({ sites, evidence }: Run): void => {
    const total = sites.reduce((n, s) => n + s.numel, 0);
    const count = (bits: Uint8Array): number => bits.reduce((n, b) => n + b, 0);
    meter.explored = sites.reduce((n, s) => n + count(evidence.ever(s)), 0) / total;
    let kept = 0;
    let moved = 0;
    sites.forEach((s, i) => {
      const { bits, kept: k } = evidence.mask(s);
      kept += k;
      for (let j = 0; j < bits.length; j++) moved += bits[j] & (1 - (first as Uint8Array[])[i][j]);
    });
    meter.fromFirst = kept === 0 ? 0 : moved / kept;
  };
  return {
    id: `rewire ${r.drop.id}${r.grow ? `, ${r.grow.id}` : ""}`,
    meter,
    needs: (t) => [...new Set(needsAt(t).flatMap((s) => s.needs))],
    step(run) {
      const { sites, evidence: e, t } = run;
      first ??= sites.map((s) => s.param.bits());
      for (const score of remembering) for (const s of sites) score.observe?.(s, e);
      if (!r.when(t)) return;
      const keep = countsOf(r.budget, sites, pattern, r.target(t), e);
      const share = fraction(t);
      const masks = sites.map((s, i) => rewired(r, s, keep[i], r.grow ? Math.ceil(share * keep[i] - 1e-6) : 0, e));
      sites.forEach((s, i) => {
        const before = s.param.bits();
        const { bits } = masks[i];
        for (let j = 0; j < bits.length; j++) {
          meter.dropped += before[j] & (1 - bits[j]);
          meter.grown += bits[j] & (1 - before[j]);
        }
        s.param.setMask(masks[i], fill);
      });
      meter.updates++;
      run.noteMasks();
      measure(run);
    },
  };
}
