/**
 * Cuts the slices of text that ship beside the model, from the State of the Union addresses and the shipped tokenizer.
 *
 * A slice takes about equally many tokens from each of its documents: whole sentences from a seeded place, in order of
 * year, joined by spaces (the documents have no line breaks either), so that no president or opening formula rules it.
 *
 * npx tsx tools/make-sotu-slices.ts [folder of the model]     (default: models/sotu)
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stream } from "../src/core/random.ts";
import { loadSotu } from "../src/data/sotu.ts";
import type { TextDocument } from "../src/data/text-package.ts";
import { loadTokenizer, type Tokenizer } from "../src/data/tokenizer.ts";

/** Places where a sentence starts: after three small letters (no abbreviation), a full stop and a space. */
export function sentenceStarts(text: string): number[] {
  const starts = [0];
  for (const match of text.matchAll(/\p{Ll}{3}[.!?]["”]? +(?=["“]?\p{Lu})/gu))
    starts.push(match.index + match[0].length);
  return starts;
}

interface Sentences {
  readonly text: string;
  readonly starts: readonly number[];
  /** tokens of each sentence */
  readonly lengths: readonly number[];
  /** uniform in [0, 1): which of the possible first sentences is taken */
  readonly draw: number;
}

export function sentencesOf(document: TextDocument, seed: number, tokenizer: Tokenizer): Sentences {
  const text = document.text.trim();
  const starts = sentenceStarts(text);
  // a space between sentences belongs to the token after it
  const place = (i: number) => (i < starts.length ? Math.max(0, starts[i]! - 1) : text.length);
  const lengths = starts.map((_, i) => tokenizer.encode(text.slice(place(i), place(i + 1)), false).length);
  return { text, starts, lengths, draw: stream(seed, `slice/${document.name}`).uniform(0) };
}

/** The fewest whole sentences of `quota` tokens or more, from the seeded place; all of them when they are fewer. */
export function excerpt({ text, starts, lengths, draw }: Sentences, quota: number): string {
  let after = 0;
  let last = starts.length - 1;
  while (last > 0 && after + lengths[last]! < quota) after += lengths[last--]!;
  // any sentence up to `last` leaves enough text behind it
  const first = Math.floor(draw * (last + 1));
  let end = first;
  let tokens = 0;
  while (end < starts.length && tokens < quota) tokens += lengths[end++]!;
  return text.slice(starts[first], starts[end]).trim();
}

/** Every k-th document, so that `count` of them (all, if there are fewer) are spread over the years. */
export function spread(documents: readonly TextDocument[], count: number): TextDocument[] {
  const kept = Math.min(count, documents.length);
  return Array.from({ length: kept }, (_, i) => documents[Math.floor(((i + 0.5) * documents.length) / kept)]!);
}

/** Text of at least `tokens` tokens, by the smallest quota per document that reaches them. */
export function slice(documents: readonly TextDocument[], tokens: number, seed: number, tokenizer: Tokenizer): string {
  const sources = documents.map((document) => sentencesOf(document, seed, tokenizer));
  const textOf = (quota: number) => `${sources.map((source) => excerpt(source, quota)).join(" ")}\n`;
  let low = 1;
  let high = tokens;
  while (low < high) {
    const quota = Math.floor((low + high) / 2);
    if (tokenizer.encode(textOf(quota)).length >= tokens) high = quota;
    else low = quota + 1;
  }
  return textOf(low);
}

if (process.argv[1]?.endsWith("make-sotu-slices.ts")) {
  const folder = process.argv[2] ?? "models/sotu";
  const tokenizer = await loadTokenizer(folder);
  const splits = await loadSotu();
  await mkdir(join(folder, "text"), { recursive: true });
  for (const [name, documents, tokens] of [
    ["test-32k", splits.test, 32768],
    ["test-64k", splits.test, 65536],
    ["validation-32k", splits.validation, 32768],
    ["calibration-32k", spread(splits.train, 64), 32768],
    ["recovery-512k", splits.train, 524288],
  ] as const) {
    const text = slice(documents, tokens, 1790, tokenizer);
    await writeFile(join(folder, "text", `${name}.txt`), text);
    const count = tokenizer.encode(text).length;
    console.log(`${name}: ${count} tokens, ${Buffer.byteLength(text)} bytes, ${documents.length} documents`);
  }
}
