/**
 * SparCL (Wang et al. 2022, arXiv 2209.09476): continual learning with replay in which weights, gradients and data are
 * sparse. Three parts, each of use alone:
 *
 * - task-aware dynamic masking: at the start of a task every layer grows random weights beyond its share (fresh capacity);
 *   then, every few epochs, the weights with the least |w| + lambda |g| go below the share and random ones come up to it;
 *   the mask rests in the last tenth of the task;
 * - dynamic gradient masking: of each layer only the largest gradients are applied, chosen anew every 30 steps. Layers
 *   stored as CSR do not compute the others;
 * - dynamic data removal: in the first epochs of a task the examples that were forgotten least often are left out.
 *
 * As in the authors' code: one gradient of the whole loss in the importance, lambda 0.5; the share of gradients is of the
 * whole tensor, masked places included. Other than there: counts are exact; the last tenth is at least an epoch; what an
 * example's answers were is remembered from window to window (their statistics are cleared at each removal, which with a
 * window of one epoch could never see a right answer become wrong); equals are removed by lot.
 */
import { demand } from "../../core/errors.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { Param } from "../../nn/param.ts";
import { uniform } from "../../sparsity/budget.ts";
import { magnitude, random, type Score } from "../../sparsity/criteria.ts";
import { lots, probe } from "../../sparsity/evidence.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import { type Rewire, rewire, rewired } from "../../sparsity/rewire.ts";
import { constant, everyEpochs } from "../../sparsity/schedule.ts";
import { keepBest } from "../../sparsity/select.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";
import { type Dynamic, dynamic } from "./set.ts";
import { beginAtRandom } from "./static.ts";

/** An array of the dense shape from one in a parameter's own layout. */
function spread(p: Param, own: Float32Array): Float32Array {
  if (!p.sparse) return own.slice();
  const all = new Float32Array(p.numel);
  p.sparse.forEach((entry, flat) => {
    all[flat] = own[entry];
  });
  return all;
}

/** Layers with hidden units; stem and head stay dense. */
export const hiddenLayers = (net: Parameters<typeof sitesOf>[0]): readonly Site[] =>
  sitesOf(net, { roles: ["weight"] });

/** Continual weight importance, |w| + lambda |g|; `gradientOf` gives the gradient of the whole loss at active weights. */
export const continualImportance = (lambda: number, gradientOf: (s: Site) => Float32Array): Score => ({
  id: "continual importance",
  needs: [],
  of(s, e) {
    const [w, g] = [e.weight(s), gradientOf(s)];
    const out = new Float64Array(w.length);
    for (let i = 0; i < out.length; i++) out[i] = Math.abs(w[i]) + lambda * Math.abs(g[i]);
    return out;
  },
});

export interface TaskMaskOptions {
  /** s, of each layer */
  readonly sparsity: number;
  /** p: grown at the start of a task, and exchanged at each update; in shares of the layer. Default 0.01 */
  readonly exchange?: number;
  /** epochs between updates; default 5 */
  readonly every?: number;
  /** epochs of the task */
  readonly epochs: number;
  /** of |g|; default 0.5 */
  readonly lambda?: number;
}

