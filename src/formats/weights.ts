/**
 * What the rest of Lacuna sees of a model's stored weights, whatever the file format: names, shapes, raw bytes.
 */

import type { DType } from "./dtype.ts";
import { sameShape, shapeText } from "./dtype.ts";
import { refuse } from "./refuse.ts";

/** Shape of the units that are kept or dropped together, outputs × inputs; 1×1 for unstructured and N:M. */
export interface Block {
  readonly rows: number;
  readonly cols: number;
}

/** How a packed weight is stored. */
export interface PackedInfo {
  /** the pattern's text, as given when it was pruned, e.g. `2:4` or `4x1`; kept, not interpreted */
  readonly pattern: string;
  readonly block: Block;
  /** stored values: every element of each kept block */
  readonly values: number;
  /** bytes in the file: bitmask and values (and shape and offsets, where a format stores them as tensors) */
  readonly storedBytes: number;
}

export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** bytes of the dense tensor, which is what `read` returns; `packing.storedBytes` is what the file holds */
  readonly bytes: number;
  readonly packing?: PackedInfo;
}

/** A packed weight as stored: layout in docs/packed-format.md. */
export interface PackedTensor {
  readonly name: string;
  readonly dtype: DType;
  /** [R, C] of the dense weight */
  readonly shape: readonly [number, number];
  readonly pattern: string;
  readonly block: Block;
  /** one bit per block, 1 = kept, LSB first; ceil(R / block.rows) rows of ceil(ceil(C / block.cols) / 8) bytes */
  readonly bitmask: Uint8Array;
  /** elements of the kept blocks, block by block in row-major order, each block row by row; little-endian */
  readonly values: Uint8Array;
}

export interface WeightSource {
  /** dense tensor names, in the order of the file */
  readonly names: readonly string[];
  /** the file's own string metadata */
  readonly metadata: Readonly<Record<string, string>>;
  has(name: string): boolean;
  /** a `LacunaError` if there is no such tensor */
  info(name: string): TensorInfo;
  /** little-endian bytes in the stored dtype; packed weights come out dense */
  read(name: string): Promise<Uint8Array>;
  /** the stored form of a weight whose `info` has `packing`; an error for any other */
  readPacked?(name: string): Promise<PackedTensor>;
  close(): Promise<void>;
}

/** `info(name)` of a tensor that must be there with this shape and, where given, one of these types. */
export function expectTensor(
  source: WeightSource,
  name: string,
  shape: readonly number[],
  allowed: readonly DType[] = ["F32", "F16", "BF16"],
): TensorInfo {
  const info = source.info(name);
  if (!sameShape(info.shape, shape)) {
    refuse(name, `shape ${shapeText(shape)}`, shapeText(info.shape), "The weights do not belong to this config.json.");
  }
  if (!allowed.includes(info.dtype)) {
    refuse(name, `type ${allowed.join(", ")}`, info.dtype, "Convert the weights to one of these types first.");
  }
  return info;
}

/** Throws the error that every source gives for a name it does not have. */
export function noSuchTensor(where: string, name: string, names: readonly string[]): never {
  const last = name.split(".").slice(-2).join(".");
  const near = names.find((other) => other !== name && other.endsWith(last)) ?? names[0];
  const some = near === undefined ? "no tensors at all" : `${names.length} others, such as ${near}`;
  refuse(where, `a tensor ${name}`, some, "The weights do not belong to this config.json, or the file is incomplete.");
}
