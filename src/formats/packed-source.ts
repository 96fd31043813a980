/**
 * Lacuna's packed safetensors file as a source of weights, and the metadata that describes it (docs/packed-format.md).
 *
 * The metadata is checked against the tensors it speaks of before any of them is read; bitmask and values are compared
 * when a weight is read.
 */

import { dtypeBytes, elementCount, isDType, sameShape, shapeText } from "./dtype.ts";
import type { JsonValue } from "./json.ts";
import { isJsonObject, parseJsonObject } from "./json.ts";
import type { Packing } from "./packed.ts";
import { checkPacked, gridOf, isPackable, unpackWeight } from "./packed.ts";
import { refuse, show } from "./refuse.ts";
import type { Block, PackedTensor, TensorInfo, WeightSource } from "./weights.ts";
import { noSuchTensor } from "./weights.ts";

/** Key in the safetensors metadata. */
export const metadataKey = "lacuna";
const formatName = "lacuna-packed";
const formatVersion = 1;
/** No sensible block is larger, and a damaged file may not claim a huge weight with one bit. */
const largestBlock = 65_536;
const damaged = "The file is damaged; fetch or write it again.";

export const bitmaskName = (name: string): string => `${name}.bitmask`;
export const valuesName = (name: string): string => `${name}.values`;

/** A weight to be packed. */
export interface PackedPlan {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly packing: Packing;
}

/** Value of the metadata key for a file that holds these packed weights. */
export function packedMetadata(weights: readonly PackedPlan[]): string {
  const tensors = weights.map(({ name, dtype, shape, packing: { pattern, block } }) => {
    return [name, { shape, dtype, pattern, block: [block.rows, block.cols] }] as const;
  });
  return JSON.stringify({ format: formatName, version: formatVersion, tensors: Object.fromEntries(tensors) });
}

type Entry = TensorInfo & { readonly packing: NonNullable<TensorInfo["packing"]>; readonly matrix: [number, number] };

const isSide = (value: JsonValue | undefined): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

function readPair(value: JsonValue | undefined, about: string, what: string): [number, number] {
  const fits = Array.isArray(value) && value.length === 2 && isSide(value[0]) && isSide(value[1]);
  return fits
    ? (value as [number, number])
    : refuse(about, `${what}: two whole numbers from 1 up`, show(value), damaged);
}

export function checkBlock(block: Block, shape: readonly number[], about: string): void {
  const inside = block.rows <= shape[0] && block.cols <= shape[1] && block.rows * block.cols <= largestBlock;
  if (!inside) {
    const expected = `a block inside ${shapeText(shape)} of at most ${largestBlock} elements`;
    refuse(about, expected, `${block.rows}×${block.cols}`, "Pack it in smaller blocks, 1×1 for instance.");
  }
}

function readEntry(inner: WeightSource, name: string, entry: JsonValue, where: string): Entry {
  const about = `${where}: ${name}`;
  if (!isJsonObject(entry)) refuse(about, "shape, dtype, pattern and block", show(entry), damaged);
  const { dtype, pattern } = entry;
  const shape = readPair(entry.shape, about, "shape");
  const [rows, cols] = readPair(entry.block, about, "block");
  const block = { rows, cols };
  checkBlock(block, shape, about);
  if (!isDType(dtype) || !isPackable(dtype)) refuse(about, "dtype F32, F16 or BF16", show(dtype), damaged);
  if (typeof pattern !== "string" || !/^[\x20-\x7e]{1,64}$/.test(pattern)) {
    refuse(about, "a pattern of up to 64 plain characters", show(pattern), damaged);
  }
  if (inner.has(name)) refuse(about, "the weight packed", "it dense as well", damaged);
  const bytes = (elementCount(shape) ?? Number.NaN) * dtypeBytes[dtype];
  if (!Number.isSafeInteger(bytes)) refuse(about, "a shape whose size can be counted", shapeText(shape), damaged);

  const mask = inner.info(bitmaskName(name));
  const values = inner.info(valuesName(name));
  const grid = gridOf(shape, block);
  if (mask.dtype !== "U8" || !sameShape(mask.shape, [grid.rows, grid.rowBytes])) {
    const got = `${mask.dtype} ${shapeText(mask.shape)}`;
    refuse(`${where}: ${mask.name}`, `U8 ${grid.rows}×${grid.rowBytes}`, got, damaged);
  }
  if (values.dtype !== dtype || values.shape.length !== 1 || values.bytes > bytes) {
    const got = `${values.dtype} ${shapeText(values.shape)}`;
    refuse(`${where}: ${values.name}`, `a vector of ${dtype} no longer than the weight`, got, damaged);
  }
  const packing = { pattern, block, values: values.shape[0], storedBytes: mask.bytes + values.bytes };
  return { name, dtype, shape, bytes, packing, matrix: shape };
}

/** `inner` with its packed weights under their own names; `inner` itself if its metadata names none. */
export function packedSource(inner: WeightSource, where: string): WeightSource {
  if (!Object.hasOwn(inner.metadata, metadataKey)) return inner;
  const about = `${where}: metadata ${metadataKey}`;
  const description = parseJsonObject(inner.metadata[metadataKey], about);
  if (description.format !== formatName) refuse(about, `format ${formatName}`, show(description.format), damaged);
  if (description.version !== formatVersion) {
    const hint = "The folder was written by another version of Lacuna; use that one.";
    refuse(about, `version ${formatVersion}`, show(description.version), hint);
  }
  if (!isJsonObject(description.tensors)) refuse(about, "tensors", show(description.tensors), damaged);

  const packed = new Map<string, Entry>();
  const parts = new Map<string, string>();
  for (const [name, entry] of Object.entries(description.tensors)) {
    packed.set(name, readEntry(inner, name, entry, where));
    for (const part of [bitmaskName(name), valuesName(name)]) {
      if (parts.has(part))
        refuse(`${where}: ${part}`, "parts of one weight only", `also of ${parts.get(part)}`, damaged);
      parts.set(part, name);
    }
  }
  for (const part of parts.keys()) {
    if (packed.has(part)) refuse(`${where}: ${part}`, "a weight or a part of one", "both", damaged);
  }

  // a packed weight stands where the first of its parts stands in the file
  const names = [...new Set(inner.names.map((name) => parts.get(name) ?? name))];
  const shown = new Set(names);
  const readPacked = async (name: string): Promise<PackedTensor> => {
    const entry = packed.get(name);
    if (!entry) return refuse(`${where}: ${name}`, "a packed weight", "one that is not packed", "Read it dense.");
    const { dtype, matrix, packing } = entry;
    const bitmask = await inner.read(bitmaskName(name));
    const values = await inner.read(valuesName(name));
    const { pattern, block } = packing;
    const out = { name, dtype, shape: matrix, pattern, block, bitmask, values };
    checkPacked(out);
    return out;
  };
  return {
    names,
    metadata: inner.metadata,
    has: (name) => shown.has(name),
    info(name) {
      const entry = packed.get(name);
      if (entry) {
        const { matrix: _, ...info } = entry;
        return info;
      }
      return shown.has(name) ? inner.info(name) : noSuchTensor(where, name, names);
    },
    async read(name) {
      if (packed.has(name)) return unpackWeight(await readPacked(name));
      return shown.has(name) ? inner.read(name) : noSuchTensor(where, name, names);
    },
    readPacked,
    close: () => inner.close(),
  };
}
