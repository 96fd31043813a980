import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/data/tokenizer.ts";
import { tokenizerFiles } from "./tokenizer-json.ts";
import { byteSymbols, trainBytePairs } from "./train.ts";

/** Counts all pairs anew at every step: the definition, without the bookkeeping. */
function slowMerges(texts: string[], size: number, special: string[]): [string, string][] {
  const bytes = byteSymbols();
  const order = [...special, ...bytes.slice().sort()];
  const words: string[][] = texts.flatMap((text) =>
    (text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ?? []).map((word) =>
      Array.from(new TextEncoder().encode(word), (byte) => bytes[byte]!),
    ),
  );
  const merges: [string, string][] = [];
  while (order.length < size) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const ranked = [...counts].map(([pair, count]) => ({ pair: pair.split(" ") as [string, string], count }));
    ranked.sort(
      (x, y) =>
        y.count - x.count ||
        order.indexOf(x.pair[0]) - order.indexOf(y.pair[0]) ||
        order.indexOf(x.pair[1]) - order.indexOf(y.pair[1]),
    );
    const [left, right] = ranked[0]!.pair;
    merges.push([left, right]);
    if (!order.includes(left + right)) order.push(left + right);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
      }
    }
  }
  return merges;
}

const TEXTS = [
  "the cat sat on the mat; the cat's hat, the rat's mat. aaaa aaa aa aaaaa 1001 1000 100",
  "That—is it—the café’s “thing”: banana bandana ananas, mississippi   misses  miss\n\nthe end",
];

describe("byte-pair training", () => {
  it("joins the same pairs as the definition, ties included", () => {
    const fast = trainBytePairs(TEXTS, 257 + 60, ["<|endoftext|>"]);
    expect(fast.merges).toEqual(slowMerges(TEXTS, 257 + 60, ["<|endoftext|>"]));
    expect(fast.symbols.length).toBe(317);
    expect(new Set(fast.symbols).size).toBe(317);
  });

  it("says when the text is too small for the vocabulary", () => {
    expect(() => trainBytePairs(["abab"], 300, [])).toThrow(/pairs for \d+ symbols only/);
  });

  it("writes files that Hugging Face's library reads and that keep every byte", async () => {
    const vocabulary = trainBytePairs(TEXTS, 300, ["<|endoftext|>"]);
    const files = tokenizerFiles(vocabulary, "<|endoftext|>", 256);
    const tokenizer = await loadTokenizer({
      tokenizer: files["tokenizer.json"]!,
      config: files["tokenizer_config.json"],
    });
    expect(tokenizer.vocabSize).toBe(300);
    const every = Array.from({ length: 0x3000 }, (_, i) => String.fromCodePoint(i)).join("");
    for (const text of [...TEXTS, every, "😀 \u{10ffff}\u0000 \r\n\t end ", " ,don 't ."]) {
      const ids = tokenizer.encode(text);
      expect(ids[0]).toBe(tokenizer.bos);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });
});
