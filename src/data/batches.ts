/**
 * Batches for language-model training: every epoch cuts the tokens into windows at a random phase and shuffles them.
 *
 * A batch is a function of (tokens, options, cursor) alone, so training resumes bit for bit from a saved cursor.
 */
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import type { TextDocument } from "./text-package.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Where the stream stands: the batch `index` of `epoch` comes next. Plain data, for checkpoints. */
export interface BatchCursor {
  readonly epoch: number;
  readonly index: number;
}

export interface Batch {
  /** [B, L] token ids */
  readonly inputs: Int32Array;
  /** [B, L] the token that follows each input */
  readonly targets: Int32Array;
  /** the cursor of the batch after this one */
  readonly next: BatchCursor;
}

export interface BatchOptions {
  /** B, sequences per batch */
  readonly batch: number;
  /** L, inputs per sequence */
  readonly length: number;
  readonly seed: number;
}

export interface BatchStream {
  readonly options: BatchOptions;
  /** batches in this epoch; the windows that fill no batch wait for another epoch's shuffle */
  batchesIn(epoch: number): number;
  at(cursor: BatchCursor): Batch;
}

export const START: BatchCursor = { epoch: 0, index: 0 };

/** All documents as one run of tokens, each preceded by the end-of-text token. */
export function joinDocuments(documents: readonly TextDocument[], tokenizer: Tokenizer): Int32Array {
  const separator = tokenizer.eos ?? tokenizer.bos;
  if (separator === null) {
    throw new LacunaError({
      about: "tokenizer",
      expected: "an end-of-text or beginning-of-text token to separate documents",
      got: "neither eos_token nor bos_token in tokenizer_config.json",
      hint: "Name one of them in tokenizer_config.json.",
    });
  }
  const pieces = documents.map((document) => tokenizer.encode(document.text, false));
  const tokens = new Int32Array(pieces.reduce((sum, piece) => sum + piece.length + 1, 0));
  let at = 0;
  for (const piece of pieces) {
    tokens[at++] = separator;
    tokens.set(piece, at);
    at += piece.length;
  }
  return tokens;
}

/**
 * The batches over `tokens`. Window k of an epoch starts at `phase + k L`, with a phase in [0, L) drawn for the epoch,
 * and holds L inputs and their L targets: inputs never overlap, and nearly every token is a target once per epoch.
 */
export function batchStream(tokens: Int32Array, options: BatchOptions): BatchStream {
  const { batch, length, seed } = options;
  for (const [name, value] of [
    ["batch", batch],
    ["length", length],
  ] as const) {
    if (!Number.isInteger(value) || value < 1) {
      throw new LacunaError({
        about: name,
        expected: "a positive integer",
        got: String(value),
        hint: "Set it in the recipe.",
      });
    }
  }
  const needed = batch * length + length;
  if (tokens.length < needed) {
    throw new LacunaError({
      about: "training text",
      expected: `at least ${needed} tokens for a batch of ${batch} sequences of ${length}`,
      got: `${tokens.length}`,
      hint: "Give more text, or a smaller batch or length.",
    });
  }
  const phases = stream(seed, "batches/phase");
  const orders = stream(seed, "batches/order");
  const windowsIn = (epoch: number) => Math.floor((tokens.length - 1 - phases.below(epoch, length)) / length);
  let known: { epoch: number; order: Int32Array } = { epoch: -1, order: new Int32Array(0) };
  const orderOf = (epoch: number) => {
    if (known.epoch !== epoch) known = { epoch, order: orders.permutation(windowsIn(epoch), epoch) };
    return known.order;
  };
  const batchesIn = (epoch: number) => Math.floor(windowsIn(epoch) / batch);
  return {
    options,
    batchesIn,
    at: ({ epoch, index }) => {
      const count = batchesIn(epoch);
      if (!(Number.isInteger(index) && index >= 0 && index < count)) {
        throw new LacunaError({
          about: "data cursor",
          expected: `a batch index below ${count} in epoch ${epoch}`,
          got: String(index),
          hint: "The checkpoint belongs to other data or options; start the training anew.",
        });
      }
      const order = orderOf(epoch);
      const phase = phases.below(epoch, length);
      const inputs = new Int32Array(batch * length);
      const targets = new Int32Array(batch * length);
      for (let row = 0; row < batch; row++) {
        const start = phase + order[index * batch + row]! * length;
        inputs.set(tokens.subarray(start, start + length), row * length);
        targets.set(tokens.subarray(start + 1, start + length + 1), row * length);
      }
      const next = index + 1 < count ? { epoch, index: index + 1 } : { epoch: epoch + 1, index: 0 };
      return { inputs, targets, next };
    },
  };
}
