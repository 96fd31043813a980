/**
 * A small translation task: a whole number below a million, digit by digit, into English words. Every number once, so
 * training, validation and test never share one.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import type { Splits } from "./examples.ts";

const ONES =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(
    " ",
  );
const TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split(" ");

/** Words of a whole number from 0 to 999,999, without "and": 21,007 is twenty one thousand seven. */
export function numberWords(n: number): string[] {
  demand(Number.isInteger(n) && n >= 0 && n < 1_000_000, () => ({
    about: "number in words",
    expected: "a whole number from 0 to 999,999",
    got: String(n),
    hint: "Larger numbers have no words here.",
  }));
  if (n < 20) return [ONES[n]];
  if (n < 100) return [TENS[Math.floor(n / 10) - 2], ...(n % 10 ? [ONES[n % 10]] : [])];
  const [size, word] = n < 1000 ? [100, "hundred"] : [1000, "thousand"];
  return [...numberWords(Math.floor(n / size)), word, ...(n % size ? numberWords(n % size) : [])];
}

/** Tokens of the target side: 0 pads, 1 begins, 2 ends, then the 30 words. */
export const NUMBER_WORDS: readonly string[] = ["<pad>", "<begin>", "<end>", ...ONES, ...TENS, "hundred", "thousand"];
export const PAD = 0;
export const BEGIN = 1;
export const END = 2;
/** Source tokens: 0 pads, digit d is d + 1. */
export const SOURCE_TOKENS = 11;
/** Digits of the longest source, words of the longest target and its end. */
export const SOURCE_LENGTH = 6;
export const TARGET_LENGTH = 10;

export interface WordPairs {
  readonly count: number;
  readonly numbers: Int32Array;
  /** [N, 6] digits from the left, padded at the end */
  readonly source: Int32Array;
  /** [N] digits */
  readonly sourceLengths: Int32Array;
  /** [N, 10] <begin> and the words, padded: what a decoder is given */
  readonly inputs: Int32Array;
  /** [N, 10] the words and <end>, then -1: what it shall say */
  readonly targets: Int32Array;
}

/** Token sequences of these numbers. */
export function encodeNumbers(numbers: ArrayLike<number>): WordPairs {
  const count = numbers.length;
  const source = new Int32Array(count * SOURCE_LENGTH);
  const sourceLengths = new Int32Array(count);
  const inputs = new Int32Array(count * TARGET_LENGTH);
  const targets = new Int32Array(count * TARGET_LENGTH).fill(-1);
  const token = new Map(NUMBER_WORDS.map((w, i) => [w, i]));
  for (let i = 0; i < count; i++) {
    const words = numberWords(numbers[i]).map((w) => token.get(w)!);
    const digits = Array.from(String(numbers[i]), (d) => Number(d) + 1);
    source.set(digits, i * SOURCE_LENGTH);
    sourceLengths[i] = digits.length;
    inputs.set([BEGIN, ...words], i * TARGET_LENGTH);
    targets.set([...words, END], i * TARGET_LENGTH);
  }
  return { count, numbers: Int32Array.from(numbers), source, sourceLengths, inputs, targets };
}

export interface NumberWordOptions {
  readonly train: number;
  readonly validation: number;
  readonly test: number;
  readonly seed: number;
}

/** Different numbers below a million, drawn evenly by seed: nine of ten have six digits. */
export function numberWordSplits(options: NumberWordOptions): Splits<WordPairs> {
  const { train, validation, test, seed } = options;
  const total = train + validation + test;
  demand(total <= 500_000 && [train, validation, test].every((n) => Number.isInteger(n) && n >= 0), () => ({
    about: "number words",
    expected: "three counts of at most 500,000 together",
    got: `${train} + ${validation} + ${test}`,
    hint: "Ask for fewer numbers.",
  }));
  const draws = stream(seed, "number-words");
  const numbers = new Set<number>();
  for (let i = 0; numbers.size < total; i++) numbers.add(draws.below(i, 1_000_000));
  const all = [...numbers];
  return {
    train: encodeNumbers(all.slice(0, train)),
    validation: encodeNumbers(all.slice(train, train + validation)),
    test: encodeNumbers(all.slice(train + validation)),
  };
}
