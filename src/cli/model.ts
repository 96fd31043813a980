/** Opens the model that a command names, with progress where it must be fetched first. */
import type { Model } from "../models/model.ts";
import { loadModel } from "../models/open.node.ts";
import type { Console } from "./console.ts";

export async function openModel(name: string, console: Console): Promise<Model> {
  const model = await loadModel(name, {
    signal: console.signal,
    onProgress: ({ file, done, total }) => console.progress(`fetching ${file}`, total > 0 ? done / total : 0),
  });
  console.endProgress();
  return model;
}
