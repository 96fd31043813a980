/** Model folders on disk. Node only. */

import { stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import type { ModelFile } from "./model-folder.ts";
import { openModel } from "./model-folder.ts";
import { refuse } from "./refuse.ts";
import { fileSource } from "./source.node.ts";
import { isTemporaryName } from "./temporary.ts";

export interface ModelFolder extends ModelFile {
  /** tokenizer.json, if the folder has one */
  readonly tokenizerPath: string | undefined;
}

async function kind(path: string): Promise<"folder" | "file" | "nothing"> {
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return "nothing";
    return refuse(path, "a folder that can be read", String(code), "Check the path and its permissions.", cause);
  }
}

/** Opens the model folder at `path`; throws a `LacunaError` if it is not one, or only half of one. */
export async function openModelFolder(path: string): Promise<ModelFolder> {
  const folder = resolve(path);
  if (isTemporaryName(basename(folder))) {
    refuse(path, "a finished model folder", "a temporary one", "It is what an interrupted run left; delete it.");
  }
  const found = await kind(folder);
  if (found === "nothing") refuse(path, "a model folder", "nothing of that name", "Check the path.");
  if (found === "file") refuse(path, "a model folder", "a file", "Give the folder that holds config.json.");
  const model = await openModel({
    where: path,
    open: async (name) => {
      const file = join(folder, name);
      return (await kind(file)) === "nothing" ? undefined : fileSource(file);
    },
  });
  const tokenizer = join(folder, "tokenizer.json");
  return { ...model, path: folder, tokenizerPath: (await kind(tokenizer)) === "file" ? tokenizer : undefined };
}
