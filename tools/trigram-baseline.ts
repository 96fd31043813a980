/**
 * Perplexity of an interpolated Kneser-Ney trigram, learned from the train split, on a slice that ships.
 *
 * npx tsx tools/trigram-baseline.ts [text] [length]     (default: models/sotu/text/test-64k.txt 256)
 */
import { readFile } from "node:fs/promises";
import { joinDocuments } from "../src/data/batches.ts";
import { loadSotu } from "../src/data/sotu.ts";
import { loadTokenizer } from "../src/data/tokenizer.ts";
import { summarise, windowsOf } from "../src/evaluate/protocol.ts";
import { kneserNeyFamily, ngramLosses } from "../src/evaluate/trigram.ts";

const path = process.argv[2] ?? "models/sotu/text/test-64k.txt";
const length = Number(process.argv[3] ?? 256);
const tokenizer = await loadTokenizer("models/sotu");
const { train } = await loadSotu();
const tokens = joinDocuments(train, tokenizer);
const { ids, bytes } = tokenizer.encodeFile(await readFile(path, "utf8"));
const windows = windowsOf(ids.length, { length }, path);
const rows = [];
for (const discounting of ["modified", "plain"] as const) {
  const models = kneserNeyFamily(tokens, { order: 3, vocabulary: tokenizer.vocabSize, discounting });
  for (const context of ["window", "text"] as const) {
    const losses = ngramLosses(models, ids, windows, context);
    const {
      perplexity,
      bitsPerByte,
      tokens: scored,
    } = summarise(windows, losses, { length, textTokens: ids.length, bytes });
    rows.push({ discounting, context, perplexity, bitsPerByte, tokens: scored, windows: windows.length });
  }
}
console.log(JSON.stringify({ text: path, length, trainTokens: tokens.length, rows }, null, 2));
