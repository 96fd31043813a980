/**
 * The perplexity protocol: which tokens of a text are scored, in which context, and what is made of their losses.
 *
 * The tokenizer's post-processing once for the whole text; windows of L tokens that do not overlap; every token of a
 * window but its first is scored with the window's earlier tokens as context; a ragged tail is dropped unless it is the
 * only window. Pure functions on token ids: the model is somebody else's.
 */
import { LacunaError } from "../core/errors.ts";

export interface Window {
  /** index of its first token */
  readonly start: number;
  /** tokens in it, at least 2; all but the first are scored */
  readonly length: number;
}

export interface ProtocolOptions {
  /** L, tokens per window */
  readonly length: number;
  /** the first so many windows only; all of them when left out */
  readonly windows?: number | undefined;
}

/** The protocol's name and parameters, kept in every record. */
export interface ProtocolRecord {
  readonly name: "non-overlapping windows";
  readonly length: number;
  /** tokens of the text, special ones included */
  readonly textTokens: number;
  readonly windows: number;
  /** scored tokens */
  readonly tokens: number;
}

export interface PerplexityResult {
  /** exp of `nll` */
  readonly perplexity: number;
  /** mean negative log-likelihood of the scored tokens, nats */
  readonly nll: number;
  /** bits per UTF-8 byte of the scored tokens; null when the bytes are not known or none */
  readonly bitsPerByte: number | null;
  /** scored tokens */
  readonly tokens: number;
  readonly windows: number;
  /** L */
  readonly length: number;
  readonly protocol: ProtocolRecord;
}

/** Window length when none is asked for: `min(max_position_embeddings, 2048)`. */
export function defaultLength(maxPositions: number): number {
  return Math.min(maxPositions, 2048);
}

/** The windows of a text of `tokens` tokens. `about` names the text in errors. */
export function windowsOf(tokens: number, options: ProtocolOptions, about = "text"): Window[] {
  const { length, windows } = options;
  if (!Number.isInteger(length) || length < 2) {
    throw new LacunaError({
      about: "length",
      expected: "an integer of at least 2: the first token of a window is not scored",
      got: String(length),
      hint: "Leave it out to use the model's own context length.",
    });
  }
  if (windows !== undefined && (!Number.isInteger(windows) || windows < 1)) {
    throw new LacunaError({
      about: "windows",
      expected: "a positive integer",
      got: String(windows),
      hint: "Leave it out to use the whole text.",
    });
  }
  if (tokens < 2) {
    throw new LacunaError({
      about,
      expected: "at least 2 tokens, so that one can be scored",
      got: tokens === 0 ? "an empty text" : `${tokens} token`,
      hint: `Give more text; a window holds ${length} tokens.`,
    });
  }
  const whole = Math.floor(tokens / length);
  if (whole === 0) return [{ start: 0, length: tokens }];
  return Array.from({ length: Math.min(whole, windows ?? whole) }, (_, i) => ({ start: i * length, length }));
}

/** Scored tokens of these windows. */
export function scoredTokens(windows: readonly Window[]): number {
  return windows.reduce((sum, window) => sum + window.length - 1, 0);
}

/**
 * Sums the losses of all windows and makes the figures.
 *
 * `losses[w]` are the negative log-likelihoods, in nats, of tokens 1.. of window w; `bytes` are the UTF-8 bytes of every
 * token of the text (`Tokenizer.encodeFile`).
 */
export function summarise(
  windows: readonly Window[],
  losses: readonly ArrayLike<number>[],
  options: { readonly length: number; readonly textTokens: number; readonly bytes?: Int32Array | undefined },
): PerplexityResult {
  let total = 0;
  let tokens = 0;
  let bytes = 0;
  windows.forEach((window, w) => {
    const own = losses[w];
    if (own?.length !== window.length - 1) {
      throw new Error(`window ${w}: ${window.length - 1} losses expected, got ${own?.length}`);
    }
    for (let i = 0; i < own.length; i++) {
      total += own[i]!;
      bytes += options.bytes?.[window.start + 1 + i] ?? 0;
    }
    tokens += own.length;
  });
  const nll = total / tokens;
  const { length, textTokens } = options;
  return {
    perplexity: Math.exp(nll),
    nll,
    bitsPerByte: bytes > 0 ? total / Math.LN2 / bytes : null,
    tokens,
    windows: windows.length,
    length,
    protocol: { name: "non-overlapping windows", length, textTokens, windows: windows.length, tokens },
  };
}
