/**
 * Tokens per second of several models side by side: decode and prefill, interleaved, with spread, and each model's
 * speed against the first as the median of ratios taken inside of rounds.
 *
 * Forward passes only: no sampling, no tokenizer. Every model gets the same token ids. Decode runs on from the same
 * prompt each time, so all slices see the same context lengths; its tokens differ from one another, as a repeated one
 * would keep its row of the embedding in cache.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import type { Runner } from "../runtime/runner.ts";
import { interleave, type Spread, spread, type Timing } from "../runtime/timing.ts";

export interface SpeedOptions {
  /** tokens of a prefill, and in the cache when decode starts; default 128, or half of the smallest context if less */
  readonly promptTokens?: number;
  /** tokens of one decode stretch; default 32, or what the smallest context leaves */
  readonly tokens?: number;
  /** rounds of each of the two interleaved runs; default 15 */
  readonly rounds?: number;
  /** the prompt's ids, repeated as often as needed; drawn when left out */
  readonly prompt?: ArrayLike<number>;
  readonly signal?: AbortSignal | undefined;
  /** share done, in [0, 1] */
  readonly onProgress?: ((done: number) => void) | undefined;
  /** milliseconds, for tests */
  readonly clock?: () => number;
}

export interface Speed {
  readonly tokensPerSecond: Spread;
  /** times as fast as the first model, paired by round; 1 for the first itself */
  readonly ratio: Spread;
}

export interface ModelSpeed {
  readonly decode: Speed;
  readonly prefill: Speed;
  /** tokens of the prompt, and of a decode stretch */
  readonly promptTokens: number;
  readonly tokens: number;
}

const rows = (t: Timing, tokens: number): Speed[] =>
  t.variants.map((v, i) => ({
    tokensPerSecond: spread(v.times.map((ms) => (1000 * tokens) / ms)),
    ratio: t.ratio(i, 0),
  }));

/** Times the runners in turns; they are left empty. Throws a LacunaError when the tokens do not fit a context. */
export async function compareSpeed(runners: readonly Runner[], options: SpeedOptions = {}): Promise<ModelSpeed[]> {
  if (runners.length === 0) return [];
  const context = Math.min(...runners.map((r) => r.contextLength));
  const vocabulary = Math.min(...runners.map((r) => r.model.config.vocabSize));
  const promptTokens = options.promptTokens ?? Math.max(1, Math.min(128, context >> 1));
  const tokens = options.tokens ?? Math.max(1, Math.min(32, context - promptTokens));
  demand(promptTokens >= 1 && tokens >= 1 && promptTokens + tokens <= context, () => ({
    about: "tokens to time",
    expected: `at least 1 each and at most ${context} together, the smallest context`,
    got: `a prompt of ${promptTokens} and ${tokens} more`,
    hint: "Ask for fewer.",
  }));
  const draws = stream(0, "speed");
  const id = (i: number): number =>
    options.prompt?.length ? options.prompt[i % options.prompt.length] : draws.below(i, vocabulary);
  const prompt = Int32Array.from({ length: promptTokens }, (_, i) => id(i));
  const more = Int32Array.from({ length: tokens }, (_, i) => id(promptTokens + i));
  const { rounds = 15, signal, clock, onProgress } = options;
  const half = (start: number) => (done: number, all: number) => onProgress?.(start + (0.5 * done) / all);
  const common = { rounds, slice: 15, warmUp: 40, signal, ...(clock && { clock }) };

  for (const r of runners) {
    r.reset();
    r.prefill(prompt);
  }
  const decode = await interleave(
    runners.map((r, i) => ({
      name: String(i),
      run: () => {
        r.rewind(promptTokens);
        for (const next of more) r.step(next);
      },
    })),
    { ...common, onRound: half(0) },
  );
  const prefill = await interleave(
    runners.map((r, i) => ({
      name: String(i),
      run: () => {
        r.reset();
        r.prefill(prompt);
      },
    })),
    { ...common, onRound: half(0.5) },
  );
  for (const r of runners) r.reset();
  const [d, p] = [rows(decode, tokens), rows(prefill, promptTokens)];
  return runners.map((_, i) => ({ decode: d[i], prefill: p[i], promptTokens, tokens }));
}
