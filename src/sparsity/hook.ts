/**
 * Hooks: what a method may do inside of the training loop (`train/loop.ts`), which calls them in one fixed order:
 * needs, forward with penalties, backward, grad, optimiser with clipping, update, step; then epoch and task.
 *
 * Masks hold without any hook: optimisers keep masked weights at what `Param.off` says.
 */
import type { Tensor } from "../core/tensor.ts";
import type { Net } from "../nn/net.ts";
import type { Optimiser, Parameter } from "../nn/optimiser.ts";
import type { Evidence, Need } from "./evidence.ts";
import type { Tick } from "./schedule.ts";
import type { Site } from "./site.ts";

export interface Run {
  /** `step` counts the optimiser steps done: the running one is not in it before `update`, and is in it from there on */
  readonly t: Tick;
  readonly net: Net;
  readonly sites: readonly Site[];
  readonly evidence: Evidence;
  readonly optimiser: Optimiser;
  readonly seed: number;
  /** adds the masks as they are now to what `evidence.ever` knows; whoever changes masks calls it */
  noteMasks(): void;
  /** the masks are final: weights may be stored sparse from here on, where the run wants that and `Param.off` is "zero" */
  settle(): void;
  /** leaves examples out of later epochs, by their ids */
  remove(ids: Int32Array): void;
}

export interface Hook {
  readonly id: string;
  /** what the step after which `t` holds must prepare */
  needs?(t: Tick): readonly Need[];
  /** added to the loss, inside of the tape */
  penalty?(r: Run): Tensor;
  /** may change a gradient in place, before clipping; `g` has the layout of the parameter's value */
  grad?(p: Parameter, g: Tensor, r: Run): void;
  /** may change what the optimiser added to a value, in place */
  update?(p: Parameter, delta: Tensor, r: Run): void;
  /** after the optimiser's step: topology, projections */
  step?(r: Run): void;
  epoch?(r: Run): void;
  task?(r: Run): void;
  /** ids of the step's examples and whether each was answered rightly */
  seen?(ids: Int32Array, correct: Uint8Array, r: Run): void;
}

/** What a method reads before the first step. */
export interface Beginning {
  readonly net: Net;
  readonly sites: readonly Site[];
  readonly seed: number;
  /** mean loss of the first batch in training mode, at the weights as they are now; for scores that read gradients */
  loss(): Tensor;
  /** zeros + shape of one batch of inputs, for methods that bring their own data */
  readonly inputShape: readonly number[];
}

/** A method of sparse training as a value: masks before the first step, hooks from there on. One serves one run. */
export interface SparseTraining {
  readonly id: string;
  /** which weights; default: all prunable ones */
  sites?(net: Net): readonly Site[];
  begin?(b: Beginning): void;
  readonly hooks: readonly Hook[];
}
