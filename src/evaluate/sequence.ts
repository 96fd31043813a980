/** Generated sequences against what was wanted: exact match and the share of right tokens. -1 marks what is not counted. */
import { demand } from "../core/errors.ts";

export interface SequenceMatch {
  /** share of sequences in which every counted token is right */
  readonly exact: number;
  /** share of counted tokens that are right */
  readonly tokens: number;
}

/** Both are [N, L]; targets hold the end token, so a sequence that goes on too long is wrong. */
export function sequenceMatch(output: ArrayLike<number>, targets: ArrayLike<number>, length: number): SequenceMatch {
  demand(
    output.length === targets.length && length >= 1 && targets.length % length === 0 && targets.length > 0,
    () => ({
      about: "sequences",
      expected: `[N, ${length}] tokens and as many targets`,
      got: `${output.length} and ${targets.length}`,
      hint: "Pad outputs to the targets' length.",
    }),
  );
  let [exact, right, counted] = [0, 0, 0];
  for (let at = 0; at < targets.length; at += length) {
    let whole = true;
    for (let i = at; i < at + length; i++) {
      if (targets[i] < 0) continue;
      counted++;
      if (output[i] === targets[i]) right++;
      else whole = false;
    }
    if (whole) exact++;
  }
  return { exact: exact / (targets.length / length), tokens: right / counted };
}
