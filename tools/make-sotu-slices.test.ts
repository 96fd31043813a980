import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../src/data/tokenizer.ts";
import { excerpt, sentenceStarts, sentencesOf, slice, spread } from "./make-sotu-slices.ts";

const tokenizer = await loadTokenizer("models/sotu");
const sentence = (i: number) => `Sentence number ${i} tells of the state of the Union today. `;
const document = (name: string, count: number) => ({
  name,
  text: Array.from({ length: count }, (_, i) => sentence(i)).join(""),
});

describe("slices of text", () => {
  it("finds sentences, not abbreviations or numbers", () => {
    const text = "We met Mr. Adams at 3.5 miles. Was he well? Surely. “Thanks,” he said.” And left.";
    expect(sentenceStarts(text).map((at) => text.slice(at, at + 3))).toEqual(["We ", "Was", "Sur", "“Th", "And"]);
  });

  it("takes the fewest whole sentences that reach the quota, anywhere in the document", () => {
    const places = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      const text = excerpt(sentencesOf(document("d", 12), seed, tokenizer), 50);
      expect(text).toMatch(/^Sentence number \d+ tells.*today\.$/);
      const length = tokenizer.encode(text, false).length;
      const shorter = text.slice(0, text.lastIndexOf("Sentence")).trim();
      expect(length).toBeGreaterThanOrEqual(50);
      expect(tokenizer.encode(shorter, false).length).toBeLessThan(50);
      places.add(text);
    }
    expect(places.size).toBeGreaterThan(4);
    const whole = document("d", 2);
    expect(excerpt(sentencesOf(whole, 0, tokenizer), 1000)).toBe(whole.text.trim());
  });

  it("reaches the number of tokens, and no more than a sentence a document beyond it", () => {
    const documents = [document("a", 40), document("b", 3), document("c", 40)];
    const text = slice(documents, 400, 1, tokenizer);
    const tokens = tokenizer.encode(text).length;
    expect(tokens).toBeGreaterThanOrEqual(400);
    expect(tokens).toBeLessThan(400 + 3 * 16);
    expect(text).toBe(slice(documents, 400, 1, tokenizer));
  });

  it("spreads documents evenly", () => {
    const documents = Array.from({ length: 10 }, (_, i) => document(String(i), 1));
    expect(spread(documents, 5).map(({ name }) => name)).toEqual(["1", "3", "5", "7", "9"]);
    expect(spread(documents, 99)).toEqual(documents);
  });
});
