/**
 * Writes a model folder: config.json, weights in the format asked for, and the tokenizer's files from where it came.
 *
 * The folder appears whole or not at all (`atomic.node.ts`); memory for about one tensor. Node only.
 */

import { constants } from "node:fs";
import { copyFile, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FolderOptions } from "./atomic.node.ts";
import { fileTarget, writeFolderAtomically } from "./atomic.node.ts";
import type { JsonObject } from "./json.ts";
import { weightsFile } from "./model-folder.ts";
import type { WeightFormat, WeightPlan, WeightWriter } from "./weights-write.ts";
import { configFor, writeWeights } from "./weights-write.ts";

/** Files that go along unchanged, where the source folder has them. */
export const companionFiles = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "generation_config.json",
  "chat_template.jinja",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "LICENSE",
  "NOTICE",
] as const;

export interface NewModel {
  /** config.json; what it says about sparse storage is brought up to date */
  readonly config: JsonObject;
  readonly format: WeightFormat;
  /** every tensor of the model */
  readonly plan: readonly WeightPlan[];
  /** the safetensors file's string metadata */
  readonly metadata?: Readonly<Record<string, string>>;
  /** folder that the tokenizer's files are copied from */
  readonly companions?: string;
  /** further files by plain name, e.g. a run's record */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

/**
 * Writes `model` to the folder `target`; `fill` hands over the dense bytes of each planned tensor, in any order.
 *
 * Returns the bytes of the weights file. Errors are those of `writeFolderAtomically`, and whatever `fill` throws.
 */
export async function writeModelFolder(
  target: string,
  model: NewModel,
  fill: (write: WeightWriter["write"], signal?: AbortSignal) => Promise<void>,
  options: FolderOptions = {},
): Promise<number> {
  let bytes = 0;
  await writeFolderAtomically(
    target,
    async (folder, signal) => {
      const file = await fileTarget(join(folder, weightsFile));
      try {
        const writer = writeWeights(file, model.format, model.plan, model.metadata);
        await fill(async (name, dense) => {
          signal?.throwIfAborted();
          await writer.write(name, dense);
        }, signal);
        bytes = await writer.finish();
      } finally {
        await file.close();
      }
      const config = configFor(model.config, model.format, model.plan);
      await writeFile(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
      for (const name of model.companions === undefined ? [] : companionFiles) {
        await copyIfThere(join(model.companions!, name), join(folder, name));
      }
      for (const [name, data] of Object.entries(model.files ?? {})) await writeFile(join(folder, name), data);
    },
    options,
  );
  return bytes;
}

async function copyIfThere(from: string, to: string): Promise<void> {
  const there = await open(from, constants.O_RDONLY).catch(() => undefined);
  if (!there) return;
  await there.close();
  await copyFile(from, to);
}
