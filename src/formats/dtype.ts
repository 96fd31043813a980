/**
 * Element types of stored tensors, with the names safetensors gives them. Stored bytes are little-endian.
 *
 * Conversion to numbers is not done here: readers hand out raw bytes, and what needs numbers converts tiles.
 */

export const dtypeBytes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;

export type DType = keyof typeof dtypeBytes;

export const dtypes = Object.keys(dtypeBytes) as readonly DType[];

export function isDType(text: unknown): text is DType {
  return typeof text === "string" && Object.hasOwn(dtypeBytes, text);
}

/** Types that a weight may have: their +0 and -0 are the only values that count as zero. */
export function isFloatDType(dtype: DType): boolean {
  return dtype === "F64" || dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** Product of a shape; `undefined` when it is not exact in a double. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const side of shape) {
    count *= side;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}

export function shapeText(shape: readonly number[]): string {
  return shape.length === 0 ? "a scalar" : shape.join("×");
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((side, i) => side === b[i]);
}