/** Task-aware dynamic masking for one task. A network without masks gets random ones first. */
export function taskAwareMasks(options: TaskMaskOptions): Dynamic {
  const { sparsity, exchange = 0.01, every = 5, epochs, lambda = 0.5 } = options;
  demand(sparsity - exchange >= 0 && sparsity + exchange < 1, () => ({
    about: "task-aware masks",
    expected: "an exchange that fits between sparsity and 0, and between sparsity and 1",
    got: `sparsity ${sparsity}, exchange ${exchange}`,
    hint: "The paper takes 0.01 at sparsities from 0.75 to 0.95.",
  }));
  const gradients = new Map<Param, Float32Array>();
  const own: { sites: readonly Site[] } = { sites: [] };
  const rests = epochs - Math.max(1, Math.floor(0.1 * epochs));
  const cadence = everyEpochs(every);
  const rule: Rewire = {
    drop: continualImportance(lambda, (s) => gradients.get(s.param) ?? new Float32Array(s.numel)),
    grow: random,
    budget: uniform,
    target: constant(sparsity),
    fraction: (t) => ((t.epoch ?? 0) >= rests ? 0 : exchange / (1 - sparsity)),
    // the last update before the mask rests may fall between two of the others
    when: (t) => cadence(t) || (t.epochEnd === true && t.epoch === rests && t.step < t.steps),
    regrow: false,
  };
  const hook = rewire(rule);
  let ending = false;
  const snapshot: Hook = {
    id: "gradients of the last batch of a window",
    needs(t) {
      ending = rule.when(t);
      return [];
    },
    grad(p, g) {
      if (ending && own.sites.some((s) => s.param === p)) gradients.set(p as Param, spread(p as Param, g.f32));
    },
  };
  const method = dynamic("task-aware masks", {}, hook);
  return {
    ...method,
    sites: hiddenLayers,
    begin(b) {
      const { sites, seed, loss } = b;
      own.sites = sites;
      if (sites.every((s) => s.param.storage === "dense")) {
        if (sparsity > 0) beginAtRandom(b, { sparsity, budget: uniform });
      }
      const evidence = probe(sites, loss, seed);
      for (const s of sites) {
        const kept = s.numel - Math.floor(sparsity * s.numel + 1e-6);
        const more = Math.round(exchange * s.numel);
        s.param.setMask(rewired({ ...rule, drop: magnitude }, s, kept + more, more, evidence));
      }
    },
    hooks: [snapshot, hook],
  };
}

export interface GradientMaskOptions {
  /** q: share of each whole tensor whose gradient is not applied; above the sparsity of the weights. Default 0.8 */
  readonly sparsity?: number;
  /** steps between choices; default 30 */
  readonly every?: number;
  /** called with each masked gradient in the parameter's layout */
  readonly onGradient?: (p: Param, g: Tensor) => void;
}

/** Places of the `count` largest |g| [n], g of the dense shape; equals by index. */
export function largestGradients(g: Float32Array, count: number): Uint8Array {
  const sizes = new Float64Array(g.length);
  for (let i = 0; i < sizes.length; i++) sizes[i] = Math.abs(g[i]);
  return keepBest(sizes, count);
}

/**
 * Dynamic gradient masking over the given sites. `whole(t)` names further steps in which the gradient of all weights must
 * be computed (it is applied masked nevertheless): those after which something reads it.
 */
export function gradientMask(
  sites: () => readonly Site[],
  options: GradientMaskOptions = {},
  whole: (t: Parameters<NonNullable<Hook["needs"]>>[0]) => boolean = () => false,
): Hook {
  const { sparsity = 0.8, every = 30, onGradient } = options;
  const masks = new Map<Param, Uint8Array>();
  let choosing = false;
  return {
    id: "gradient mask",
    needs(t) {
      choosing = (t.step - 1) % every === 0;
      const all = choosing || whole(t);
      for (const { param } of sites()) {
        if (all) param.takeGradientAt();
        else if (!param.gradientPlaces) param.takeGradientAt(masks.get(param));
      }
      return [];
    },
    grad(parameter, g) {
      const p = parameter as Param;
      if (!sites().some((s) => s.param === p)) return;
      if (choosing) {
        demand(sparsity === 0 || sparsity > 1 - p.kept / p.numel, () => ({
          about: `gradient mask of ${p.name}`,
          expected: `a gradient sparsity above that of the weight, ${1 - p.kept / p.numel}`,
          got: String(sparsity),
          hint: "The share is of the whole tensor: at or below the weight's own it leaves nothing out.",
        }));
        const all = spread(p, g.f32);
        const bits = p.bits();
        for (let i = 0; i < all.length; i++) all[i] *= bits[i];
        masks.set(p, largestGradients(all, p.numel - Math.floor(sparsity * p.numel + 1e-6)));
      }
      const mask = masks.get(p) as Uint8Array;
      const values = g.f32;
      if (p.sparse) {
        p.sparse.forEach((entry, flat) => {
          if (mask[flat] === 0) values[entry] = 0;
        });
      } else for (let i = 0; i < values.length; i++) if (mask[i] === 0) values[i] = 0;
      onGradient?.(p, g);
    },
    task() {
      for (const { param } of sites()) param.takeGradientAt();
    },
  };
}

