/** Row-major f64 matrices in engine memory, as plain handles: the owner frees them. No strides, no views of parts. */
import { memory } from "../core/engine.ts";

export interface F64Matrix {
  /** byte address of element (0, 0) */
  readonly ptr: number;
  readonly rows: number;
  readonly columns: number;
}

/** A zeroed matrix. */
export function allocMatrix(rows: number, columns: number): F64Matrix {
  const m = { ptr: memory.alloc(rows * columns * 8), rows, columns };
  valuesOf(m).fill(0);
  return m;
}

export const freeMatrix = (m: F64Matrix): void => memory.free(m.ptr);

/** A fresh view; it goes stale when memory grows, so do not keep it over an allocation. */
export const valuesOf = (m: F64Matrix): Float64Array => memory.f64(m.ptr, m.rows * m.columns);

/** Byte address of an element. */
export const addressOf = (m: F64Matrix, row: number, column: number): number => m.ptr + 8 * (row * m.columns + column);

/** Copies values into a matrix for the time of `body`. */
export function withMatrix<R>(values: ArrayLike<number>, rows: number, columns: number, body: (m: F64Matrix) => R): R {
  if (values.length !== rows * columns) throw new RangeError(`${values.length} values for ${rows} x ${columns}`);
  const m = { ptr: memory.alloc(values.length * 8), rows, columns };
  try {
    valuesOf(m).set(values);
    return body(m);
  } finally {
    freeMatrix(m);
  }
}

const TILE = 64;

/** Copies one triangle of a square matrix onto the other, tile by tile. The diagonal stays. */
export function mirror(m: F64Matrix, from: "lower" | "upper"): void {
  const n = m.rows;
  const v = valuesOf(m);
  const [down, across] = from === "lower" ? [n, 1] : [1, n];
  for (let i0 = 0; i0 < n; i0 += TILE) {
    for (let j0 = 0; j0 <= i0; j0 += TILE) {
      for (let i = i0; i < Math.min(n, i0 + TILE); i++)
        for (let j = j0; j < Math.min(i, j0 + TILE); j++) v[j * down + i * across] = v[i * down + j * across];
    }
  }
}
