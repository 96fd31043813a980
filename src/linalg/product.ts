/** Products in f64: C -= A B on parts of matrices, and the Gram matrix of f32 rows. Packed panels, split over threads. */
import { parallel, scratch } from "../core/engine.ts";
import { packF64 } from "../kernels/factor/pack.ts";
import { LOWER, UPPER, updateF64, WHOLE } from "../kernels/factor/update.ts";
import type { F64Matrix } from "./matrix.ts";

export { LOWER, UPPER, WHOLE };

/** Depth of a packed block of rows: 8 KiB a panel, a quarter of L1. */
const DEPTH = 256;
/** Multiply-adds that are worth handing to another thread: about 50 microseconds. */
const WORTHWHILE = 300_000;

/** How many units of `work` multiply-adds make a chunk worth handing out. */
export const grainOf = (work: number): number => Math.max(1, Math.ceil(WORTHWHILE / Math.max(1, work)));

export const panelsOf = (count: number): number => Math.ceil(count / 4);
export const panelBytes = (count: number, depth: number): number => panelsOf(count) * 4 * depth * 8;

type Packing = "packRows" | "unpackRows" | "packColumns" | "unpackColumns" | "packColumnsF32";

/** Packs or unpacks a [rows, columns] part at `ptr` with leading dimension `ld`. */
export function pack(how: Packing, ptr: number, ld: number, rows: number, columns: number, panels: number): void {
  const byRows = how === "packRows" || how === "unpackRows";
  const depth = byRows ? columns : rows;
  const count = panelsOf(byRows ? rows : columns);
  parallel(packF64, how, [ptr, ld, rows, columns, panels], count, grainOf(16 * depth));
}

export interface Update {
  /** of C */
  readonly c: number;
  readonly ldc: number;
  /** packed rows of A, packed columns of B */
  readonly a: number;
  readonly b: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly part?: typeof WHOLE | typeof LOWER | typeof UPPER;
  readonly subtract: boolean;
}

/** C[m, n] +- A[m, k] B[k, n] on packed panels. */
export function update({ c, ldc, a, b, m, n, k, part = WHOLE, subtract }: Update): void {
  if (m === 0 || n === 0) return;
  parallel(updateF64, "update", [c, ldc, a, b, m, n, k, part, subtract ? 1 : 0], panelsOf(m), grainOf(4 * n * k));
}

/**
 * G[C, C] += X^T X from f32 X[T, C] at byte address `x`; the upper triangle only. Sums run over rows in order, in
 * chunks of 256 from row 0 of each call, so equal calls give equal bits for any number of threads.
 */
export function accumulateGram(g: F64Matrix, x: number, rows: number): void {
  const n = g.columns;
  scratch(panelBytes(n, Math.min(rows, DEPTH)), (panels) => {
    for (let t = 0; t < rows; t += DEPTH) {
      const k = Math.min(DEPTH, rows - t);
      pack("packColumnsF32", x + 4 * t * n, n, k, n, panels);
      update({ c: g.ptr, ldc: n, a: panels, b: panels, m: n, n, k, part: UPPER, subtract: false });
    }
  });
}

/** G[n, n] += U^T U, upper triangle, where U is upper triangular: row r starts at column r. */
export function accumulateUpperGram(g: F64Matrix, u: F64Matrix): void {
  const n = u.columns;
  scratch(panelBytes(n, Math.min(n, DEPTH)), (panels) => {
    for (let t = 0; t < n; t += DEPTH) {
      const k = Math.min(DEPTH, n - t);
      const corner = 8 * (t * n + t);
      pack("packColumns", u.ptr + corner, n, k, n - t, panels);
      update({ c: g.ptr + corner, ldc: n, a: panels, b: panels, m: n - t, n: n - t, k, part: UPPER, subtract: false });
    }
  });
}
