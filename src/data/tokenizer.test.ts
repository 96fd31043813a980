import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as Reference } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkTokenIds, loadTokenizer } from "./tokenizer.ts";

const shipped = await loadTokenizer("models/sotu");
const utf8 = (text: string) => new TextEncoder().encode(text).length;

/** A SentencePiece-like tokenizer as Llama 2 has it: prepended space, byte fallback, bos added. */
const pieces = [
  "<unk>",
  "<s>",
  "</s>",
  ...Array.from({ length: 256 }, (_, b) => byteName(b)),
  "▁",
  "h",
  "i",
  "▁h",
  "▁hi",
];
function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}
const sentencePiece = {
  added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) => ({ id, content, special: true, normalized: false })),
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "▁" },
      { type: "Replace", pattern: { String: " " }, content: "▁" },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "BPE",
    unk_token: "<unk>",
    byte_fallback: true,
    fuse_unk: true,
    vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
    merges: ["▁ h", "▁h i"],
  },
};
const llama = await loadTokenizer({
  tokenizer: sentencePiece,
  config: { bos_token: { content: "<s>" }, eos_token: "</s>" },
});

describe("tokenizer", () => {
  it("knows its vocabulary and its ends", () => {
    expect([shipped.vocabSize, shipped.bos, shipped.eos]).toEqual([2048, 0, 0]);
    expect([llama.vocabSize, llama.bos, llama.eos]).toEqual([264, 1, 2]);
    expect(shipped.idOf("<|endoftext|>")).toBe(0);
    expect(shipped.idOf("no such token")).toBeNull();
    expect(shipped.isSpecial(0)).toBe(true);
    expect(shipped.isSpecial(1)).toBe(false);
  });

  it("keeps every text byte for byte, and its byte counts sum to the file", () => {
    const letter = fc.oneof(fc.nat(0xff), fc.nat(0xd7ff), fc.integer({ min: 0xe000, max: 0x10ffff }));
    const texts = fc.array(letter, { maxLength: 60 }).map((points) => String.fromCodePoint(...points));
    fc.assert(
      fc.property(texts, (text) => {
        const { ids, bytes } = shipped.encodeFile(text);
        expect(ids[0]).toBe(0);
        expect(bytes[0]).toBe(0);
        expect(shipped.decode(ids)).toBe(text);
        expect(bytes.reduce((sum, n) => sum + n, 0)).toBe(utf8(text));
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it("gives the ids of Hugging Face's Rust library (tokenizers 0.23.2) on the slice that ships", async () => {
    const text = await readFile("models/sotu/text/test-64k.txt", "utf8");
    const { ids, bytes } = shipped.encodeFile(text);
    expect(ids.length).toBe(65600);
    expect(createHash("sha256").update(ids.join(",")).digest("hex")).toBe(
      "e3b59c61dbc9d9b71174c525be7330fd0ecf9cff7d9740f60cb1c448b0a04ed5",
    );
    expect(bytes.reduce((sum, n) => sum + n, 0)).toBe(241261);
    expect(shipped.decode(ids)).toBe(text);
  });

  it("treats the separator in running text as one token of its own bytes", () => {
    const { ids, bytes } = shipped.encodeFile("one<|endoftext|>two");
    expect([...ids].filter((id) => id === 0).length).toBe(2);
    expect(bytes[0]).toBe(0);
    expect(bytes.reduce((sum, n) => sum + n, 0)).toBe(19);
    expect(shipped.decode(ids)).toBe("onetwo");
    expect(shipped.decode(ids, true)).toBe("<|endoftext|>one<|endoftext|>two");
    const lead = shipped.encodeFile("<|endoftext|>two");
    expect([...lead.ids].slice(0, 2)).toEqual([0, 0]);
    expect(lead.bytes.reduce((sum, n) => sum + n, 0)).toBe(16);
  });

  it("streams without broken characters", () => {
    const text = "naïve “café” — 😀 done";
    const ids = shipped.encode(text);
    const decoder = shipped.streamingDecoder();
    let streamed = "";
    for (const id of ids) {
      const piece = decoder.push(id);
      expect(piece).not.toContain("\ufffd");
      streamed += piece;
    }
    expect(streamed + decoder.end()).toBe(text);
    const cut = shipped.streamingDecoder();
    const emoji = shipped.encode("😀", false);
    expect(emoji.length).toBeGreaterThan(1);
    expect(cut.push(emoji[0]!)).toBe("");
    expect(cut.end()).toBe("\ufffd");
  });

  it("decodes as the library does", () => {
    const reference = new Reference(sentencePiece, {});
    for (const text of ["hi", "hi hi", " hi", "h😀i", "ïi h"]) {
      const { ids, bytes } = llama.encodeFile(text);
      expect([...ids]).toEqual(reference.encode(text).ids);
      expect(llama.decode(ids)).toBe(text);
      const known = reference.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false });
      expect(llama.decode(ids)).toBe(known);
      expect(bytes[0]).toBe(0);
      // the prepended space stands for no byte of the text
      expect(bytes.reduce((sum, n) => sum + n, 0)).toBe(utf8(text) + (text.startsWith(" ") ? 1 : 0));
    }
  });

  it("refuses ids beyond a vocabulary by name", () => {
    expect(() => shipped.decode([5, 2048])).toThrow(/below 2048, got 2048/);
    expect(() => shipped.tokenBytes(-1)).toThrow(/token id/);
    expect(() => checkTokenIds(Int32Array.of(0, 7, 8), 8, "test.txt")).toThrow(/test.txt: token 2: .*\[0, 8\).*got 8/);
    expect(() => checkTokenIds(Int32Array.of(-1), 8)).toThrow(/got -1/);
    checkTokenIds(Int32Array.of(0, 7), 8);
  });

  it("names the file when a tokenizer is missing or broken", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lacuna-tokenizer-"));
    try {
      await expect(loadTokenizer(folder)).rejects.toThrow(/tokenizer.json: expected a Hugging Face tokenizer/);
      await writeFile(join(folder, "tokenizer.json"), '{"model":');
      await expect(loadTokenizer(folder)).rejects.toThrow(/tokenizer.json: expected a JSON object/);
      await writeFile(join(folder, "tokenizer.json"), "[]");
      await expect(loadTokenizer(folder)).rejects.toThrow(/JSON that is not an object/);
      await writeFile(join(folder, "tokenizer.json"), '{"model":{"type":"Mystery"}}');
      await expect(loadTokenizer(folder)).rejects.toThrow(/tokenizer.json: expected a tokenizer.json that/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
