/**
 * The training loop: gradient, clip, optimiser step, hooks, and what happens between steps (checkpoints, evaluation,
 * abort).
 *
 * It knows nothing of models or data: a task gives the loss of a step (`fit.ts` makes one from a network and examples).
 * Everything that a step depends on is a function of the step number and of the optimiser's state, so a run that was
 * stopped goes on with the same bits. Order within a step: needs, forward with penalties, backward, grad hooks, clipping
 * and optimiser, update hooks, step hooks.
 */

import { parallel } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { outside, scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { clone, type Tensor } from "../core/tensor.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import type { Net, Tick } from "../nn/net.ts";
import { add, GRAIN } from "../nn/ops/elementwise.ts";
import type { Optimiser } from "../nn/optimiser.ts";
import type { Param } from "../nn/param.ts";
import { type RateOptions, rateAt } from "../nn/rate.ts";
import { type Evidence, evidenceOf, History } from "../sparsity/evidence.ts";
import type { Hook, Run } from "../sparsity/hook.ts";
import type { Ramp } from "../sparsity/schedule.ts";
import { type Site, sitesOf } from "../sparsity/site.ts";
import { SPARSE_FROM, storeSparse } from "../sparsity/store.ts";

/** A turn of the event loop; browsers have no setImmediate. */
const turn = (): Promise<void> =>
  new Promise((resolve) => (typeof setImmediate === "function" ? setImmediate(resolve) : setTimeout(resolve)));

export interface Task {
  readonly optimiser: Optimiser;
  /** mean loss of step number `step` (from 0), a tensor of one element; called inside the tape */
  loss(step: number, t: Tick): Tensor;
  /** the examples of the last step by their ids and whether each was answered rightly; asked only if a hook watches */
  seen?(): { readonly ids: Int32Array; readonly correct: Uint8Array };
}

export interface StepReport {
  /** steps done, this one included */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly rate: number;
  readonly gradientNorm: number;
}

/** What hooks work on, where there are any. */
export interface Hooked {
  readonly net: Net;
  readonly hooks: readonly Hook[];
  /** default: all prunable weights of the network */
  readonly sites?: readonly Site[];
  readonly seed: number;
  /** whether weights with enough zeros are stored as CSR once a method says that masks are final; default "masked" */
  readonly storage?: "sparse" | "masked";
  remove?(ids: Int32Array): void;
}

/** Where epochs begin and end, for hooks and ramps that ask. */
export interface EpochClock {
  /** whole epochs done after `step` steps */
  epochAt(step: number): number;
  /** whether an epoch ends with step number `step` (from 1) */
  endsAt(step: number): boolean;
}

export interface LoopOptions {
  /** warm-up and cosine to `steps`, or any ramp over `steps`; read anew in each step */
  readonly rate: RateOptions | { readonly at: Ramp; readonly steps: number };
  readonly epochs?: EpochClock;
  /** number of the task in continual learning, default 0 */
  readonly task?: number;
  readonly hooked?: Hooked;
  /** called after each step; what it returns is awaited before the next */
  readonly afterStep?: (report: StepReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** Milliseconds after which the loop lets Ctrl-C, progress and timers in. */
const YIELD_MS = 20;

/**
 * Runs from the optimiser's step count to `rate.steps`. Throws the signal's reason when aborted, between two steps, and a
 * `LacunaError` when the loss is no longer finite.
 */
export async function trainLoop(task: Task, options: LoopOptions): Promise<void> {
  const { rate, afterStep, signal, epochs } = options;
  const { optimiser } = task;
  const tick = (step: number): Tick => ({
    step,
    steps: rate.steps,
    ...(epochs && { epoch: epochs.epochAt(step), epochEnd: epochs.endsAt(step) }),
    task: options.task ?? 0,
  });
  const hooks = options.hooked && new Hooks(options.hooked, optimiser, tick(optimiser.steps));
  let yielded = performance.now();
  while (optimiser.steps < rate.steps) {
    signal?.throwIfAborted();
    const step = optimiser.steps;
    const report = scope((): StepReport => {
      const now = tick(step);
      hooks?.prepare(now, tick(step + 1));
      const { value, gradients } = valueAndGrad(
        () => {
          const loss = task.loss(step, now);
          return hooks ? hooks.penalised(loss) : loss;
        },
        optimiser.parameters.map((p) => p.value),
      );
      const loss = value.item();
      demand(Number.isFinite(loss), () => ({
        about: `training, step ${step + 1}`,
        expected: "a finite loss",
        got: String(loss),
        hint: "Lower the learning rate, or warm up longer.",
      }));
      const lr = "at" in rate ? rate.at(now) : rateAt(step, rate);
      const take = (): number => optimiser.step(gradients, lr);
      const gradientNorm = hooks ? hooks.around(loss, gradients, tick(step + 1), take) : take();
      const seen = hooks?.watching ? task.seen?.() : undefined;
      if (seen) hooks?.seen(seen.ids, seen.correct);
      return { step: step + 1, steps: rate.steps, loss, rate: lr, gradientNorm };
    });
    const wait = afterStep?.(report);
    if (wait) await wait;
    if (performance.now() - yielded > YIELD_MS) {
      await turn();
      yielded = performance.now();
    }
  }
}

/** The hooks of a run and what they see. */
class Hooks {
  readonly #hooks: readonly Hook[];
  readonly #optimiser: Optimiser;
  readonly #history = new History();
  readonly #sites: readonly Site[];
  readonly #grads = new Map<Param, Float32Array>();
  readonly run: Run;
  #t: Tick;
  #loss = Number.NaN;
  #wanted = false;

  constructor(h: Hooked, optimiser: Optimiser, t: Tick) {
    this.#hooks = h.hooks;
    this.#optimiser = optimiser;
    this.#t = t;
    this.#sites = h.sites ?? sitesOf(h.net);
    this.#history.note(this.#sites);
    const self = this;
    const evidence: Evidence = evidenceOf({
      get t() {
        return self.#t;
      },
      seed: h.seed,
      history: this.#history,
      get loss() {
        return self.#loss;
      },
      grad: (s) => {
        const g = this.#grads.get(s.param);
        if (!g) throw new Error(`evidence: no gradient of ${s.name} was asked for in this step (Hook.needs)`);
        return g;
      },
    });
    this.run = {
      get t() {
        return self.#t;
      },
      net: h.net,
      sites: this.#sites,
      evidence,
      optimiser,
      seed: h.seed,
      noteMasks: () => this.#history.note(this.#sites),
      settle: () => {
        if (h.storage === "sparse") storeSparse(this.#sites, SPARSE_FROM);
      },
      remove: (ids) => {
        if (!h.remove) throw new Error("run: this loop has no examples to remove");
        h.remove(ids);
      },
    };
  }

  /** Asks what the step must prepare. */
  prepare(now: Tick, next: Tick): void {
    this.#t = now;
    this.#wanted = this.#hooks.some((h) => h.needs?.(next).includes("grad"));
    this.#grads.clear();
    if (!this.#wanted) return;
    for (const { param } of this.#sites) {
      param.onDenseGradient = (g) => {
        const sum = this.#grads.get(param);
        if (!sum) this.#grads.set(param, g.toArray());
        else {
          const more = g.f32;
          for (let i = 0; i < more.length; i++) sum[i] += more[i];
        }
      };
    }
  }

  penalised(loss: Tensor): Tensor {
    return this.#hooks.reduce((sum, h) => (h.penalty ? add(sum, h.penalty(this.run)) : sum), loss);
  }

  /** Takes the step with everything around it. */
  around(loss: number, gradients: readonly Tensor[], next: Tick, take: () => number): number {
    this.#loss = loss;
    const { parameters } = this.#optimiser;
    if (this.#wanted) this.#keepGradients(gradients);
    for (const h of this.#hooks) {
      for (const [i, p] of parameters.entries()) h.grad?.(p, gradients[i], this.run);
    }
    const changing = this.#hooks.filter((h) => h.update);
    const before = changing.length > 0 ? parameters.map((p) => clone(p.value)) : [];
    const norm = take();
    before.forEach((old, i) => {
      const p = parameters[i];
      // old becomes new - old, is changed, and the value is old + that
      const delta = outside(() => clone(p.value));
      const axpy = (a: number, x: Tensor, y: Tensor): void =>
        parallel(pointwise, "axpy", [a, x.ptr, y.ptr], y.size, GRAIN);
      axpy(-1, old, delta);
      for (const h of changing) h.update?.(p, delta, this.run);
      axpy(1, delta, old);
      p.value.f32.set(old.f32);
      delta.dispose();
    });
    this.#t = next;
    for (const h of this.#hooks) h.step?.(this.run);
    if (next.epochEnd) for (const h of this.#hooks) h.epoch?.(this.run);
    if (next.step === next.steps) for (const h of this.#hooks) h.task?.(this.run);
    return norm;
  }

  get watching(): boolean {
    return this.#hooks.some((h) => h.seen);
  }

  seen(ids: Int32Array, correct: Uint8Array): void {
    for (const h of this.#hooks) h.seen?.(ids, correct, this.run);
  }

  #keepGradients(gradients: readonly Tensor[]): void {
    const at = new Map(this.#optimiser.parameters.map((p, i) => [p, i]));
    for (const { param } of this.#sites) {
      param.onDenseGradient = undefined;
      const i = at.get(param);
      if (i === undefined || this.#grads.has(param)) continue;
      this.#grads.set(param, gradients[i].toArray());
    }
  }
}
