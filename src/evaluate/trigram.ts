/**
 * Interpolated Kneser-Ney n-grams over token ids: the baseline that a language model has to beat.
 *
 * Source: Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling": modified Kneser-Ney
 * (three discounts per order, estimated from counts of counts) or plain (one). The lowest order interpolates with the
 * uniform distribution over the vocabulary. No pruning, no cut-offs.
 */
import { LacunaError } from "../core/errors.ts";
import type { Window } from "./protocol.ts";

export type Discounting = "modified" | "plain";

export interface NgramOptions {
  /** n: 3 for a trigram */
  readonly order: number;
  /** V */
  readonly vocabulary: number;
  readonly discounting?: Discounting;
}

export interface Ngram {
  readonly order: number;
  readonly vocabulary: number;
  /** discounts of n-grams seen once, twice, more often; by order, unigrams first */
  readonly discounts: readonly (readonly [number, number, number])[];
  /** probability of token `ids[at]` after the tokens `ids[from..at-1]`, of which the last n-1 count */
  probability(ids: ArrayLike<number>, at: number, from: number): number;
}

/** The n-grams of one order, sorted, grouped by their contexts (their first n-1 tokens). */
interface Level {
  /** n-gram as a number in base V */
  readonly keys: Float64Array;
  readonly counts: Int32Array;
  readonly contexts: Float64Array;
  /** n-grams of context c are `keys[first[c] .. first[c + 1]]` */
  readonly first: Int32Array;
  readonly totals: Float64Array;
  /** the share of the context's probability that the discounts set free */
  readonly free: Float64Array;
  readonly discounts: readonly [number, number, number];
}

/** Sorts, then counts equal neighbours. */
function tally(sorted: Float64Array): { keys: Float64Array; counts: Int32Array } {
  sorted.sort();
  const keys = new Float64Array(sorted.length);
  const counts = new Int32Array(sorted.length);
  let size = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (i === 0 || sorted[i] !== sorted[i - 1]) keys[size++] = sorted[i]!;
    counts[size - 1]!++;
  }
  return { keys: keys.slice(0, size), counts: counts.slice(0, size) };
}

/** Discounts from the counts of counts (Chen & Goodman 1998, equations 17 and 26). */
export function discountsOf(counts: Int32Array, discounting: Discounting): [number, number, number] {
  const n = [0, 0, 0, 0, 0];
  for (const count of counts) if (count <= 4) n[count]!++;
  const [, n1, n2, n3, n4] = n as [number, number, number, number, number];
  // without n-grams seen once the estimate is undefined; a half is the discount of n1 = 2 n2
  const plain = n1 > 0 ? n1 / (n1 + 2 * n2) : 0.5;
  if (discounting === "plain" || n1 === 0 || n2 === 0 || n3 === 0) return [plain, plain, plain];
  const modified = [1 - (2 * plain * n2) / n1, 2 - (3 * plain * n3) / n2, 3 - (4 * plain * n4) / n3] as const;
  // tiny texts can give discounts out of range, which would break the distribution
  return modified.every((d, i) => d > 0 && d <= i + 1) ? [...modified] : [plain, plain, plain];
}

function levelOf({ keys, counts }: { keys: Float64Array; counts: Int32Array }, V: number, kind: Discounting): Level {
  const discounts = discountsOf(counts, kind);
  const contexts: number[] = [];
  const first: number[] = [];
  const totals: number[] = [];
  const free: number[] = [];
  keys.forEach((key, i) => {
    const context = Math.floor(key / V);
    if (contexts.at(-1) !== context) {
      contexts.push(context);
      first.push(i);
      totals.push(0);
      free.push(0);
    }
    const c = contexts.length - 1;
    totals[c]! += counts[i]!;
    free[c]! += discounts[Math.min(counts[i]!, 3) - 1]!;
  });
  first.push(keys.length);
  return {
    keys,
    counts,
    contexts: Float64Array.from(contexts),
    first: Int32Array.from(first),
    totals: Float64Array.from(totals),
    free: Float64Array.from(free, (mass, c) => mass / totals[c]!),
    discounts,
  };
}

