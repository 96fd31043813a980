import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import { llamaConfigJson, llamaPrunable, llamaTensorShapes } from "../models/llama/config.ts";
import { byteTokenizerJson, storedTensor, tinyConfig, tinyValues } from "../models/llama/tiny.ts";
import type { Model } from "../models/model.ts";
import { loadModel } from "../models/open.node.ts";
import { prune } from "./prune.ts";
import { pruneToFolder } from "./prune-to-folder.ts";
import { pack, save, unpack } from "./save.ts";

let room: string;
let model: Model;

beforeAll(async () => {
  await init({ threads: 1 });
  room = await mkdtemp(join(tmpdir(), "lacuna-save-"));
  const folder = join(room, "dense");
  await import("node:fs/promises").then((fs) => fs.mkdir(folder));
  const config = tinyConfig({ tied: true });
  const tensors = [...llamaTensorShapes(config)].map(([name, shape]) =>
    storedTensor(name, shape, tinyValues(name, shape), "BF16"),
  );
  await writeFile(join(folder, "model.safetensors"), encodeSafetensors(tensors, { format: "pt" }));
  const extra = { bos_token_id: 0, eos_token_id: 0, transformers_version: "4.99" };
  await writeFile(join(folder, "config.json"), JSON.stringify(llamaConfigJson(config, "bfloat16", extra)));
  const { tokenizer, config: tokenizerConfig } = byteTokenizerJson();
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify(tokenizerConfig));
  model = await loadModel(folder);
});
afterAll(async () => {
  shutdown();
  await model.weights.close();
  await rm(room, { recursive: true, force: true });
});

const TEXT = "Whenever it is a damp, drizzly November in my soul. ".repeat(12);
const calibration = { calibrate: TEXT, samples: 4, length: 32 };

const bytesOf = async (m: Model): Promise<Record<string, string>> => {
  const all: Record<string, string> = {};
  for (const name of m.weights.names) all[name] = Buffer.from(await m.weights.read(name)).toString("base64");
  return all;
};

test("a packed folder reloads to bit-identical weights, for every pattern; so do the other formats", async () => {
  for (const [i, [pattern, sparsity, format]] of (
    [
      ["unstructured", 0.5, "packed"],
      ["2:4", undefined, "packed"],
      ["4x1", 0.7, "packed"],
      ["2:4@4x1", undefined, "packed"],
      ["1x16", 0.5, "packed"],
      ["row", 0.5, "packed"],
      ["unstructured", 0.6, "sparse-bitmask"],
      ["2:4", undefined, "sparse-24-bitmask"],
      ["4x1", 0.7, "dense"],
    ] as const
  ).entries()) {
    const pruned = await prune(model, { method: "magnitude", pattern, sparsity });
    const folder = join(room, `saved-${i}`);
    await save(pruned, folder, { format });
    const again = await loadModel(folder);
    expect(await bytesOf(again), `${pattern} ${format}`).toEqual(await bytesOf(pruned));
    expect(again.rawConfig.transformers_version).toBe("4.99");
    for (const name of llamaPrunable(model.config)) {
      const { packing } = again.weights.info(name);
      if (format === "packed") expect(packing?.pattern).toBe(pattern);
      if (format === "dense") expect(packing).toBeUndefined();
      else expect(packing?.storedBytes).toBeLessThan(again.weights.info(name).bytes);
    }
    expect(again.weights.info("model.embed_tokens.weight").packing).toBeUndefined();
    const score = { length: 32, windows: 4 };
    const { nll } = await perplexity(pruned, TEXT, score);
    expect((await perplexity(again, TEXT, score)).nll).toBe(nll);
    await again.weights.close();
  }
});

test("pruning straight into a folder gives the same weights and record as in memory", async () => {
  for (const format of ["packed", "dense"] as const) {
    const options = { method: "sparsegpt", pattern: "4x1", sparsity: 0.6, skip: ["layers.1.mlp"], ...calibration };
    const folder = join(room, `streamed-${format}`);
    const report = await pruneToFolder(model, folder, { ...options, format, provenance: { lacuna: "test" } });
    const inMemory = await prune(model, options);
    const again = await loadModel(folder);
    expect(await bytesOf(again)).toEqual(await bytesOf(inMemory));
    await again.weights.close();
    expect({ ...report, seconds: 0 }).toEqual({ ...inMemory.report, seconds: 0 });
    const record = JSON.parse(await readFile(join(folder, "lacuna.json"), "utf8"));
    expect(record).toMatchObject({ source: "dense", prune: { method: "sparsegpt", pattern: "4x1" } });
    expect(record.provenance).toEqual({ lacuna: "test" });
    expect((await readdir(folder)).sort()).toEqual(
      ["config.json", "lacuna.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"].sort(),
    );
  }
});

test("unpack and pack lead back to the same weights, and the record goes along", async () => {
  const pruned = await prune(model, { method: "wanda", pattern: "2:4", ...calibration });
  const [a, b, c] = ["round-a", "round-b", "round-c"].map((n) => join(room, n));
  const packedBytes = await pack(pruned, a);
  const packed = await loadModel(a);
  const denseBytes = await unpack(packed, b);
  const dense = await loadModel(b);
  expect(llamaPrunable(model.config).every((n) => dense.weights.info(n).packing === undefined)).toBe(true);
  // Found in the values alone this time.
  expect(await pack(dense, c)).toBe(packedBytes);
  const again = await loadModel(c);
  expect(await bytesOf(again)).toEqual(await bytesOf(pruned));
  expect(packedBytes).toBeLessThan(denseBytes);
  expect(await readFile(join(c, "lacuna.json"), "utf8")).toBe(await readFile(join(a, "lacuna.json"), "utf8"));
  for (const m of [packed, dense, again]) await m.weights.close();
});

test("weights are packed only where that saves bytes", async () => {
  const folder = join(room, "hardly");
  await pruneToFolder(model, folder, { method: "magnitude", sparsity: 0.03 });
  const again = await loadModel(folder);
  expect(again.weights.names.every((n) => again.weights.info(n).packing === undefined)).toBe(true);
  await again.weights.close();
});

test("an abort, an error or an existing folder leave nothing behind", async () => {
  const folder = join(room, "none");
  const before = (await readdir(room)).sort();
  const stop = new AbortController();
  const options = { method: "wanda", sparsity: 0.5, ...calibration };
  const onProgress = ({ done }: { done: number }): void => {
    if (done > 0.5) stop.abort(new Error("enough"));
  };
  await expect(pruneToFolder(model, folder, { ...options, signal: stop.signal, onProgress })).rejects.toThrow("enough");
  await expect(pruneToFolder(model, folder, { ...options, format: "sparse-24-bitmask" })).rejects.toThrow(/2:4/);
  await expect(pruneToFolder(model, join(room, "dense"), options)).rejects.toThrow(/a folder that exists/);
  const pruned = await prune(model, options);
  await expect(save(pruned, folder, { format: "sparse-24-bitmask" })).rejects.toThrow(/2:4/);
  await expect(save(pruned, join(room, "dense"))).rejects.toThrow(/a folder that exists/);
  expect((await readdir(room)).sort()).toEqual(before);
});
