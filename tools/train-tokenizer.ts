/**
 * Learns the tokenizer of the model that ships from the training part of the State of the Union addresses.
 *
 * npx tsx tools/train-tokenizer.ts [folder]     (default: models/sotu)
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadSotu } from "../src/data/sotu.ts";
import { tokenizerFiles } from "./bpe/tokenizer-json.ts";
import { trainBytePairs } from "./bpe/train.ts";

const folder = process.argv[2] ?? "models/sotu";
const END = "<|endoftext|>";
const { train } = await loadSotu();
const texts = train.map((document) => document.text);
const vocabulary = trainBytePairs(texts, 2048, [END]);
await mkdir(folder, { recursive: true });
for (const [name, content] of Object.entries(tokenizerFiles(vocabulary, END, 256))) {
  await writeFile(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
}
console.log(`${vocabulary.symbols.length} symbols from ${train.length} documents -> ${folder}`);
