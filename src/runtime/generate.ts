/**
 * Text from a prompt: prefill, then one token at a time, sampled and decoded as it comes.
 *
 * An async iterator of text pieces; between tokens the event loop gets a turn, so timers and Ctrl-C work. Stops at the
 * model's end of sequence, at the number of tokens asked for, or when the context is full.
 */
import { LacunaError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";
import { createRunner, Runner, type RunnerOptions } from "./runner.ts";
import { makeSampler, type SampleOptions } from "./sample.ts";

export interface GenerateOptions extends SampleOptions {
  /** most tokens to make; default 128 */
  readonly tokens?: number;
  readonly signal?: AbortSignal | undefined;
  /** called with every token, the end of sequence included */
  readonly onToken?: (id: number) => void;
  /** when a model is given, how it is loaded */
  readonly runner?: RunnerOptions;
}

export interface GenerationStatistics {
  readonly promptTokens: number;
  /** tokens made, the end of sequence included */
  readonly tokens: number;
  readonly secondsPrefill: number;
  /** time in the model and the sampler, after the prompt */
  readonly secondsDecode: number;
  /** decode steps a second; 0 when there was none */
  readonly tokensPerSecond: number;
  readonly stopped: "end of sequence" | "tokens" | "context";
}

export interface Generation extends AsyncIterable<string> {
  /** the whole text; use either this or the iterator */
  text(): Promise<string>;
  /** once the iterator has come to its end */
  readonly statistics: GenerationStatistics | undefined;
}

/** Ids that end a text: the tokenizer's, and those config.json names. */
export function endIds(model: Model): Set<number> {
  const named = model.rawConfig.eos_token_id;
  const ids = (Array.isArray(named) ? named : [named]).filter((id): id is number => Number.isInteger(id));
  if (model.tokenizer.eos !== null) ids.push(model.tokenizer.eos);
  return new Set(ids);
}

/** Token ids of a prompt; an empty one starts from the beginning (or end) of sequence. */
export function promptIds(model: Model, prompt: string): Int32Array {
  const ids = model.tokenizer.encode(prompt);
  if (ids.length > 0) return ids;
  const start = model.tokenizer.bos ?? model.tokenizer.eos;
  if (start !== null) return Int32Array.of(start);
  throw new LacunaError({
    about: "prompt",
    expected: "some text: this model has no token to start from",
    got: "an empty prompt",
    hint: "Give the first words.",
  });
}

const now = (): number => performance.now() / 1000;
const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
/** The event loop gets its turn after this much work. */
const TURN_SECONDS = 0.008;

/**
 * Generates after `prompt`. A runner starts from an empty context and is left holding the text; a model is loaded and
 * freed. Errors (prompt too long, bad options) come when the iterator is first asked.
 */
export function generate(source: Model | Runner, prompt: string, options: GenerateOptions = {}): Generation {
  let statistics: GenerationStatistics | undefined;
  async function* pieces(): AsyncGenerator<string, void> {
    const sample = makeSampler(options);
    const most = checkedCount(options.tokens ?? 128);
    const { signal } = options;
    signal?.throwIfAborted();
    const borrowed = source instanceof Runner;
    const runner = borrowed ? source : await createRunner(source, { signal, ...options.runner });
    try {
      const { model } = runner;
      const ids = promptIds(model, prompt);
      if (ids.length > runner.contextLength) {
        throw new LacunaError({
          about: "prompt",
          expected: `at most ${runner.contextLength} tokens, the context of the model`,
          got: `${ids.length} tokens`,
          hint: "Shorten the prompt.",
        });
      }
      runner.reset();
      const ends = endIds(model);
      const decoder = model.tokenizer.streamingDecoder();
      const begin = now();
      let logits = runner.prefill(ids);
      const secondsPrefill = now() - begin;
      let secondsDecode = 0;
      let steps = 0;
      let tokens = 0;
      let stopped: GenerationStatistics["stopped"] = "tokens";
      let last = now();
      while (tokens < most) {
        signal?.throwIfAborted();
        const start = now();
        const id = sample(logits, runner.position);
        tokens++;
        options.onToken?.(id);
        if (ends.has(id)) {
          stopped = "end of sequence";
          break;
        }
        const full = runner.position === runner.contextLength;
        if (tokens < most && !full) {
          logits = runner.step(id);
          steps++;
          secondsDecode += now() - start;
        }
        const piece = decoder.push(id);
        if (piece) yield piece;
        if (full && tokens < most) {
          stopped = "context";
          break;
        }
        if (now() - last > TURN_SECONDS) {
          await turn();
          last = now();
        }
      }
      const rest = decoder.end();
      if (rest) yield rest;
      const tokensPerSecond = steps > 0 ? steps / secondsDecode : 0;
      statistics = { promptTokens: ids.length, tokens, secondsPrefill, secondsDecode, tokensPerSecond, stopped };
    } finally {
      if (!borrowed) runner.dispose();
    }
  }
  return {
    [Symbol.asyncIterator]: pieces,
    async text() {
      let all = "";
      for await (const piece of pieces()) all += piece;
      return all;
    },
    get statistics() {
      return statistics;
    },
  };
}

function checkedCount(tokens: number): number {
  if (Number.isInteger(tokens) && tokens >= 1) return tokens;
  throw new LacunaError({
    about: "tokens",
    expected: "a whole number of at least 1",
    got: String(tokens),
    hint: "It is the most that will be made; a text may end earlier.",
  });
}
