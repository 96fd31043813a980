/**
 * A model as the API hands it around: configuration, tokenizer and a lazy source of weights. Nothing is in engine
 * memory until something runs. Pruning gives a new model whose source lies over the old one.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LacunaError } from "../core/errors.ts";
import { checkTokenIds, loadTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { type HubOptions, locateModel } from "../formats/hub.node.ts";
import type { JsonObject } from "../formats/json.ts";
import { openModelFolder } from "../formats/model-folder.node.ts";
import type { WeightSource } from "../formats/weights.ts";
import { type LlamaConfig, parseLlamaConfig } from "./llama/config.ts";
import { checkWeights } from "./llama/load.ts";

export interface Model {
  /** the folder it came from; pruned models keep their origin's, for tokenizer and other files */
  readonly folder: string;
  readonly config: LlamaConfig;
  /** config.json as it was read */
  readonly rawConfig: JsonObject;
  readonly tokenizer: Tokenizer;
  readonly weights: WeightSource;
}

/**
 * Opens a Hugging Face folder, dense or packed, or `hf:owner/name` (fetched into the cache first), and checks names,
 * shapes and types of all tensors.
 */
export async function loadModel(name: string, options: HubOptions = {}): Promise<Model> {
  const folder = await locateModel(name, options);
  const opened = await openModelFolder(folder);
  try {
    const config = parseLlamaConfig(opened.config, join(folder, "config.json"));
    checkWeights(opened.weights, config);
    const tokenizer = await loadTokenizer(folder);
    return { folder, config, rawConfig: opened.config, tokenizer, weights: opened.weights };
  } catch (error) {
    await opened.weights.close();
    throw error;
  }
}

/** Token ids of a text file's content, checked against the model's vocabulary. An empty text is a `LacunaError`. */
export function encodeFor(model: Model, text: string, about = "text"): { ids: Int32Array; bytes: Int32Array } {
  if (text === "") {
    // A start token alone would pass for a text.
    throw new LacunaError({ about, expected: "some text", got: "an empty text", hint: "Check the file." });
  }
  const encoded = model.tokenizer.encodeFile(text);
  checkTokenIds(encoded.ids, model.config.vocabSize, about);
  return encoded;
}

/** Reads a text file; the error says what was expected. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new LacunaError(
      {
        about: path,
        expected: "a text file",
        got: (cause as NodeJS.ErrnoException).code ?? String(cause),
        hint: "Check the path.",
      },
      { cause },
    );
  }
}