/** Counts how often each example went from right to wrong; one that never was right counts as forgotten most. */
export class Forgetting {
  readonly #right: Uint8Array;
  readonly #ever: Uint8Array;
  readonly #counts: Int32Array;

  constructor(examples: number) {
    this.#right = new Uint8Array(examples);
    this.#ever = new Uint8Array(examples);
    this.#counts = new Int32Array(examples);
  }

  note(places: ArrayLike<number>, correct: ArrayLike<number>): void {
    for (let i = 0; i < places.length; i++) {
      const p = places[i];
      if (this.#right[p] === 1 && correct[i] === 0) this.#counts[p]++;
      this.#right[p] = correct[i];
      this.#ever[p] |= correct[i];
    }
  }

  /** Forgetting events; infinite where never learnt. */
  of(place: number): number {
    return this.#ever[place] === 1 ? this.#counts[place] : Number.POSITIVE_INFINITY;
  }
}

export interface DataRemovalOptions {
  /** share of the task's examples left out in the end; default 0.3 */
  readonly share?: number;
  /** epochs between removals; default 5 */
  readonly every?: number;
  /** epoch of the last removal; default 20 */
  readonly until?: number;
  /** by lot alone: what the counts are compared with */
  readonly random?: boolean;
  readonly onRemoval?: (removed: Int32Array, left: Int32Array, counts: Forgetting) => void;
}

/** Dynamic data removal for one task of `examples` examples; `answers` tells of the last batch. */
export function dataRemoval(
  examples: number,
  answers: () => { readonly places: Int32Array; readonly correct: Uint8Array } | undefined,
  options: DataRemovalOptions = {},
): Hook {
  const { share = 0.3, every = 5, until = 20, onRemoval } = options;
  const counts = new Forgetting(examples);
  const times = Math.floor(until / every);
  let left = Int32Array.from({ length: examples }, (_, i) => i);
  let gone = 0;
  return {
    id: "data removal",
    step() {
      const last = answers();
      if (last) counts.note(last.places, last.correct);
    },
    epoch({ t, seed, remove }) {
      const round = (t.epoch ?? 0) / every;
      if (!Number.isInteger(round) || round > times || t.step === t.steps) return;
      const due = Math.floor((share * examples * round) / times + 1e-6);
      const lot = lots(seed, "data removal", t.step);
      const order = left
        .slice()
        .sort((a, b) => (options.random ? 0 : compare(counts.of(a), counts.of(b))) || lot(a) - lot(b));
      const removed = order.slice(0, due - gone);
      gone = due;
      const out = new Set(removed);
      left = left.filter((p) => !out.has(p));
      remove(removed);
      onRemoval?.(removed, left, counts);
    },
  };
}

/** As a - b, for infinities too. */
const compare = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1);

export interface SparclOptions {
  readonly masks: TaskMaskOptions;
  /** null: all gradients are applied */
  readonly gradients?: GradientMaskOptions | null;
}

/** Masks of weights and of gradients for one task; `fit` needs `storage: "sparse"` for the gain. */
export function sparcl({ masks, gradients = {} }: SparclOptions): Dynamic {
  const method = taskAwareMasks(masks);
  return gradients === null ? method : withGradientMask(method, gradients);
}

/** Adds a gradient mask to a method; it is chosen from, and applied to, what the method's own hooks have seen whole. */
export function withGradientMask<M extends SparseTraining>(method: M, options: GradientMaskOptions = {}): M {
  let sites: readonly Site[] = [];
  const mask = gradientMask(
    () => sites,
    options,
    (t) => t.epochEnd === true,
  );
  return {
    ...method,
    begin(b) {
      sites = b.sites;
      method.begin?.(b);
    },
    hooks: [...method.hooks, mask],
  };
}
