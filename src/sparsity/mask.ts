/** A mask over one weight: 1 = kept, with the exact count of kept elements. A kept element's value may still be 0. */
import { demand } from "../core/errors.ts";
import { type LayerShape, layoutOf, type Pattern } from "./pattern.ts";

export interface Mask {
  /** one byte an element, row-major, 1 = kept */
  readonly bits: Uint8Array;
  readonly kept: number;
}

/** Wraps bits of 0 and 1 and counts them. */
export function maskOf(bits: Uint8Array): Mask {
  let kept = 0;
  for (let i = 0; i < bits.length; i++) kept += bits[i];
  return { bits, kept };
}

/** Kept where the value is not 0. */
export function maskOfValues(values: ArrayLike<number>): Mask {
  const bits = new Uint8Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = values[i] === 0 ? 0 : 1;
  return maskOf(bits);
}

/** Share of pruned elements; 0 for an empty mask. */
export const maskSparsity = (mask: Mask): number =>
  mask.bits.length === 0 ? 0 : (mask.bits.length - mask.kept) / mask.bits.length;

/** A copy of `values` with +0 where the mask is 0. */
export function applyMask(values: Float32Array, mask: Mask): Float32Array {
  demand(values.length === mask.bits.length, () => ({
    about: "mask",
    expected: `${values.length} elements, as many as the weight`,
    got: String(mask.bits.length),
    hint: "A mask belongs to the weight it was made for.",
  }));
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) if (mask.bits[i] !== 0) out[i] = values[i];
  return out;
}

/** Whether every unit is whole and no run keeps more than its quota. */
export function obeys(mask: Mask, pattern: Pattern, shape: LayerShape): boolean {
  const { height, width, unitRows, unitColumns, quota } = layoutOf(pattern, shape);
  for (let u = 0; u < unitRows; u++) {
    let inRun = 0;
    for (let v = 0; v < unitColumns; v++) {
      const first = mask.bits[u * height * shape.columns + v * width];
      for (let r = u * height; r < Math.min((u + 1) * height, shape.rows); r++)
        for (let c = v * width; c < Math.min((v + 1) * width, shape.columns); c++)
          if (mask.bits[r * shape.columns + c] !== first) return false;
      if (quota === undefined) continue;
      if (v % quota.of === 0) inRun = 0;
      inRun += first;
      if (inRun > quota.keep) return false;
    }
  }
  return true;
}
