/** Opens models and texts from disk or the hub. Node only; `model.ts` has what needs neither. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LacunaError } from "../core/errors.ts";
import { loadTokenizer } from "../data/tokenizer.ts";
import { type HubOptions, locateModel } from "../formats/hub.node.ts";
import { openModelFolder } from "../formats/model-folder.node.ts";
import { assembleModel, type Model } from "./model.ts";

/**
 * Opens a Hugging Face folder, dense or packed, or `hf:owner/name` (fetched into the cache first), and checks names,
 * shapes and types of all tensors.
 */
export async function loadModel(name: string, options: HubOptions = {}): Promise<Model> {
  const folder = await locateModel(name, options);
  const opened = await openModelFolder(folder);
  return assembleModel(opened, folder, join(folder, "config.json"), () => loadTokenizer(folder));
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
