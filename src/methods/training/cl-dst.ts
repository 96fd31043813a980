/**
 * Continual learning with dynamic sparse training (Yildirim et al. 2024, arXiv 2308.14831): each task finds a sparse
 * subnetwork of one backbone by dropping and growing weights; its weights are frozen and its mask is kept, one bit a
 * weight. Earlier tasks cannot be forgotten, and masks that overlap let later tasks use what is frozen.
 *
 * As in the authors' code: drop by size, exchange from half of the weights down to 0.5 % over a task, gradients 0 at
 * frozen places, an optimiser anew in each task. Other than there: counts are exact (random growth there is a coin at each
 * place); a task's mask starts from fresh initial values at free places instead of 0, and a frozen weight that grows
 * brings its value along (there it trains as 0 and is read as what it was); the last state is kept instead of the best of
 * the epochs by training accuracy. The last layer is dense and outside of the masks: a task trains the rows of its own
 * classes only, through a loss over these (`groupCrossEntropy`). Biases and norms would be forgotten, and are refused.
 */
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { outside } from "../../core/scope.ts";
import { Tensor } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import type { Net } from "../../nn/net.ts";
import { GRAIN } from "../../nn/ops/elementwise.ts";
import type { Param } from "../../nn/param.ts";
import { uniform } from "../../sparsity/budget.ts";
import { choose, type NetBudget } from "../../sparsity/choose.ts";
import { magnitude, random, type Score } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import { type Mask, maskOf } from "../../sparsity/mask.ts";
import { type RewireMeter, rewire } from "../../sparsity/rewire.ts";
import { constant, cosine, everySteps } from "../../sparsity/schedule.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";

export interface ClDstOptions {
  readonly sparsity: number;
  /** default uniform */
  readonly budget?: NetBudget;
  /** what grows: `random` (default), `unfired`, `momentum()`, `gradient`; null: the first mask stays */
  readonly growth?: Score | null;
  /** steps between updates; default 400 */
  readonly every?: number;
  /** first and last share of the weights that is exchanged; default 0.5 and 0.005 */
  readonly fraction?: readonly [first: number, last: number];
}

/** The method for one task; the meter is that of this task. */
export interface TaskTraining extends SparseTraining {
  readonly meter: RewireMeter;
}

/** A backbone that holds a subnetwork for each task learnt so far. */
export class Subnetworks {
  readonly sites: readonly Site[];
  /** masks of the sites, by task */
  readonly masks: (readonly Mask[])[] = [];
  readonly #initial: readonly Float32Array[];
  readonly #used: readonly Uint8Array[];
  /** u8, 1 = no task holds the weight */
  readonly #free: ReadonlyMap<Param, Tensor>;

  /** Takes over an untrained network, whose values of now are the fresh ones. */
  constructor(net: Net) {
    const sites = sitesOf(net, { roles: ["weight", "stem", "depthwise", "edge"] });
    const own = new Set(sites.map((s) => s.param));
    const shared = net.params.filter((p) => !own.has(p) && p.role !== "head");
    const bias = net.params.filter((p) => p.role === "head" && p.shape.length < 2);
    const forgetful = [...shared, ...bias, ...(net.buffers ?? [])].map((p) => p.name);
    demand(forgetful.length === 0, () => ({
      about: "subnetworks of one backbone",
      expected: "weights only, in masked layers and one dense head",
      got: forgetful.join(", "),
      hint: "What all tasks share is forgotten: leave out biases, and the parameters and statistics of norms.",
    }));
    this.sites = sites;
    this.#initial = sites.map((s) => s.param.dense());
    this.#used = sites.map((s) => new Uint8Array(s.numel));
    this.#free = new Map(
      sites.map(({ param, numel }) => {
        param.off = "held";
        const free = outside(() => new Tensor([numel], "u8"));
        free.u8.fill(1);
        return [param, free];
      }),
    );
  }

  /** Share of the places that some task holds. */
  get used(): number {
    const held = this.#used.reduce((n, used) => n + maskOf(used).kept, 0);
    return held / this.sites.reduce((n, s) => n + s.numel, 0);
  }

  /** Free places outside of the masks of now become 0; with `fresh`, free ones inside get their initial values. */
  #tidy(fresh: boolean): void {
    this.sites.forEach(({ param }, k) => {
      const bits = param.bits();
      const [used, initial, values] = [this.#used[k], this.#initial[k], param.value.f32];
      for (let i = 0; i < bits.length; i++) {
        if (used[i] === 1) continue;
        if (bits[i] === 0) values[i] = 0;
        else if (fresh) values[i] = initial[i];
      }
    });
  }

  #wear(masks: readonly Mask[]): void {
    this.sites.forEach(({ param }, k) => {
      param.setMask(masks[k], "keep");
    });
  }

  /** The method by which `fit` learns the next task, from a mask drawn by the run's seed. */
  next(options: ClDstOptions): TaskTraining {
    const { sparsity, budget = uniform, growth = random, every = 400, fraction = [0.5, 0.005] } = options;
    const hook = rewire({
      drop: magnitude,
      ...(growth && { grow: growth }),
      budget,
      target: constant(sparsity),
      fraction: cosine(fraction[0], fraction[1]),
      when: everySteps(every),
      regrow: growth !== random,
      fill: "keep",
    });
    let updates = 0;
    const isolation: Hook = {
      id: "isolation",
      grad: (p, g) => {
        const free = this.#free.get(p as Param);
        if (free) parallel(pointwise, "maskMul", [g.ptr, free.ptr, g.ptr], g.size, GRAIN);
      },
      step: () => {
        if (hook.meter.updates === updates) return;
        updates = hook.meter.updates;
        this.#tidy(false);
      },
    };
    return {
      id: growth ? `cl-dst, growth ${growth.id}` : "cl-dst, fixed masks",
      sites: () => this.sites,
      begin: ({ seed, loss }) => {
        this.#wear(choose(this.sites, { score: random, budget, sparsity }, probe(this.sites, loss, seed)));
        this.#tidy(true);
      },
      hooks: growth ? [hook, isolation] : [isolation],
      meter: hook.meter,
    };
  }

  /** Ends a task: its mask is kept, and the weights in it are frozen from here on. */
  keep(): void {
    this.masks.push(
      this.sites.map(({ param }, k) => {
        const bits = param.bits();
        const [used, free] = [this.#used[k], (this.#free.get(param) as Tensor).u8];
        for (let i = 0; i < bits.length; i++) {
          used[i] |= bits[i];
          free[i] = 1 - used[i];
        }
        return maskOf(bits);
      }),
    );
  }

  /** Makes the network that of a task learnt before, from 0. */
  use(task: number): void {
    demand(task >= 0 && task < this.masks.length, () => ({
      about: "subnetwork",
      expected: `a task from 0 to ${this.masks.length - 1}`,
      got: String(task),
      hint: "Keep a task after training it.",
    }));
    this.#wear(this.masks[task]);
  }

  /** Frees what it holds beside the network. */
  dispose(): void {
    for (const t of this.#free.values()) t.dispose();
  }
}
