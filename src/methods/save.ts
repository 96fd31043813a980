/**
 * Saving a model as a folder: config.json, weights packed or dense, the tokenizer's files, and the run's record.
 *
 * Packed are the weights whose pattern is known, from pruning or from the file they came from, or found in their values,
 * where packing saves bytes; all others are stored as they are. Folders appear whole or not at all. The record
 * (`lacuna.json`) says how the weights were made; it is read back to be told, never to decide anything. Node only.
 */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { LacunaError } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { fromBytes } from "../core/tensor.ts";
import { dtypeBytes } from "../formats/dtype.ts";
import type { JsonObject } from "../formats/json.ts";
import { writeModelFolder } from "../formats/model-write.node.ts";
import { type Packing, packWeight } from "../formats/packed.ts";
import { refuse } from "../formats/refuse.ts";
import type { TensorInfo } from "../formats/weights.ts";
import type { WeightFormat, WeightPlan } from "../formats/weights-write.ts";
import { llamaPrunable } from "../models/llama/config.ts";
import { engineType, toF32 } from "../models/llama/load.ts";
import type { Model } from "../models/model.ts";
import { measure } from "../sparsity/measure.ts";
import { type LayerShape, layoutOf, type Pattern, printPattern } from "../sparsity/pattern.ts";
import type { PruneReport, RecoveryReport } from "./report.ts";
import { isSparse } from "./sparse-model.ts";

/** Where a folder's record lies. */
export const recordFile = "lacuna.json";

export interface SaveOptions {
  /** default `packed` */
  readonly format?: WeightFormat | undefined;
  /** replace an existing model folder */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** share of the tensors written, 0 to 1 */
  readonly onProgress?: ((done: number) => void) | undefined;
  /** goes into the record as it is: version, machine and the like */
  readonly provenance?: JsonObject | undefined;
}

/** Block of the packed form: the pattern's unit, or single elements where a unit is too large to be one. */
export function packingOf(pattern: Pattern, shape: LayerShape): Packing {
  const { height, width } = layoutOf(pattern, shape);
  const rows = Math.min(height, shape.rows);
  const cols = Math.min(width, shape.columns);
  const small = rows * cols <= 256;
  return { pattern: printPattern(pattern), block: small ? { rows, cols } : { rows: 1, cols: 1 } };
}

/** Whether bitmask and values take fewer bytes than the dense weight. */
export function saves({ dtype }: TensorInfo, shape: LayerShape, packing: Packing, kept: number): boolean {
  const { rows, cols } = packing.block;
  const size = dtypeBytes[dtype];
  const mask = Math.ceil(shape.rows / rows) * Math.ceil(Math.ceil(shape.columns / cols) / 8);
  return mask + kept * size < shape.rows * shape.columns * size;
}

/** The `sparse-24-bitmask` format holds nothing but two of four. */
export function checkFormat(format: WeightFormat, pattern: Pattern | undefined, name: string): void {
  if (format !== "sparse-24-bitmask" || pattern === undefined) return;
  const fits = pattern.kind === "nm" && pattern.of === 4 && pattern.keep <= 2;
  if (!fits) {
    refuse(
      name,
      "pattern 2:4 for format sparse-24-bitmask",
      printPattern(pattern),
      "Save as sparse-bitmask or packed.",
    );
  }
}

const shapeOf = ({ name, shape }: TensorInfo): LayerShape => ({ name, rows: shape[0], columns: shape[1] });

export function planned({ name, dtype, shape }: TensorInfo, packing?: Packing): WeightPlan {
  return packing ? { name, dtype, shape, packing } : { name, dtype, shape };
}

