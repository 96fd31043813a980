/**
 * The sparse storage formats of compressed-tensors (the library of Neural Magic, now of vLLM), read and written.
 *
 * For a weight `X.weight` [R, C] the file holds `X.shape` (I64), `X.bitmask` (U8, [R, ceil(C/8)], LSB first, each row
 * on a new byte), `X.compressed` and, in `sparse-bitmask`, `X.row_offsets` (I64, [R], the first value of each row).
 * `sparse-bitmask` keeps the values ≠ 0 in a vector; `sparse-24-bitmask` keeps two of every four as [R, C/2], zeros
 * among them where fewer than two are not. Row offsets follow from the bitmask and are not believed. Quantised and FP8
 * weights are not read. Which format a folder has stands in its config.json (`compressed-config.ts`).
 */

import type { CompressedFormat } from "./compressed-config.ts";
import type { DType } from "./dtype.ts";
import { dtypeBytes, elementCount, sameShape, shapeText } from "./dtype.ts";
import type { JsonObject } from "./json.ts";
import type { Packing } from "./packed.ts";
import { checkPacked, gridOf, isPackable, packWeight, unpackWeight } from "./packed.ts";
import { refuse, show } from "./refuse.ts";
import type { PackedTensor, TensorInfo, WeightSource } from "./weights.ts";
import { noSuchTensor } from "./weights.ts";

const damaged = "The file is damaged or in another version of the format; fetch it again.";
const element = { rows: 1, cols: 1 };
const packingOf: Readonly<Record<CompressedFormat, Packing>> = {
  "sparse-bitmask": { pattern: "unstructured", block: element },
  "sparse-24-bitmask": { pattern: "2:4", block: element },
};

/** `X` of `X.weight`, the prefix of a weight's parts. */
export const partPrefix = (name: string): string => name.replace(/\.weight$/, "");

/** I64 bytes of small whole numbers. */
export function int64Bytes(values: ArrayLike<number>): Uint8Array {
  return new Uint8Array(BigInt64Array.from({ length: values.length }, (_, i) => BigInt(values[i])).buffer);
}

/** The rows' first values, which `sparse-bitmask` stores beside the bitmask that implies them. */
export function rowOffsets({ shape, bitmask }: PackedTensor): Float64Array {
  const { rowBytes } = gridOf(shape, element);
  const offsets = new Float64Array(shape[0]);
  let count = 0;
  for (let r = 0; r < shape[0]; r++) {
    offsets[r] = count;
    for (let byte = 0; byte < rowBytes; byte++) {
      for (let bits = bitmask[r * rowBytes + byte]; bits !== 0; bits &= bits - 1) count++;
    }
  }
  return offsets;
}

/**
 * Packs as `sparse-24-bitmask` does: two of every four inputs, the values ≠ 0 and then the first zeros.
 *
 * Throws a `LacunaError` if the width is no multiple of 4 or a group has more than two values ≠ 0.
 */
export function pack24(name: string, dtype: DType, shape: readonly [number, number], dense: Uint8Array): PackedTensor {
  const [R, C] = shape;
  const hint = "Prune to 2:4 first, or save as sparse-bitmask.";
  if (C % 4 !== 0) refuse(name, "a width that 4 divides", `${C}`, hint);
  const exact = packWeight(name, dtype, shape, dense, packingOf["sparse-24-bitmask"]);
  const { rowBytes } = gridOf(shape, element);
  const bitmask = exact.bitmask.slice();
  for (let r = 0; r < R; r++) {
    for (let c = 0; c < C; c += 4) {
      const at = r * rowBytes + (c >> 3);
      let group = (bitmask[at] >> (c & 7)) & 15;
      const kept = (group & 1) + ((group >> 1) & 1) + ((group >> 2) & 1) + (group >> 3);
      if (kept > 2) refuse(name, "at most 2 of 4 values other than 0", `${kept} at row ${r}, column ${c}`, hint);
      for (let missing = 2 - kept; missing > 0; missing--) group |= ~group & (group + 1);
      bitmask[at] |= group << (c & 7);
    }
  }
  const size = dtypeBytes[dtype];
  const values = new Uint8Array(R * (C / 2) * size);
  let from = 0;
  let to = 0;
  for (let at = 0; at < bitmask.length; at++) {
    for (let bits = bitmask[at]; bits !== 0; bits &= bits - 1, to += size) {
      if ((exact.bitmask[at] & bits & -bits) === 0) continue;
      for (let b = 0; b < size; b++) values[to + b] = exact.values[from + b];
      from += size;
    }
  }
  return { ...exact, bitmask, values };
}

/** What config.json says of weights written in a format, for `quantization_config`. */
export function compressionConfig(format: CompressedFormat, weights: readonly string[]): JsonObject {
  const { pattern } = packingOf[format];
  return {
    quant_method: "compressed-tensors",
    sparsity_config: { format, sparsity_structure: pattern, targets: weights.map(partPrefix), ignore: [] },
  };
}

