/**
 * A model as the API hands it around: configuration, tokenizer and a lazy source of weights. Nothing is in engine
 * memory until something runs. Pruning gives a new model whose source lies over the old one.
 */
import { LacunaError } from "../core/errors.ts";
import { checkTokenIds, type Tokenizer } from "../data/tokenizer.ts";
import type { JsonObject } from "../formats/json.ts";
import type { ModelFile } from "../formats/model-folder.ts";
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
 * A model of opened files: checks names, shapes and types of all tensors against the configuration. `where` names
 * config.json in errors. Closes the weights when something is wrong.
 */
export async function assembleModel(
  opened: ModelFile,
  folder: string,
  where: string,
  tokenizer: () => Promise<Tokenizer>,
): Promise<Model> {
  try {
    const config = parseLlamaConfig(opened.config, where);
    checkWeights(opened.weights, config);
    return { folder, config, rawConfig: opened.config, tokenizer: await tokenizer(), weights: opened.weights };
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
