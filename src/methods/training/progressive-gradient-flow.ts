/**
 * Progressive gradient flow for N:M training (Bambhaniya et al. 2024, arXiv 2402.04744). Weights outside of the pattern take
 * full part at first and are faded out, by a mask value D that decays from 1 to 0 (MdGf) or by a pattern that tightens in
 * frames (SdGf); after that training goes straight through (STE), and so it does to the end.
 *
 * W~ = W (E + (1 - E) D), E the N largest of each M consecutive inputs of the weight as it is now. MdGf's gradient is
 * that of W~, G (E + (1 - E) D); the released code passes G whole, which is `restrict: "none"`. `restrict: "update"` passes
 * G and multiplies what the optimiser adds: Adam divides by the size of a gradient, so that one that shrinks slowly hardly
 * shortens its steps. SdGf passes G.
 *
 * Times are shares of the run, so that nothing depends on its length: D = exp(-11 t) or 1 - t / 0.4, and exactly 0 once it
 * is below 0.01, with t from the end of a dense warm-up (2 %) to the last phase (10 %), in which D is 0 and the pattern
 * N:M. These two shares are assumptions; the released settings have neither. SR-STE is in `bdwp.ts`.
 */
import { exp } from "../../core/elementary.ts";
import { demand } from "../../core/errors.ts";
import { type NmOptions, nmPruned, nmView } from "../../nn/nm.ts";
import { sub } from "../../nn/ops/elementwise.ts";
import type { Param, View } from "../../nn/param.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import { constant, type Ramp, type Tick } from "../../sparsity/schedule.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";
import { type NmPattern, nmBitsOf } from "./bdwp.ts";

export interface Phases {
  /** share of the run that is dense before anything fades; default 0.02 */
  readonly warmUp?: number;
  /** share of the run at the end with D = 0 and the final pattern; default 0.1 */
  readonly fineTune?: number;
}

const phasesOf = ({ warmUp = 0.02, fineTune = 0.1 }: Phases): Required<Phases> => ({ warmUp, fineTune });

/** D below this is 0. */
const CUT = 0.01;

export interface FadeOptions extends Phases {
  /** default exponential */
  readonly shape?: "exponential" | "linear";
  /** beta times the length of the run; default 11, or 2.5 where linear */
  readonly rate?: number;
}

/** D(t): 1 in the warm-up, then falling, 0 in the last phase. */
export function fade(options: FadeOptions = {}): Ramp {
  const { warmUp, fineTune } = phasesOf(options);
  const { shape = "exponential" } = options;
  const rate = options.rate ?? (shape === "linear" ? 2.5 : 11);
  return ({ step, steps }) => {
    const at = steps === 0 ? 1 : step / steps;
    if (fineTune > 0 && at >= 1 - fineTune) return 0;
    const t = Math.max(0, at - warmUp);
    const d = shape === "linear" ? Math.max(0, 1 - rate * t) : exp(-rate * t);
    return d < CUT ? 0 : d;
  };
}

/** Stepwise: (M-1):M, then M/2:M, M/4:M, .. N:M. Needs M/N to be a power of two. */
export function stepwiseFrames([n, m]: NmPattern): readonly NmPattern[] {
  const frames: NmPattern[] = [[m - 1, m]];
  for (let kept = m / 2; kept >= n; kept /= 2) frames.push([kept, m]);
  demand(frames[frames.length - 1][0] === n || n === m, () => ({
    about: "stepwise frames",
    expected: "M/N a power of two",
    got: `${n}:${m}`,
    hint: "Take geometric frames, or fade.",
  }));
  return n === m ? [[m, m]] : frames;
}

/** M that the N:M search takes at most. */
const LARGEST = 64;

/** Geometric: 8N:8M, 4N:4M, 2N:2M, N:M, each as far as it divides the inputs and is not above 64. */
export const geometricFrames = ([n, m]: NmPattern, inputs: number): readonly NmPattern[] =>
  [8, 4, 2, 1].map((times) => {
    let k = times;
    while (k > 1 && (inputs % (k * m) !== 0 || k * m > LARGEST)) k /= 2;
    return [k * n, k * m];
  });

/** The frame at a time: equal parts from the end of the warm-up to the last phase; undefined in the warm-up (dense). */
function frameAt({ step, steps }: Tick, frames: readonly NmPattern[], phases: Phases): NmPattern | undefined {
  const { warmUp, fineTune } = phasesOf(phases);
  const at = steps === 0 ? 1 : step / steps;
  if (at < warmUp) return undefined;
  // Shares of the run are rounded; a frame begins in the step that it should.
  const i = Math.floor((frames.length * (at - warmUp)) / (1 - fineTune - warmUp) + 1e-9);
  return frames[Math.min(i, frames.length - 1)];
}

