/**
 * Writes a model's weights in any of the four formats, one dense tensor at a time, memory for about one of them.
 *
 * `packed` is Lacuna's own (docs/packed-format.md); `dense` has the zeros in it and is read by everything; the other two
 * are those of compressed-tensors. Zeros of pruned weights are written as +0 in all of them.
 */

import { compressionConfig, int64Bytes, pack24, partPrefix, rowOffsets } from "./compressed.ts";
import type { CompressedFormat } from "./compressed-config.ts";
import { compressedFormats } from "./compressed-config.ts";
import type { DType } from "./dtype.ts";
import type { JsonObject } from "./json.ts";
import type { Packing } from "./packed.ts";
import { gridOf, packWeight, withoutNegativeZeros } from "./packed.ts";
import type { PackedPlan } from "./packed-source.ts";
import { bitmaskName, checkBlock, metadataKey, packedMetadata, valuesName } from "./packed-source.ts";
import { refuse, show } from "./refuse.ts";
import type { ByteTarget, PlannedTensor } from "./safetensors-write.ts";
import { writeSafetensors } from "./safetensors-write.ts";
import type { PackedTensor, TensorInfo } from "./weights.ts";

export const weightFormats = ["packed", "dense", ...compressedFormats] as const;
export type WeightFormat = (typeof weightFormats)[number];

export interface WeightPlan {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** for a pruned weight: how it is packed where the format packs; none for a tensor stored as it is */
  readonly packing?: Packing;
}

export interface WeightWriter {
  /** the dense bytes of one planned tensor, in any order, each once */
  write(name: string, dense: Uint8Array): Promise<void>;
  /** bytes of the finished file; an error if a planned tensor is missing */
  finish(): Promise<number>;
}

/** The plan that stores everything in `source` as it is there, packed weights packed. */
export function planLike(infos: Iterable<TensorInfo>): WeightPlan[] {
  return [...infos].map(({ name, dtype, shape, packing }) =>
    packing
      ? { name, dtype, shape, packing: { pattern: packing.pattern, block: packing.block } }
      : { name, dtype, shape },
  );
}

type Matrix = readonly [number, number];

function matrixOf({ name, shape }: WeightPlan): Matrix {
  if (shape.length !== 2) refuse(name, "a matrix to pack", `${shape.length} dimensions`, "Store this tensor dense.");
  return shape as Matrix;
}

/** The stored parts of a packed weight: what is planned, and what a dense weight becomes. */
interface Parts {
  plan(weight: WeightPlan & { packing: Packing }): PlannedTensor[];
  pack(weight: WeightPlan & { packing: Packing }, dense: Uint8Array): [string, Uint8Array][];
}

const single = { rows: 1, cols: 1 };

const lacuna: Parts = {
  plan(weight) {
    const shape = matrixOf(weight);
    checkBlock(weight.packing.block, shape, weight.name);
    const grid = gridOf(shape, weight.packing.block);
    return [
      { name: bitmaskName(weight.name), dtype: "U8", shape: [grid.rows, grid.rowBytes] },
      { name: valuesName(weight.name), dtype: weight.dtype, shape: { atMost: shape[0] * shape[1] } },
    ];
  },
  pack(weight, dense) {
    const packed = packWeight(weight.name, weight.dtype, matrixOf(weight), dense, weight.packing);
    return [
      [bitmaskName(weight.name), packed.bitmask],
      [valuesName(weight.name), packed.values],
    ];
  },
};

function compressedParts(format: CompressedFormat): Parts {
  const two4 = format === "sparse-24-bitmask";
  const values = ([R, C]: Matrix): PlannedTensor["shape"] => (two4 ? [R, C / 2] : { atMost: R * C });
  return {
    plan(weight) {
      const shape = matrixOf(weight);
      const [R, C] = shape;
      if (two4 && C % 4 !== 0) {
        refuse(weight.name, "a width that 4 divides", `${C}`, "Save as sparse-bitmask instead.");
      }
      const x = partPrefix(weight.name);
      const plan: PlannedTensor[] = [
        { name: `${x}.shape`, dtype: "I64", shape: two4 ? [2, 1] : [2] },
        { name: `${x}.compressed`, dtype: weight.dtype, shape: values(shape) },
        { name: `${x}.bitmask`, dtype: "U8", shape: [R, gridOf(shape, single).rowBytes] },
      ];
      return two4 ? plan : [...plan, { name: `${x}.row_offsets`, dtype: "I64", shape: [R] }];
    },
    pack({ name, dtype, shape: sides, packing }, dense) {
      const shape = sides as Matrix;
      const packed: PackedTensor = two4
        ? pack24(name, dtype, shape, dense)
        : packWeight(name, dtype, shape, dense, { pattern: packing.pattern, block: single });
      const x = partPrefix(name);
      const parts: [string, Uint8Array][] = [
        [`${x}.shape`, int64Bytes(shape)],
        [`${x}.compressed`, packed.values],
        [`${x}.bitmask`, packed.bitmask],
      ];
      return two4 ? parts : [...parts, [`${x}.row_offsets`, int64Bytes(rowOffsets(packed))]];
    },
  };
}

const partsOf = (format: WeightFormat): Parts | undefined =>
  format === "dense" ? undefined : format === "packed" ? lacuna : compressedParts(format);

const isPruned = (weight: WeightPlan): weight is WeightPlan & { packing: Packing } => weight.packing !== undefined;

/** Reads a format's name, as given on a command line. */
export function parseWeightFormat(text: string): WeightFormat {
  const format = weightFormats.find((name) => name === text);
  return format ?? refuse("format", weightFormats.join(", "), show(text), "Leave it out to pack.");
}

/** `config` for a folder whose weights are written so: says what compressed-tensors needs, and nothing stale. */
export function configFor(config: JsonObject, format: WeightFormat, plan: readonly WeightPlan[]): JsonObject {
  const { quantization_config: _q, compression_config: _c, sparsity_config: _s, ...rest } = config;
  if (format === "dense" || format === "packed") return rest;
  const names = plan.filter(isPruned).map((weight) => weight.name);
  return { ...rest, quantization_config: compressionConfig(format, names) };
}

/** Starts a safetensors file with the planned tensors in `target`. */
export function writeWeights(
  target: ByteTarget,
  format: WeightFormat,
  plan: readonly WeightPlan[],
  metadata: Readonly<Record<string, string>> = {},
): WeightWriter {
  const parts = partsOf(format);
  const weights = new Map(plan.map((weight) => [weight.name, weight]));
  const stored = plan.flatMap((weight) => (parts && isPruned(weight) ? parts.plan(weight) : [weight]));
  const { [metadataKey]: _, ...own } = metadata;
  const packed: PackedPlan[] = plan.filter(isPruned);
  const description: Record<string, string> =
    format === "packed" && packed.length > 0 ? { [metadataKey]: packedMetadata(packed) } : {};
  const writer = writeSafetensors(target, stored, { format: "pt", ...own, ...description });
  return {
    async write(name, dense) {
      const weight = weights.get(name);
      if (!weight) return refuse(name, "a planned tensor", "one that is not in the plan", "Plan every tensor first.");
      if (parts && isPruned(weight)) {
        for (const [part, bytes] of parts.pack(weight, dense)) await writer.write(part, bytes);
      } else {
        await writer.write(name, isPruned(weight) ? withoutNegativeZeros(weight.dtype, dense) : dense);
      }
    },
    finish: () => writer.finish(),
  };
}
