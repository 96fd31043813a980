/**
 * Text as characters for small language models: ASCII codes as tokens (V = 128), and text cut into parallel streams for
 * truncated back-propagation, where the state of one step is carried to the next.
 */
import { demand } from "../core/errors.ts";
import type { TextDocument } from "./text-package.ts";

export const CHARACTERS = 128;

const PLAIN: Readonly<Record<string, string>> = {
  "\u2018": "'",
  "\u2019": "'",
  "\u201c": '"',
  "\u201d": '"',
  "\u2013": "-",
  "\u2014": "--",
  "\u2026": "...",
  "\u00a0": " ",
};

/** Text in ASCII: typographic marks become plain ones, accents are dropped, `\r\n` is `\n`, anything else is `?`. */
export function toAscii(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(/[\u0080-\uffff]/g, (c) => PLAIN[c] ?? c)
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^\0-\x7f]/gu, "?");
}

/** Codes 0..127 of the documents in order, two line ends between them; the first `limit` where it is given. */
export function characterTokens(documents: readonly TextDocument[], limit = Number.POSITIVE_INFINITY): Int32Array {
  const parts: string[] = [];
  let length = 0;
  for (const { text } of documents) {
    if (length >= limit) break;
    const part = `${toAscii(text)}\n\n`;
    parts.push(part);
    length += part.length;
  }
  const all = parts.join("");
  return Int32Array.from({ length: Math.min(limit, all.length) }, (_, i) => all.charCodeAt(i));
}

export interface StreamBatch {
  /** [B, L] */
  readonly inputs: Int32Array;
  /** [B, L] the token that follows each */
  readonly targets: Int32Array;
}

export interface ParallelStreams {
  /** steps of one pass */
  readonly steps: number;
  /** Row b at step s + 1 goes on where row b at step s ended: carry the state, and clear it at step 0. */
  at(step: number): StreamBatch;
}

/** Cuts the text into `batch` pieces that are read side by side, `length` tokens a step; the rest at the end is left out. */
export function parallelStreams(tokens: Int32Array, batch: number, length: number): ParallelStreams {
  const piece = Math.floor((tokens.length - 1) / batch);
  const steps = Math.floor(piece / length);
  demand(batch >= 1 && length >= 1 && steps >= 1, () => ({
    about: "text for parallel streams",
    expected: `more than ${batch * length} tokens for ${batch} streams of ${length}`,
    got: String(tokens.length),
    hint: "Give more text, or a smaller batch or length.",
  }));
  return {
    steps,
    at(step) {
      demand(Number.isInteger(step) && step >= 0 && step < steps, () => ({
        about: "step of parallel streams",
        expected: `0 to ${steps - 1}`,
        got: String(step),
        hint: "Begin the next pass at 0.",
      }));
      const inputs = new Int32Array(batch * length);
      const targets = new Int32Array(batch * length);
      for (let b = 0; b < batch; b++) {
        const start = b * piece + step * length;
        inputs.set(tokens.subarray(start, start + length), b * length);
        targets.set(tokens.subarray(start + 1, start + length + 1), b * length);
      }
      return { inputs, targets };
    },
  };
}
