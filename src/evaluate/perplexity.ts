/**
 * Perplexity of a model on a text, by the protocol of `protocol.ts`, block by block: a model larger than memory works.
 *
 * All windows go through one block before the next is loaded; head and losses follow window by window, a few rows of
 * logits at a time. Exact multiply-adds and a dispatch fixed by shapes: the same bits for any number of threads.
 */
import { breathe, walkBlocks } from "../calibrate/walk.ts";
import { LacunaError } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { Tensor, tensor } from "../core/tensor.ts";
import { checkTokenIds } from "../data/tokenizer.ts";
import { loadHead } from "../models/llama/load.ts";
import type { Llama } from "../models/llama/model.ts";
import type { Model } from "../models/model.ts";
import { encodeFor } from "../models/model.ts";
import { tokenLosses } from "../nn/ops/loss.ts";
import { rmsNorm } from "../nn/ops/norm.ts";
import { defaultLength, type PerplexityResult, summarise, type Window, windowsOf } from "./protocol.ts";

export interface PerplexityProgress {
  /** share of the work done, 0 to 1 */
  readonly done: number;
}

export interface PerplexityOptions {
  /** L, tokens per window; default `min(max_position_embeddings, 2048)` */
  readonly length?: number | undefined;
  /** the first so many windows; default all */
  readonly windows?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((p: PerplexityProgress) => void) | undefined;
}

/** A text as token ids with the UTF-8 bytes of each, as `Tokenizer.encodeFile` gives. */
export interface TokenText {
  readonly ids: Int32Array;
  readonly bytes?: Int32Array;
}

export interface Perplexity extends PerplexityResult {
  readonly seconds: number;
}

/** Most bytes of logits at once. */
const LOGIT_BYTES = 64 * 2 ** 20;

/** The token that follows each one; -1 at the end, which is not scored. */
function targetsOf(window: Int32Array): Int32Array {
  const targets = new Int32Array(window.length).fill(-1);
  targets.set(window.subarray(1));
  return targets;
}

/** Losses of tokens 1.. of one window, whose hidden states begin at row `start` of x [.., D]. */
function windowLosses(
  ends: Pick<Llama, "norm" | "head">,
  eps: number,
  x: Tensor,
  start: number,
  window: Int32Array,
): Float32Array {
  const { norm, head } = ends;
  const rows = Math.max(1, Math.floor(LOGIT_BYTES / (4 * head.out)));
  const targets = targetsOf(window);
  const losses = new Float32Array(window.length);
  for (let first = 0; first < window.length; first += rows) {
    const count = Math.min(rows, window.length - first);
    scope(() => {
      const part = new Tensor([count, norm.size]);
      part.f32.set(x.f32.subarray((start + first) * norm.size, (start + first + count) * norm.size));
      const logits = head.apply(rmsNorm(part, norm, eps));
      losses.set(tokenLosses(logits, tensor(targets.subarray(first, first + count))).f32, first);
    });
  }
  return losses.subarray(0, window.length - 1);
}

/**
 * Perplexity on `text`. Throws a `LacunaError` for a text of less than 2 tokens, ids beyond the vocabulary, a length
 * beyond the model's positions, and what loading a model can throw; the signal's reason when aborted.
 */
export async function perplexity(
  model: Model,
  text: string | TokenText,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  const started = performance.now();
  const { config } = model;
  const { signal, onProgress } = options;
  const length = options.length ?? defaultLength(config.maxPositions);
  if (length > config.maxPositions) {
    throw new LacunaError({
      about: "length",
      expected: `at most ${config.maxPositions}, the positions this model was made for`,
      got: String(length),
      hint: "Leave it out, or give a shorter one.",
    });
  }
  const { ids, bytes } = typeof text === "string" ? encodeFor(model, text) : text;
  if (typeof text !== "string") checkTokenIds(ids, config.vocabSize, "text");
  const windows = windowsOf(ids.length, { length, windows: options.windows });
  const sequences = windows.map((w: Window) => ids.subarray(w.start, w.start + w.length));

  // The head counts as one block of the progress.
  const blocks = config.layers + 1;
  const batches = await walkBlocks(model, {
    sequences,
    signal,
    onProgress: ({ done }) => onProgress?.({ done: done / blocks }),
  });
  const losses: Float32Array[] = [];
  try {
    const ends = await loadHead(model.weights, config);
    try {
      for (const batch of batches) {
        for (let i = 0; i < batch.sequences; i++) {
          signal?.throwIfAborted();
          const window = sequences[losses.length];
          losses.push(noGrad(() => windowLosses(ends, config.normEps, batch.x, i * window.length, window)));
          await breathe();
          onProgress?.({ done: (config.layers + losses.length / sequences.length) / blocks });
        }
        batch.x.dispose();
      }
    } finally {
      ends.norm.dispose();
      ends.head.dispose();
    }
  } finally {
    for (const batch of batches) batch.x.dispose();
  }
  const result = summarise(windows, losses, { length, textTokens: ids.length, bytes });
  if (!Number.isFinite(result.nll)) {
    throw new LacunaError({
      about: "perplexity",
      expected: "finite losses",
      got: String(result.nll),
      hint: "The model's activations overflow; check its weights with `lacuna inspect`.",
    });
  }
  return { ...result, seconds: (performance.now() - started) / 1000 };
}