async function readShape(inner: WeightSource, name: string, about: string): Promise<readonly [number, number]> {
  const info = inner.info(name);
  // a vector, or the column that sparse-24-bitmask makes of it
  if (info.dtype !== "I64" || elementCount(info.shape) !== 2) {
    refuse(about, "a shape of two I64", `${info.dtype} ${shapeText(info.shape)}`, damaged);
  }
  const bytes = await inner.read(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const sides = [Number(view.getBigInt64(0, true)), Number(view.getBigInt64(8, true))] as const;
  const fits = sides.every((side) => side >= 1) && elementCount(sides) !== undefined;
  if (!fits) refuse(about, "two sides from 1 up", show(sides), damaged);
  return sides;
}

interface Entry {
  readonly info: TensorInfo & { readonly packing: NonNullable<TensorInfo["packing"]> };
  readonly shape: readonly [number, number];
  readonly prefix: string;
}

async function readEntry(
  inner: WeightSource,
  name: string,
  prefix: string,
  format: CompressedFormat,
  where: string,
): Promise<Entry> {
  const shape = await readShape(inner, `${prefix}.shape`, `${where}: ${prefix}.shape`);
  const mask = inner.info(`${prefix}.bitmask`);
  const values = inner.info(`${prefix}.compressed`);
  const { rows, rowBytes } = gridOf(shape, element);
  if (mask.dtype !== "U8" || !sameShape(mask.shape, [rows, rowBytes])) {
    const got = `${mask.dtype} ${shapeText(mask.shape)}`;
    refuse(`${where}: ${mask.name}`, `U8 ${rows}×${rowBytes}`, got, damaged);
  }
  if (!isPackable(values.dtype)) {
    const hint = "Use the model's unquantised weights.";
    refuse(`${where}: ${values.name}`, "weights of F32, F16 or BF16", values.dtype, hint);
  }
  const count = values.bytes / dtypeBytes[values.dtype];
  const most = format === "sparse-bitmask" ? rows * shape[1] : rows * Math.floor(shape[1] / 2);
  if (count > most || (format === "sparse-24-bitmask" && count !== most)) {
    refuse(`${where}: ${values.name}`, `${most} values for ${shapeText(shape)}`, `${count}`, damaged);
  }
  const offsets = `${prefix}.row_offsets`;
  const rest = ["shape", ...(inner.has(offsets) ? ["row_offsets"] : [])];
  const storedBytes = rest.reduce(
    (sum, part) => sum + inner.info(`${prefix}.${part}`).bytes,
    mask.bytes + values.bytes,
  );
  const bytes = rows * shape[1] * dtypeBytes[values.dtype];
  const packing = { ...packingOf[format], values: count, storedBytes };
  return { info: { name, dtype: values.dtype, shape, bytes, packing }, shape, prefix };
}

/** `inner` with its compressed weights under their own names. */
export async function compressedSource(
  inner: WeightSource,
  format: CompressedFormat,
  where: string,
): Promise<WeightSource> {
  const entries = new Map<string, Entry>();
  const partOf = new Map<string, string>();
  for (const stored of inner.names) {
    if (!stored.endsWith(".compressed")) continue;
    const prefix = stored.slice(0, -".compressed".length);
    const name = prefix.endsWith(".weight") ? prefix : `${prefix}.weight`;
    if (inner.has(name) || entries.has(name)) {
      refuse(`${where}: ${name}`, "the weight once", "it twice, dense or under two spellings", damaged);
    }
    entries.set(name, await readEntry(inner, name, prefix, format, where));
    for (const part of ["shape", "compressed", "bitmask", "row_offsets"]) partOf.set(`${prefix}.${part}`, name);
  }

  const names = [...new Set(inner.names.map((stored) => partOf.get(stored) ?? stored))];
  const shown = new Set(names);
  const readPacked = async (name: string): Promise<PackedTensor> => {
    const entry = entries.get(name);
    if (!entry) return refuse(`${where}: ${name}`, "a packed weight", "one that is not packed", "Read it dense.");
    const { info, shape, prefix } = entry;
    const bitmask = await inner.read(`${prefix}.bitmask`);
    const values = await inner.read(`${prefix}.compressed`);
    const { pattern, block } = info.packing;
    const out = { name, dtype: info.dtype, shape, pattern, block, bitmask, values };
    checkPacked(out);
    return out;
  };
  return {
    names,
    metadata: inner.metadata,
    has: (name) => shown.has(name),
    info: (name) => entries.get(name)?.info ?? (shown.has(name) ? inner.info(name) : noSuchTensor(where, name, names)),
    async read(name) {
      if (entries.has(name)) return unpackWeight(await readPacked(name));
      return shown.has(name) ? inner.read(name) : noSuchTensor(where, name, names);
    },
    readPacked,
    close: () => inner.close(),
  };
}
