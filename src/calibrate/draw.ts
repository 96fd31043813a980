/**
 * Which pieces of a calibration text are used: windows of one length at seeded places, without overlap.
 *
 * With n windows of L in N tokens, n draws from 0 to N - n L are sorted, and the i-th smallest plus i L is where window i
 * begins. Every placement can come up, and each part of the text is as likely as any other. When n L = N there is
 * nothing to draw.
 */
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";

export interface DrawOptions {
  /** L, tokens per window */
  readonly length: number;
  /** windows; default as many as the text gives, at most 128 */
  readonly samples?: number | undefined;
  /** which draw; default 0 */
  readonly seed?: number | undefined;
}

/** Most windows that are taken unasked, the papers' number. */
const MOST = 128;

/** The windows' tokens, in the order of the text. Throws a `LacunaError` for a text that is too short. */
export function drawWindows(ids: Int32Array, options: DrawOptions, about = "calibration text"): Int32Array[] {
  const { length, seed = 0 } = options;
  const whole = Math.floor(ids.length / length);
  const samples = options.samples ?? Math.min(MOST, Math.max(1, whole));
  if (!Number.isInteger(samples) || samples < 1) {
    throw new LacunaError({
      about: "samples",
      expected: "a whole number from 1 up",
      got: String(options.samples),
      hint: "It is the number of calibration windows; leave it out to use the text as far as it goes.",
    });
  }
  if (samples > whole) {
    throw new LacunaError({
      about,
      expected: `at least ${samples * length} tokens for ${samples} window${samples === 1 ? "" : "s"} of ${length}`,
      got: ids.length === 0 ? "an empty text" : `${ids.length}`,
      hint: whole > 0 ? `Ask for at most ${whole} windows, or give more text.` : "Give more text, or a shorter length.",
    });
  }
  const slack = ids.length - samples * length;
  const draws = stream(seed, "calibration windows");
  const gaps = Array.from({ length: samples }, (_, i) => draws.below(i, slack + 1)).sort((a, b) => a - b);
  return gaps.map((gap, i) => ids.slice(gap + i * length, gap + (i + 1) * length));
}