/** Index of `value` in the sorted `values[low .. high]`, or -1. */
function find(values: Float64Array, value: number, low: number, high: number): number {
  let from = low;
  let to = high;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (values[middle]! < value) from = middle + 1;
    else to = middle;
  }
  return from < high && values[from] === value ? from : -1;
}

/** Counts the n-grams of `tokens` (one running text) and estimates the discounts. */
export function kneserNey(tokens: Int32Array, options: NgramOptions): Ngram {
  const { order, vocabulary: V, discounting = "modified" } = options;
  if (!Number.isInteger(order) || order < 1 || V ** order > Number.MAX_SAFE_INTEGER) {
    throw new LacunaError({
      about: "order",
      expected: `a positive integer with ${V}^order below 2^53`,
      got: String(order),
      hint: "A trigram has order 3.",
    });
  }
  if (tokens.length < order) {
    throw new LacunaError({
      about: "training text of the n-gram",
      expected: `at least ${order} tokens`,
      got: `${tokens.length}`,
      hint: "Give more text.",
    });
  }
  const grams = new Float64Array(tokens.length - order + 1);
  for (let i = 0; i < grams.length; i++) {
    let key = 0;
    for (let k = 0; k < order; k++) key = key * V + tokens[i + k]!;
    grams[i] = key;
  }
  const levels: Level[] = [levelOf(tally(grams), V, discounting)];
  for (let k = order - 1; k >= 1; k--) {
    // below the highest order an n-gram counts once for every distinct token before it
    const modulus = V ** k;
    levels.unshift(levelOf(tally(levels[0]!.keys.map((key) => key % modulus)), V, discounting));
  }
  return {
    order,
    vocabulary: V,
    discounts: levels.map((level) => level.discounts),
    probability: (ids, at, from) => {
      let p = 1 / V;
      const token = ids[at]!;
      let context = 0;
      for (let k = 1; k <= order && at - k + 1 >= from; k++) {
        if (k > 1) context += ids[at - k + 1]! * V ** (k - 2);
        const level = levels[k - 1]!;
        const c = find(level.contexts, context, 0, level.contexts.length);
        if (c < 0) return p; // an unseen context stays unseen when it grows
        const i = find(level.keys, context * V + token, level.first[c]!, level.first[c + 1]!);
        const count = i < 0 ? 0 : level.counts[i]!;
        const seen = count === 0 ? 0 : (count - level.discounts[Math.min(count, 3) - 1]!) / level.totals[c]!;
        p = seen + level.free[c]! * p;
      }
      return p;
    },
  };
}

/**
 * Losses, in nats, of the protocol's scored tokens. `context` is what a token may see: its own `window`, as the language
 * model does, or the whole `text` before it.
 *
 * A token with fewer than n-1 tokens before it is scored by the model of that lower order in `models` (unigram first):
 * the lower distributions inside a trigram count contexts, not occurrences, and are poor on their own.
 */
export function ngramLosses(
  models: readonly Ngram[],
  ids: Int32Array,
  windows: readonly Window[],
  context: "window" | "text",
): Float64Array[] {
  return windows.map(({ start, length }) => {
    const from = context === "window" ? start : 0;
    const losses = new Float64Array(length - 1);
    for (let i = 1; i < length; i++) {
      const at = start + i;
      const model = models[Math.min(at - from, models.length - 1)]!;
      losses[i - 1] = -Math.log(model.probability(ids, at, from));
    }
    return losses;
  });
}

/** The models of orders 1 to `order`, for `ngramLosses`. */
export function kneserNeyFamily(tokens: Int32Array, options: NgramOptions): Ngram[] {
  return Array.from({ length: options.order }, (_, i) => kneserNey(tokens, { ...options, order: i + 1 }));
}
