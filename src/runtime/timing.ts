/**
 * Interleaved measurement: variants A B C take turns in short slices, round after round, and are compared within a
 * round, so that a machine whose speed drifts treats them alike. Absolute times are reported but only ratios travel.
 *
 * Every other round runs backwards, which cancels a steady drift inside of rounds. What a variant computes, on how
 * much memory and with which inputs is the caller's affair: memory that was never written reads as one shared page, and
 * one small weight used again and again stays in the first cache (see `rotate`). Nothing here knows tensors.
 */
import { LacunaError } from "../core/errors.ts";

export interface Variant {
  readonly name: string;
  /** one call of what is timed */
  run(): void;
  /** untimed, before each slice: put inputs back, reset a position */
  prepare?(): void;
}

export interface TimingOptions {
  /** rounds in which every variant gets one slice; default 9 */
  readonly rounds?: number;
  /** length of a slice in milliseconds; default 8 */
  readonly slice?: number;
  /** milliseconds each variant runs before anything counts, and at least 3 calls; default 20 */
  readonly warmUp?: number;
  /** stop after this many milliseconds, warm-up included, but not before `fewest` rounds */
  readonly budget?: number;
  /** rounds that are run whatever the budget; default 3 */
  readonly fewest?: number;
  /** milliseconds from any origin; default `performance.now` */
  readonly clock?: () => number;
  readonly signal?: AbortSignal | undefined;
  /** after each round */
  readonly onRound?: ((done: number, rounds: number) => void) | undefined;
}

/** Order statistics of repeated measurements. */
export interface Spread {
  readonly median: number;
  /** lower and upper quartile */
  readonly low: number;
  readonly high: number;
  readonly min: number;
  readonly max: number;
  readonly repeats: number;
}

export interface Timed {
  readonly name: string;
  /** calls in a slice */
  readonly calls: number;
  /** milliseconds of one call */
  readonly time: Spread;
  /** milliseconds of one call, round by round */
  readonly times: readonly number[];
}

export interface Timing {
  readonly variants: readonly Timed[];
  readonly rounds: number;
  /** how many times faster variant `fast` is than variant `base`, taken inside of each round */
  ratio(fast: number | string, base: number | string): Spread;
}

/** Quantile of sorted values, linear between neighbours. */
function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.min(sorted.length - 1, low + 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new Error("spread: no values");
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
    min: sorted[0],
    max: sorted[sorted.length - 1],
    repeats: sorted.length,
  };
}

/** A slice that took so many times its variant's lower quartile was interrupted: another program had the core. */
const INTERRUPTED = 2;
const FEWEST_CLEAN = 3;

/** Rounds in which none of the variants was interrupted; all of them when fewer than three are left. */
export function cleanRounds(...variants: readonly (readonly number[])[]): number[] {
  const rounds = [...(variants[0] ?? []).keys()];
  const most = variants.map((times) => INTERRUPTED * spread(times).low);
  const clean = rounds.filter((i) => variants.every((times, v) => times[i] <= most[v]));
  return clean.length >= FEWEST_CLEAN ? clean : rounds;
}

/**
 * Median and spread of the quotients base[i] / fast[i] of times that were taken in the same round, without the rounds
 * in which one of the two was interrupted; `repeats` counts those that stay.
 */
export const pairedRatio = (fast: readonly number[], base: readonly number[]): Spread =>
  spread(cleanRounds(fast, base).map((i) => base[i] / fast[i]));

/** Calls `body(i)` with i = 0, 1, .. n-1, 0, ..: the inputs or weights that a variant walks through. */
export function rotate(n: number, body: (i: number) => void): () => void {
  let i = 0;
  return () => {
    body(i);
    i = i + 1 === n ? 0 : i + 1;
  };
}

/** Lets timers, signals and input in. */
export const breathe = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** Runs the slice's calls and returns milliseconds per call. */
function slice(v: Variant, calls: number, clock: () => number): number {
  v.prepare?.();
  const start = clock();
  for (let i = 0; i < calls; i++) v.run();
  return (clock() - start) / calls;
}

/** Warms a variant up and finds how many calls fill a slice. */
function callsPerSlice(v: Variant, length: number, warmUp: number, clock: () => number): number {
  let spent = 0;
  let best = Number.POSITIVE_INFINITY;
  let calls = 1;
  for (let done = 0; spent < warmUp || done < 3; ) {
    const each = slice(v, calls, clock);
    spent += each * calls;
    done += calls;
    best = Math.min(best, each);
    // A clock that shows no time passing asks for more calls at once.
    if (each * calls < length / 8) calls = Math.min(calls * 2, 1 << 20);
    if (calls === 1 << 20 && spent === 0) throw new Error(`timing: ${v.name} takes no time by this clock`);
  }
  return Math.max(1, Math.round(length / best));
}

/**
 * Measures variants in turns. Yields to the event loop between rounds and throws the signal's reason when aborted.
 */
export async function interleave(variants: readonly Variant[], options: TimingOptions = {}): Promise<Timing> {
  const { rounds = 9, slice: length = 8, warmUp = 20, budget = Number.POSITIVE_INFINITY, fewest = 3 } = options;
  const clock = options.clock ?? (() => performance.now());
  if (!(rounds >= 1 && length > 0)) {
    throw new LacunaError({
      about: "measurement",
      expected: "at least 1 round and a slice above 0 ms",
      got: `${rounds} rounds of ${length} ms`,
      hint: "Leave both out for the defaults.",
    });
  }
  const start = clock();
  const calls: number[] = [];
  for (const v of variants) {
    options.signal?.throwIfAborted();
    calls.push(callsPerSlice(v, length, warmUp, clock));
    await breathe();
  }
  const times: number[][] = variants.map(() => []);
  let done = 0;
  while (done < rounds && (done < Math.min(fewest, rounds) || clock() - start < budget)) {
    options.signal?.throwIfAborted();
    for (let i = 0; i < variants.length; i++) {
      const at = done % 2 === 0 ? i : variants.length - 1 - i;
      times[at].push(slice(variants[at], calls[at], clock));
    }
    done++;
    options.onRound?.(done, rounds);
    await breathe();
  }
  const timed = variants.map(
    (v, i): Timed => ({ name: v.name, calls: calls[i], time: spread(times[i]), times: times[i] }),
  );
  const index = (which: number | string): number => {
    const at = typeof which === "number" ? which : timed.findIndex((t) => t.name === which);
    if (!timed[at]) throw new Error(`timing: no variant ${which}`);
    return at;
  };
  return { variants: timed, rounds: done, ratio: (fast, base) => pairedRatio(times[index(fast)], times[index(base)]) };
}
