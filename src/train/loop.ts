/**
 * The training loop: gradient, clip, AdamW step, and what happens between steps (checkpoints, evaluation, abort).
 *
 * It knows nothing of models or data: a task gives the loss of a step. Everything that a step depends on is a function
 * of the step number and of the optimiser's state, so a run that was stopped goes on with the same bits.
 */

import { demand } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { AdamW } from "../nn/optimiser.ts";
import { type RateOptions, rateAt } from "../nn/rate.ts";

export interface Task {
  readonly optimiser: AdamW;
  /** mean loss of step number `step` (from 0), a tensor of one element; called inside the tape */
  loss(step: number): Tensor;
}

export interface StepReport {
  /** steps done, this one included */
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly rate: number;
  readonly gradientNorm: number;
}

export interface LoopOptions {
  readonly rate: RateOptions;
  /** called after each step; what it returns is awaited before the next */
  readonly afterStep?: (report: StepReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Runs from the optimiser's step count to `rate.steps`. Throws the signal's reason when aborted, between two steps, and a
 * `LacunaError` when the loss is no longer finite.
 */
export async function trainLoop(task: Task, options: LoopOptions): Promise<void> {
  const { rate, afterStep, signal } = options;
  const { optimiser } = task;
  const wrt = optimiser.parameters.map((p) => p.value);
  while (optimiser.steps < rate.steps) {
    signal?.throwIfAborted();
    const step = optimiser.steps;
    const report = scope((): StepReport => {
      const { value, gradients } = valueAndGrad(() => task.loss(step), wrt);
      const loss = value.item();
      demand(Number.isFinite(loss), () => ({
        about: `training, step ${step + 1}`,
        expected: "a finite loss",
        got: String(loss),
        hint: "Lower the learning rate, or warm up longer.",
      }));
      const lr = rateAt(step, rate);
      const gradientNorm = optimiser.step(gradients, lr);
      return { step: step + 1, steps: rate.steps, loss, rate: lr, gradientNorm };
    });
    const wait = afterStep?.(report);
    if (wait) await wait;
    // Lets Ctrl-C, progress and timers in.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
