/**
 * A model with some of its weights pruned: the origin's source under an overlay in memory, and the masks with it.
 *
 * A mask is kept as one bit an element, because a kept weight may be 0 and values alone would not tell.
 */
import type { Model } from "../models/model.ts";
import { type Mask, maskOf } from "../sparsity/mask.ts";
import type { Pattern } from "../sparsity/pattern.ts";
import type { PruneReport, RecoveryReport } from "./report.ts";

/** The decision about one weight [R, C]. */
export interface RecordedMask {
  readonly pattern: Pattern;
  readonly rows: number;
  readonly columns: number;
  /** elements kept */
  readonly kept: number;
  /** one bit an element, row-major, LSB first, 1 = kept */
  readonly bits: Uint8Array;
}

export interface SparseModel extends Model {
  /** by the weight's full name */
  readonly masks: ReadonlyMap<string, RecordedMask>;
  readonly report?: PruneReport;
  readonly recovery?: RecoveryReport;
}

export interface PrunedModel extends SparseModel {
  readonly report: PruneReport;
}

export const isSparse = (model: Model): model is SparseModel => "masks" in model;

export function recordMask(mask: Mask, pattern: Pattern, rows: number, columns: number): RecordedMask {
  const bits = new Uint8Array(Math.ceil(mask.bits.length / 8));
  for (let i = 0; i < mask.bits.length; i++) bits[i >> 3] |= mask.bits[i] << (i & 7);
  return { pattern, rows, columns, kept: mask.kept, bits };
}

export function readMask({ bits, rows, columns }: RecordedMask): Mask {
  return maskOf(Uint8Array.from({ length: rows * columns }, (_, i) => (bits[i >> 3] >> (i & 7)) & 1));
}
