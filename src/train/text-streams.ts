/**
 * Truncated back-propagation through time: a recurrent language model reads parallel streams of text, and its state goes
 * from one step to the next while gradients do not. Training and evaluation read alike.
 */
import { outside, scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { clone, type Tensor, tensor } from "../core/tensor.ts";
import { parallelStreams } from "../data/characters.ts";
import type { LstmLanguageModel } from "../models/lstm.ts";
import { EVALUATE, type Mode } from "../nn/net.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import type { CellState } from "../nn/ops/recurrent.ts";

export interface StreamOptions {
  /** streams that are read side by side */
  readonly batch: number;
  /** tokens of each stream in one step, which gradients go back through */
  readonly length: number;
}

/** A reader that stands somewhere in its text. */
export interface Reader {
  /** steps of one pass */
  readonly steps: number;
  /** Mean cross-entropy of `step`, in nats. Steps come in order, on through the passes; each pass begins from zeros. */
  loss(step: number, mode: Mode): Tensor;
  dispose(): void;
}

export function reader(model: LstmLanguageModel, tokens: Int32Array, { batch, length }: StreamOptions): Reader {
  const streams = parallelStreams(tokens, batch, length);
  let state: readonly CellState[] | undefined;
  const replace = (next: readonly CellState[] | undefined): void => {
    for (const { h, c } of state ?? []) for (const t of [h, c]) t.dispose();
    state = next;
  };
  return {
    steps: streams.steps,
    loss(step, mode) {
      const at = step % streams.steps;
      if (at === 0) replace(undefined);
      const { inputs, targets } = streams.at(at);
      const { logits, last } = model.run(tensor(inputs, [batch, length]), mode, state);
      // The tape holds on to the bytes of the old state by itself.
      replace(outside(() => noGrad(() => last.map(({ h, c }) => ({ h: clone(h), c: clone(c) })))));
      return crossEntropy(logits, tensor(targets));
    },
    dispose: () => replace(undefined),
  };
}

/** Mean loss of a text in nats a token, read from state to state; its exponential is the perplexity. */
export function textLoss(model: LstmLanguageModel, tokens: Int32Array, options: StreamOptions): number {
  const read = reader(model, tokens, options);
  let sum = 0;
  for (let step = 0; step < read.steps; step++) sum += scope(() => noGrad(() => read.loss(step, EVALUATE).item()));
  read.dispose();
  return sum / read.steps;
}
