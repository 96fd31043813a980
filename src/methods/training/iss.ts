/**
 * Iterative soft shrinkage for super-resolution (ISS-P; Wang et al. 2023, arXiv 2303.09650): from random initialisation on,
 * after every step of the optimiser the smallest weights of each layer are multiplied by a factor a little below 1. They
 * stay in the forward pass, and whoever grows back above the threshold is left alone. At the end of this stage the weights
 * that were shrunk last are cut, and the rest of the run is training under a fixed mask.
 *
 * `alpha: 0` is iterative hard thresholding (IHT), `alpha: 1` dense training with one cut. `penalty` is the variant whose
 * shrinkage is a growing L2 term instead of a factor (IST-GReg); `fromScratch` is the baseline whose mask is taken from the
 * initial magnitudes and never changes. Counts are ceil(p n) pruned, as the authors', but never
 * more than 99.5 % of a layer; ties by index, the lower one kept. Ranking is exact; sampled thresholds are not here.
 */
import { byRow } from "../../sparsity/choose.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import type { Mask } from "../../sparsity/mask.ts";
import { layoutOf, type Pattern, unstructured } from "../../sparsity/pattern.ts";
import { selectMask } from "../../sparsity/select.ts";
import type { Site } from "../../sparsity/site.ts";

export interface IssOptions {
  /** p, of every site */
  readonly sparsity: number;
  /** what the unimportant weights are multiplied by after each step; default 0.99, the authors' 0.95 or 0.99 */
  readonly alpha?: number;
  /** part of the run after which the mask is fixed; default 0.4 */
  readonly until?: number;
  /** N:M shrinks within runs along the inputs; default unstructured */
  readonly pattern?: Pattern;
  /** L2 term in place of the factor: `by` is added to a weight's own every `every` steps while it is unimportant */
  readonly penalty?: { readonly by: number; readonly every: number };
}

export interface IssMeter {
  /** steps that shrank */
  readonly shrinks: number;
  /** changes between important and unimportant, over all steps */
  readonly flips: number;
  /** weights that were unimportant at the first step and are kept in the end, as a share of the kept ones */
  readonly recovered: number;
  /** sum of |w| that the cut removed over the sum before it */
  readonly cut: number;
}

/** Most that is pruned of a layer. */
const MOST = 0.995;

/** Weights of a site of n elements that are pruned: ceil(p n), at most 99.5 %. */
export const issCount = (sparsity: number, n: number): number =>
  Math.max(0, Math.min(Math.ceil(sparsity * n - 1e-6), Math.floor(MOST * n)));

/** Kept = important: the largest magnitudes. */
export function important(values: Float32Array, site: Site, sparsity: number, pattern: Pattern): Mask {
  const scores = byRow(Float64Array.from(values, Math.abs), site.columns);
  const { units, quota } = layoutOf(pattern, site);
  const pruned = quota ? 0 : issCount(sparsity, units);
  return selectMask(scores, { shape: site, pattern, pool: "matrix", pruned });
}

/** The method; `meter` tells what it did. One instance serves one run. */
export function iss(options: IssOptions): SparseTraining & { readonly meter: IssMeter } {
  const { sparsity, alpha = 0.99, until = 0.4, pattern = unstructured, penalty } = options;
  const meter = { shrinks: 0, flips: 0, recovered: 0, cut: 0 };
  let first: readonly Mask[] | undefined;
  let last: readonly Mask[] = [];
  let fixed = false;
  const weights = new Map<unknown, Float32Array>();
  return {
    id: penalty ? "iss, penalty" : `iss ${alpha}`,
    meter,
    begin: ({ sites }) => {
      // Until the cut there is no mask at all; behind it masked weights are 0.
      for (const { param } of sites) {
        param.off = "zero";
        if (penalty) weights.set(param, new Float32Array(param.numel));
      }
    },
    hooks: [
      {
        id: "iss",
        grad(p, g) {
          const lambda = fixed ? undefined : weights.get(p);
          if (!lambda) return;
          const [to, w] = [g.f32, p.value.f32];
          for (let i = 0; i < to.length; i++) to[i] += lambda[i] * w[i];
        },
        step({ sites, t }) {
          if (fixed) return;
          const masks = sites.map((s) => important(s.param.value.f32, s, sparsity, pattern));
          masks.forEach(({ bits }, k) => {
            const values = sites[k].param.value.f32;
            const lambda = weights.get(sites[k].param);
            const raise = penalty && t.step % penalty.every === 0 ? penalty.by : 0;
            for (let i = 0; i < bits.length; i++) {
              if (last.length > 0) meter.flips += bits[i] ^ last[k].bits[i];
              if (bits[i]) continue;
              if (lambda) lambda[i] += raise;
              else values[i] *= alpha;
            }
          });
          first ??= masks;
          last = masks;
          meter.shrinks++;
          if (t.step < until * t.steps) return;
          fixed = true;
          let [gone, all, came, kept] = [0, 0, 0, 0];
          sites.forEach(({ param }, k) => {
            const values = param.value.f32;
            const { bits } = masks[k];
            for (let i = 0; i < bits.length; i++) {
              all += Math.abs(values[i]);
              if (!bits[i]) gone += Math.abs(values[i]);
              came += bits[i] & (1 - (first as readonly Mask[])[k].bits[i]);
              kept += bits[i];
            }
            param.setMask(masks[k]);
          });
          meter.cut = all === 0 ? 0 : gone / all;
          meter.recovered = kept === 0 ? 0 : came / kept;
        },
      },
    ],
  };
}

/** The baseline "scratch": the largest initial magnitudes are kept, with the same counts, and the mask never changes. */
export const fromScratch = (sparsity: number, pattern: Pattern = unstructured): SparseTraining => ({
  id: "scratch",
  begin: ({ sites }) => {
    for (const s of sites) s.param.setMask(important(s.param.value.f32, s, sparsity, pattern));
  },
  hooks: [],
});
