/**
 * A language model of stacked LSTM layers: embedding, layers, a linear head over the vocabulary (characters or bytes).
 * Text is read in windows; the state may be carried from one window to the next, and no gradient goes back through it
 * (truncated back-propagation). Tables are not tied. Dropout as Zaremba et al. 2014 place it.
 */
import { type Tensor, tensor } from "../core/tensor.ts";
import { embeddingLayer } from "../nn/layers/embedding.ts";
import { linearLayer } from "../nn/layers/linear.ts";
import { lstmStack } from "../nn/layers/recurrent.ts";
import type { Mode, Net } from "../nn/net.ts";
import { dropout } from "../nn/ops/dropout.ts";
import type { CellState } from "../nn/ops/recurrent.ts";
import { swapRows } from "../nn/ops/rows.ts";
import type { Off } from "../nn/param.ts";

export interface LstmModelOptions {
  readonly vocabulary: number;
  /** width of the embedding */
  readonly embedding: number;
  /** cells of each layer */
  readonly units: number;
  readonly layers: number;
  readonly seed: number;
  /** rate on what goes from layer to layer, embedding and head included, never from step to step; default 0 */
  readonly dropout?: number;
  /** what a masked weight is; default "zero" */
  readonly off?: Off;
}

export interface LanguageModelResult {
  /** [B * T, V], in the order of the ids */
  readonly logits: Tensor;
  /** state after the window, one of each layer: what the next window starts from */
  readonly last: readonly CellState[];
}

/** Parameters: `embedding.weight`, `lstm.<l>.{input,hidden,bias}`, `head.{weight,bias}`. */
export interface LstmLanguageModel extends Net {
  /** ids i32 [B, T] -> logits [B * T, V], each row from zeros */
  forward(ids: Tensor, mode: Mode): Tensor;
  /** the same from a state, and the state afterwards; it belongs to the surrounding scope */
  run(ids: Tensor, mode: Mode, state?: readonly CellState[]): LanguageModelResult;
}

/** ids [B, T] as rows of one step after the other, [T * B]. */
export function timeMajor(ids: Tensor): Tensor {
  const [batch, steps] = ids.shape;
  const from = ids.i32;
  return tensor(Int32Array.from({ length: from.length }, (_, i) => from[(i % batch) * steps + Math.floor(i / batch)]));
}

export function lstmLanguageModel(options: LstmModelOptions): LstmLanguageModel {
  const { vocabulary, units, seed, dropout: rate = 0, off = "zero" } = options;
  const table = embeddingLayer("embedding", vocabulary, options.embedding, { seed, off });
  const between = (y: Tensor, layer: number, mode: Mode): Tensor => dropout(y, rate, `lstm.${layer}`, mode);
  const stack = lstmStack("lstm", options.embedding, units, options.layers, { seed, off, between });
  const head = linearLayer("head", units, vocabulary, { seed, off, role: "head" });
  const run = (ids: Tensor, mode: Mode, state?: readonly CellState[]): LanguageModelResult => {
    const [batch, steps] = ids.shape;
    const x = dropout(table.forward(timeMajor(ids), mode), rate, "embedding", mode);
    const { output, last } = stack.run(x, batch, mode, state);
    return { logits: head.forward(swapRows(output, steps, batch), mode), last };
  };
  return {
    params: [...table.params, ...stack.params, ...head.params],
    forward: (ids, mode) => run(ids, mode).logits,
    run,
  };
}