/** Weights of role "weight" whose inputs M divides; the others stay dense. */
export function groupedSites(net: Parameters<typeof sitesOf>[0], m: number): readonly Site[] {
  const all = sitesOf(net, { roles: ["weight"] });
  const odd = all.filter((s) => s.shape[1] % m !== 0).map((s) => s.name);
  demand(odd.length < all.length, () => ({
    about: `N:M training with M = ${m}`,
    expected: "a weight whose inputs M divides",
    got: all.map((s) => `${s.name} [${s.shape.join(", ")}]`).join(", "),
    hint: "Choose another M, or other widths.",
  }));
  return sitesOf(net, { roles: ["weight"], except: odd });
}

const throughViews = (
  id: string,
  [n, m]: NmPattern,
  view: (p: Param) => View,
  hooks: readonly Hook[] = [],
): SparseTraining => ({
  id: `${id} ${n}:${m}`,
  sites: (net) => groupedSites(net, m),
  begin: ({ sites }) => {
    for (const { param } of sites) param.view = view(param);
  },
  hooks,
});

export interface MdgfOptions extends FadeOptions {
  /** default 2:4 */
  readonly pattern?: NmPattern;
  /** what D acts on beside the weight: its gradient (default), the optimiser's update, or nothing, as released */
  readonly restrict?: "grad" | "update" | "none";
}

/** Multiplies what the optimiser adds to weights under a view by the E + (1 - E) D that the step's product saw. */
const gate = ([n, m]: NmPattern, rest: Ramp): Hook => ({
  id: "gate",
  update(p, delta, { t }) {
    if (!(p as Param).view) return;
    const seen = sub(p.value, delta);
    delta.f32.set(nmPruned(seen, delta, { n, m, along: "in" }, rest(t)).f32);
  },
});

/** Mask decay: E recomputed in each step, D falling. */
export function mdgf(options: MdgfOptions = {}): SparseTraining {
  const { pattern = [2, 4], restrict = "grad", shape = "exponential" } = options;
  const rest = fade(options);
  const view: NmOptions = { pattern, rest, gradient: restrict === "grad" ? "restricted" : "whole" };
  const hooks = restrict === "update" ? [gate(pattern, rest)] : [];
  return throughViews(`mdgf ${shape}`, pattern, () => nmView(view), hooks);
}

export interface SdgfOptions extends Phases {
  /** default 2:4 */
  readonly pattern?: NmPattern;
  /** default stepwise */
  readonly frames?: "stepwise" | "geometric";
}

/** Structure decay: patterns that tighten, straight through. */
export function sdgf(options: SdgfOptions = {}): SparseTraining {
  const { pattern = [2, 4], frames = "stepwise" } = options;
  return throughViews(`sdgf ${frames}`, pattern, ({ shape }) => {
    const list = frames === "stepwise" ? stepwiseFrames(pattern) : geometricFrames(pattern, shape[1]);
    return nmView({
      pattern: (t) => frameAt(t, list, options) ?? list[list.length - 1],
      // the warm-up is dense: nothing of what is pruned is missing
      rest: (t) => (frameAt(t, list, options) ? 0 : 1),
    });
  });
}

/** Straight-through: D is 0 from the first step. */
export const ste = (pattern: NmPattern = [2, 4]): SparseTraining =>
  throughViews("ste", pattern, () => nmView({ pattern, rest: constant(0) }));

export interface FlipMeter extends Hook {
  /** share of the entries of E that changed between consecutive looks, by the step of the later one */
  readonly flips: readonly { readonly step: number; readonly share: number }[];
}

/** Looks at E, whether it is in use already or not, each time that another `1 / looks` of the run has passed. */
export function flipMeter(pattern: NmPattern, looks: number): FlipMeter {
  const flips: { step: number; share: number }[] = [];
  let before: readonly Uint8Array[] | undefined;
  return {
    id: "flips",
    flips,
    step({ t, sites }) {
      if (Math.floor((t.step * looks) / t.steps) === Math.floor(((t.step - 1) * looks) / t.steps)) return;
      const now = sites.map((s) => nmBitsOf(s, pattern, "in"));
      if (before) {
        let [changed, all] = [0, 0];
        now.forEach((bits, k) => {
          const old = (before as readonly Uint8Array[])[k];
          for (let i = 0; i < bits.length; i++) changed += bits[i] ^ old[i];
          all += bits.length;
        });
        flips.push({ step: t.step, share: changed / all });
      }
      before = now;
    },
  };
}
