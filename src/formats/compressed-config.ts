/**
 * The part of config.json that says how compressed-tensors stored the weights (`quantization_config`, in old folders
 * `compression_config` or `sparsity_config`). Only sparsity is read; quantised weights are refused by name.
 */

import type { JsonObject, JsonValue } from "./json.ts";
import { isJsonObject } from "./json.ts";
import { refuse, show } from "./refuse.ts";

export const compressedFormats = ["sparse-bitmask", "sparse-24-bitmask"] as const;
export type CompressedFormat = (typeof compressedFormats)[number];

/** Says nothing about quantisation, or says that there is none. */
const harmless = new Set(["quant_method", "version", "sparsity_config", "registry_requires_subclass"]);

const isEmpty = (value: JsonValue): boolean =>
  value === null ||
  (Array.isArray(value) && value.length === 0) ||
  (isJsonObject(value) && Object.keys(value).length === 0);

function own(object: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/**
 * The sparse format of the folder's weights; `undefined` for plain dense ones.
 *
 * Throws a `LacunaError` for a quantised model or for a format that is not known.
 */
export function sparsityFormat(config: JsonObject, where: string): CompressedFormat | undefined {
  let sparsity = own(config, "sparsity_config");
  for (const key of ["quantization_config", "compression_config"]) {
    const outer = own(config, key) ?? null;
    if (outer === null) continue;
    if (!isJsonObject(outer)) refuse(`${where}: ${key}`, "an object", show(outer), "Mend config.json.");
    const method = own(outer, "quant_method") ?? "compressed-tensors";
    if (method !== "compressed-tensors") {
      refuse(
        `${where}: ${key}`,
        "weights that are not quantised",
        show(method),
        "Use the model's unquantised weights.",
      );
    }
    for (const [name, value] of Object.entries(outer)) {
      const absent = name === "format" ? value === "dense" : isEmpty(value);
      if (!harmless.has(name) && !absent && name !== "ignore" && name !== "quantization_status") {
        const hint = "Use the model's unquantised weights.";
        refuse(`${where}: ${key}.${name}`, "weights that are not quantised", show(value), hint);
      }
    }
    sparsity ??= own(outer, "sparsity_config");
  }
  if (sparsity === undefined || sparsity === null) return undefined;
  const about = `${where}: sparsity_config`;
  if (!isJsonObject(sparsity)) refuse(about, "an object", show(sparsity), "Mend config.json.");
  const format = own(sparsity, "format");
  if (format === undefined || format === "dense" || isEmpty(sparsity)) return undefined;
  const known = compressedFormats.find((name) => name === format);
  if (!known)
    refuse(`${about}.format`, compressedFormats.join(" or "), show(format), "Convert the model to one of these.");
  return known;
}
