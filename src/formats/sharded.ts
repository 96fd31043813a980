/**
 * Weights in several safetensors files under one index (`model.safetensors.index.json`, format by Hugging Face).
 *
 * The index and the files' headers must tell the same story: each tensor in the file that the index names, and none
 * besides. File names are plain names beside the index, never paths. `metadata.total_size` is not believed or checked.
 */

import type { JsonObject } from "./json.ts";
import { isJsonObject } from "./json.ts";
import { refuse, show } from "./refuse.ts";
import { checkTensorName, openSafetensors } from "./safetensors.ts";
import type { ByteSource } from "./source.ts";
import type { WeightSource } from "./weights.ts";
import { noSuchTensor } from "./weights.ts";

const shardPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors$/;
const inconsistent = "Fetch the index and all its files again, from the same revision.";

/** File name of each tensor, from a parsed index. */
export function readShardIndex(index: JsonObject, where: string): ReadonlyMap<string, string> {
  const weightMap = Object.hasOwn(index, "weight_map") ? index.weight_map : undefined;
  if (!isJsonObject(weightMap)) refuse(`${where}: weight_map`, "an object", show(weightMap), inconsistent);
  const out = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    checkTensorName(name, where);
    if (typeof file !== "string" || !shardPattern.test(file)) {
      refuse(`${where}: ${name}`, "the plain name of a .safetensors file beside the index", show(file), inconsistent);
    }
    out.set(name, file);
  }
  if (out.size === 0) refuse(`${where}: weight_map`, "at least one tensor", "none", inconsistent);
  return out;
}

/**
 * The shards as one source. `open` gives a file's bytes, `undefined` where there is none; the sources it gave are
 * closed again if anything is refused.
 */
export async function openSharded(
  index: JsonObject,
  where: string,
  open: (file: string) => Promise<ByteSource | undefined>,
): Promise<WeightSource> {
  const fileOf = readShardIndex(index, where);
  const shards = new Map<string, WeightSource>();
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  try {
    for (const file of new Set(fileOf.values())) {
      const source = await open(file);
      if (!source) refuse(where, `the file ${file}`, "no such file", inconsistent);
      shards.set(file, await openSafetensors(source, file));
    }
    for (const [name, file] of fileOf) {
      if (!shards.get(file)!.has(name)) {
        const other = [...shards].find(([, shard]) => shard.has(name))?.[0];
        refuse(`${where}: ${name}`, `the tensor in ${file}`, other ? `it in ${other}` : "it in no file", inconsistent);
      }
    }
    for (const [file, shard] of shards) {
      for (const name of shard.names) {
        if (fileOf.get(name) !== file) {
          const said = fileOf.get(name);
          refuse(
            `${file}: ${name}`,
            said ? `it in ${said} only` : "a tensor that the index lists",
            "it here",
            inconsistent,
          );
        }
      }
    }
  } catch (error) {
    await close();
    throw error;
  }

  const names = [...fileOf.keys()];
  const shardOf = (name: string): WeightSource => {
    const file = fileOf.get(name);
    return file === undefined ? noSuchTensor(where, name, names) : shards.get(file)!;
  };
  const metadata = Object.assign({}, ...[...shards.values()].map((shard) => shard.metadata)) as Record<string, string>;
  return {
    names,
    metadata,
    has: (name) => fileOf.has(name),
    info: (name) => shardOf(name).info(name),
    read: async (name) => shardOf(name).read(name),
    close,
  };
}
