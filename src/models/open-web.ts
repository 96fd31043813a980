/** Opens a model behind an address, or from files in memory: what a page can do. Weights are read by range requests. */
import { loadTokenizer } from "../data/tokenizer.ts";
import { type ModelFiles, openModel } from "../formats/model-folder.ts";
import { refuse } from "../formats/refuse.ts";
import { urlSource } from "../formats/source.ts";
import { assembleModel, type Model } from "./model.ts";

/** The files of a folder on a server; one that answers 404 is not there. */
export function filesAt(address: string, fetcher: typeof fetch = fetch): ModelFiles {
  const base = address.replace(/\/+$/, "");
  return {
    where: base,
    async open(name) {
      const url = `${base}/${name}`;
      const asked = await fetcher(url, { method: "HEAD" }).catch(() => undefined);
      return asked?.status === 404 ? undefined : urlSource(url, fetcher);
    },
  };
}

/**
 * A model behind `address`, or of the given files: config.json, tokenizer.json, tokenizer_config.json and safetensors,
 * packed or dense. Throws a `LacunaError` that names the file that is missing or wrong.
 */
export async function openModelAt(from: string | ModelFiles, fetcher?: typeof fetch): Promise<Model> {
  const files = typeof from === "string" ? filesAt(from, fetcher) : from;
  const opened = await openModel(files);
  return assembleModel(opened, files.where, `${files.where}/config.json`, async () => {
    const tokenizer = await opened.json("tokenizer.json");
    if (!tokenizer) {
      refuse(files.where, "a tokenizer.json beside the model", "none", "Put the model's tokenizer.json there.");
    }
    const special = (await opened.json("special_tokens_map.json")) ?? {};
    const config = (await opened.json("tokenizer_config.json")) ?? {};
    return loadTokenizer({ tokenizer, config: { ...special, ...config } });
  });
}