/** How one tensor of a finished model is to be stored. */
export async function planTensor(
  model: Model,
  name: string,
  prunable: boolean,
  format: WeightFormat,
): Promise<WeightPlan> {
  const info = model.weights.info(name);
  const mask = isSparse(model) ? model.masks.get(name) : undefined;
  if (mask) {
    const shape = shapeOf(info);
    const packing = packingOf(mask.pattern, shape);
    if (!saves(info, shape, packing, mask.kept)) return planned(info);
    checkFormat(format, mask.pattern, name);
    return planned(info, packing);
  }
  if (info.packing) return planned(info, { pattern: info.packing.pattern, block: info.packing.block });
  if (!prunable || format === "dense") return planned(info);
  const shape = shapeOf(info);
  const bytes = await model.weights.read(name);
  const { pattern, zeros, elements } = scope(() =>
    measure(toF32(fromBytes(bytes, info.shape, engineType(info.dtype))).f32, shape),
  );
  if (pattern === null || pattern.kind === "layer") return planned(info);
  const found = packingOf(pattern, shape);
  if (!saves(info, shape, found, elements - zeros)) return planned(info);
  checkFormat(format, pattern, name);
  return planned(info, found);
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

export function recordOf(
  model: Model,
  steps: { readonly prune?: PruneReport | undefined; readonly recover?: RecoveryReport | undefined },
  options: Pick<SaveOptions, "provenance">,
): string {
  const { prune, recover } = steps;
  return json({
    kind: "sparse model",
    version: 1,
    source: model.folder === "" ? null : basename(model.folder),
    ...(prune && { prune }),
    ...(recover !== undefined && { recover }),
    ...(options.provenance && { provenance: options.provenance }),
  });
}

const madeRecord = z.object({
  kind: z.literal("sparse model"),
  prune: z.object({ method: z.string(), pattern: z.string(), requested: z.number() }),
  recover: z.object({ steps: z.number() }).optional(),
});

/** How a saved sparse model was made, from its record. A `LacunaError` when the folder has none. */
export async function howMade(
  folder: string,
): Promise<{ method: string; pattern: string; sparsity: number; recoverSteps: number }> {
  const text = await readFile(join(folder, recordFile), "utf8").catch(() => "null");
  const parsed = madeRecord.safeParse(parseJson(text));
  if (!parsed.success)
    throw new LacunaError({
      about: join(folder, recordFile),
      expected: "the record of a sparse model",
      got: text === "null" ? "no such file" : "something else",
      hint: "Give a folder that `lacuna prune` or `lacuna compress` wrote.",
    });
  const { prune, recover } = parsed.data;
  return {
    method: prune.method,
    pattern: prune.pattern,
    sparsity: prune.requested,
    recoverSteps: recover?.steps ?? 0,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The record of the folder that a model came from, if it has one and the model adds nothing to it. */
async function inheritedRecord(model: Model): Promise<string | undefined> {
  if (model.folder === "") return undefined;
  return readFile(join(model.folder, recordFile), "utf8").catch(() => undefined);
}

/**
 * Saves a model to a new folder; returns the bytes of its weights file.
 *
 * Throws a `LacunaError` for a folder that exists (unless `force`), a full disk, missing permission, and weights that
 * the format cannot hold; the signal's reason when aborted. Nothing is left behind then.
 */
export async function save(model: Model, folder: string, options: SaveOptions = {}): Promise<number> {
  const { format = "packed", force, signal, onProgress } = options;
  const { weights } = model;
  const prunable = new Set(llamaPrunable(model.config));
  const plan: WeightPlan[] = [];
  for (const name of weights.names) {
    signal?.throwIfAborted();
    plan.push(await planTensor(model, name, prunable.has(name), format));
  }
  const own = isSparse(model) && (model.report || model.recovery);
  const record = own
    ? recordOf(model, { prune: model.report, recover: model.recovery }, options)
    : await inheritedRecord(model);
  return writeModelFolder(
    folder,
    {
      config: model.rawConfig,
      format,
      plan,
      ...(model.folder !== "" && { companions: model.folder }),
      files: record === undefined ? {} : { [recordFile]: record },
    },
    async (write) => {
      for (const [i, { name }] of plan.entries()) {
        await write(name, await weights.read(name));
        onProgress?.((i + 1) / plan.length);
      }
    },
    { force: force ?? false, ...(signal && { signal }) },
  );
}

/** `save` without the zeros of its sparse weights. */
export const pack = (model: Model, folder: string, options: Omit<SaveOptions, "format"> = {}): Promise<number> =>
  save(model, folder, { ...options, format: "packed" });

/** `save` with the zeros in it, for other tools. */
export const unpack = (model: Model, folder: string, options: Omit<SaveOptions, "format"> = {}): Promise<number> =>
  save(model, folder, { ...options, format: "dense" });

/** Bytes that each tensor of the model takes in a packed folder. */
export async function packedSizes(model: Model): Promise<{ readonly name: string; readonly bytes: number }[]> {
  const { weights } = model;
  const prunable = new Set(llamaPrunable(model.config));
  const sizes: { name: string; bytes: number }[] = [];
  for (const name of weights.names) {
    const { dtype, shape, packing } = await planTensor(model, name, prunable.has(name), "packed");
    if (!packing) {
      sizes.push({ name, bytes: weights.info(name).bytes });
      continue;
    }
    const packed = packWeight(name, dtype, [shape[0], shape[1]], await weights.read(name), packing);
    sizes.push({ name, bytes: packed.bitmask.length + packed.values.length });
  }
  return sizes;
}
