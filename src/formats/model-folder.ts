/**
 * A Hugging Face model folder, wherever its files are: config.json, weights as one safetensors file or in shards,
 * and a tokenizer if there is one. Weights may be dense, packed as docs/packed-format.md says, or in a sparse format of
 * compressed-tensors; they look the same from here on.
 *
 * What config.json means is for the model families to say; here it is an object. The Node side, which finds the files
 * on disk, is `model-folder.node.ts`.
 */

import { sparsityFormat } from "./compressed-config.ts";
import type { JsonObject } from "./json.ts";
import { decodeText, parseJsonObject } from "./json.ts";
import { packedSource } from "./packed-source.ts";
import { refuse } from "./refuse.ts";
import { openSafetensors } from "./safetensors.ts";
import type { ByteSource } from "./source.ts";
import type { WeightSource } from "./weights.ts";

export const weightsFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";

/** config.json and the like are small; anything bigger is not what its name says. */
const maxJsonBytes = 256 * 2 ** 20;

/** The files of one folder, by plain name. */
export interface ModelFiles {
  /** for messages: the path or address */
  readonly where: string;
  /** the file's bytes, or `undefined` if there is no such file */
  open(name: string): Promise<ByteSource | undefined>;
}

export interface ModelFile {
  /** folder or address */
  readonly path: string;
  /** config.json as it is */
  readonly config: JsonObject;
  readonly weights: WeightSource;
  /** true if any weight is stored without its zeros */
  readonly packed: boolean;
  /** a JSON file of the folder, `undefined` if it is not there, e.g. `json("tokenizer.json")` */
  json(name: string): Promise<JsonObject | undefined>;
  close(): Promise<void>;
}

async function readJson(files: ModelFiles, name: string): Promise<JsonObject | undefined> {
  const source = await files.open(name);
  if (!source) return undefined;
  const where = `${files.where}/${name}`;
  try {
    if (source.size > maxJsonBytes) {
      refuse(
        where,
        `at most ${maxJsonBytes} bytes of JSON`,
        `${source.size} bytes`,
        "This is not the file it claims to be.",
      );
    }
    return parseJsonObject(decodeText(await source.read(0, source.size), where), where);
  } finally {
    await source.close();
  }
}

async function openStored(files: ModelFiles): Promise<{ stored: WeightSource; where: string }> {
  const single = await files.open(weightsFile);
  if (single) {
    const where = `${files.where}/${weightsFile}`;
    return { stored: await openSafetensors(single, where), where };
  }
  const index = await readJson(files, indexFile);
  if (index) {
    const where = `${files.where}/${indexFile}`;
    const { openSharded } = await import("./sharded.ts");
    return { stored: await openSharded(index, where, (file) => files.open(file)), where };
  }
  return refuse(
    files.where,
    `${weightsFile} or ${indexFile}`,
    "neither",
    "Only safetensors weights are read; convert others (.bin, .gguf) first.",
  );
}

/** Opens a model's files; each thing that is missing or wrong is one `LacunaError`, and nothing stays open then. */
export async function openModel(files: ModelFiles): Promise<ModelFile> {
  const config = await readJson(files, "config.json");
  if (!config) {
    refuse(files.where, "a model folder with config.json", "no config.json", "Give the folder that holds config.json.");
  }
  const format = sparsityFormat(config, `${files.where}/config.json`);
  const { stored, where } = await openStored(files);
  let weights: WeightSource;
  try {
    if (format) {
      // Rare, so read only when it is met.
      const { compressedSource } = await import("./compressed.ts");
      weights = await compressedSource(stored, format, where);
    } else weights = packedSource(stored, where);
  } catch (error) {
    await stored.close();
    throw error;
  }
  return {
    path: files.where,
    config,
    weights,
    packed: weights.names.some((name) => weights.info(name).packing !== undefined),
    json: (name) => readJson(files, name),
    close: () => weights.close(),
  };
}

/** Files in memory, e.g. those that a page's user dropped, or a test's. */
export function filesInMemory(entries: ReadonlyMap<string, () => ByteSource>, where = "memory"): ModelFiles {
  return { where, open: async (name) => entries.get(name)?.() };
}
