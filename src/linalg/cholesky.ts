/**
 * Blocked f64 factorisations of symmetric positive definite matrices, in place.
 *
 * Right-looking: each step factors a diagonal block, substitutes the panel below it and updates the rest by one packed
 * product. `inverseFactor` gives SparseGPT's U with H^-1 = U^T U from one Cholesky and one triangular inverse: with P
 * the reversal, P H P = L L^T gives H = (P L P)(P L P)^T, so U = P L^-1 P, which is upper triangular.
 */
import { call, memory, parallel, scratch } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { solveF64 } from "../kernels/factor/solve.ts";
import { addressOf, allocMatrix, type F64Matrix, mirror, valuesOf } from "./matrix.ts";
import { accumulateUpperGram, grainOf, LOWER, pack, panelBytes, panelsOf, update } from "./product.ts";

/** Width of a diagonal block: its factor (128 KiB) stays in L2 while panels pass by. */
const BLOCK = 128;

function substitute(l: number, ld: number, size: number, panels: number, count: number): void {
  parallel(solveF64, "solve", [l, ld, size, panels], panelsOf(count), grainOf(2 * size * size));
}

/**
 * Lower factor of the lower triangle, in place; the strict upper triangle is neither read nor written.
 * Returns -1, or the column whose pivot was not positive (the lower triangle is then spoiled).
 */
export function cholesky(m: F64Matrix): number {
  const n = m.rows;
  return scratch(panelBytes(n, BLOCK), (panels) => {
    for (let i = 0; i < n; i += BLOCK) {
      const size = Math.min(BLOCK, n - i);
      const diagonal = addressOf(m, i, i);
      const code = call(solveF64, "cholesky", diagonal, n, size);
      if (code > 0) return i + code - 1;
      const rest = n - i - size;
      if (rest === 0) break;
      const below = addressOf(m, i + size, i);
      pack("packRows", below, n, rest, size, panels);
      substitute(diagonal, n, size, panels, rest);
      pack("unpackRows", below, n, rest, size, panels);
      const c = addressOf(m, i + size, i + size);
      update({ c, ldc: n, a: panels, b: panels, m: rest, n: rest, k: size, part: LOWER, subtract: true });
    }
    return -1;
  });
}

/** Sets the strict upper triangle to 0. */
export function zeroUpper(m: F64Matrix): void {
  const v = valuesOf(m);
  for (let i = 0; i < m.rows; i++) v.fill(0, i * m.columns + i + 1, (i + 1) * m.columns);
}

/** Inverse of a lower triangular matrix with a non-zero diagonal, in place; the strict upper triangle becomes 0. */
export function invertLower(m: F64Matrix): void {
  const n = m.rows;
  zeroUpper(m);
  scratch(2 * panelBytes(n, BLOCK) + BLOCK * BLOCK * 8, (rowPanels) => {
    const columnPanels = rowPanels + panelBytes(n, BLOCK);
    const l = columnPanels + panelBytes(n, BLOCK);
    for (let i = 0; i < n; i += BLOCK) {
      const size = Math.min(BLOCK, n - i);
      const end = i + size;
      // Row block i holds minus the sum of products with what is inverted already; L_ii^-1 [sum, I] finishes it.
      const v = valuesOf(m);
      const saved = memory.f64(l, size * size);
      for (let r = 0; r < size; r++) {
        const at = (i + r) * n + i;
        saved.set(v.subarray(at, at + size), r * size);
        v.fill(0, at, at + size);
        v[at + r] = 1;
      }
      pack("packColumns", addressOf(m, i, 0), n, size, end, columnPanels);
      substitute(l, size, size, columnPanels, end);
      pack("unpackColumns", addressOf(m, i, 0), n, size, end, columnPanels);
      const rest = n - end;
      if (rest === 0) break;
      pack("packRows", addressOf(m, end, i), n, rest, size, rowPanels);
      for (let r = end; r < n; r++) v.fill(0, r * n + i, r * n + end);
      const c = addressOf(m, end, 0);
      update({ c, ldc: n, a: rowPanels, b: columnPanels, m: rest, n: end, k: size, subtract: true });
    }
  });
}

/** What `dampedFactor` had to do. */
export interface Damping {
  /** share of the mean diagonal that was added */
  readonly share: number;
  /** failed attempts: input column of the bad pivot, and the share tried */
  readonly failures: readonly { readonly share: number; readonly column: number }[];
}

export interface DampingOptions {
  /** first share of the mean diagonal to add (SparseGPT: 0.01) */
  readonly share?: number;
  /** attempts in all, each with ten times the share */
  readonly attempts?: number;
  /** named in the error */
  readonly about?: string;
}

/**
 * Replaces H (upper triangle read) by U, upper triangular, with (H + share * mean(diag H) I)^-1 = U^T U. A pivot that
 * is not positive raises the share tenfold. Throws `LacunaError` when every attempt fails.
 */
export function dampedFactor(h: F64Matrix, options: DampingOptions = {}): Damping {
  const n = h.rows;
  const attempts = options.attempts ?? 6;
  let share = options.share ?? 0.01;
  // Reversing rows and columns of a square matrix is reversing its elements; the upper triangle becomes the lower.
  valuesOf(h).reverse();
  mirror(h, "lower");
  const diagonal = Float64Array.from({ length: n }, (_, i) => valuesOf(h)[i * n + i]);
  const mean = diagonal.reduce((sum, d) => sum + d, 0) / n;
  const failures: { share: number; column: number }[] = [];
  for (let attempt = 0; attempt < attempts; attempt++) {
    const v = valuesOf(h);
    for (let i = 0; i < n; i++) v[i * n + i] = diagonal[i] + share * mean;
    const column = cholesky(h);
    if (column < 0) {
      invertLower(h);
      valuesOf(h).reverse();
      return { share, failures };
    }
    failures.push({ share, column: n - 1 - column });
    // The strict upper triangle still holds what the lower one held.
    mirror(h, "upper");
    share = share === 0 ? 0.01 : share * 10;
  }
  throw new LacunaError({
    about: options.about ?? "matrix of input products",
    expected: "a positive definite matrix, after damping",
    got: `no positive pivot at input ${failures.at(-1)?.column} with ${failures.at(-1)?.share} of the mean diagonal added`,
    hint: "Calibration data may hold NaN or infinite activations; check the model, or use more calibration text.",
  });
}

/** U with H^-1 = U^T U, in place of H (upper triangle read). Returns -1, or the input column of a bad pivot. */
export function inverseFactor(h: F64Matrix): number {
  valuesOf(h).reverse();
  const column = cholesky(h);
  if (column >= 0) return h.rows - 1 - column;
  invertLower(h);
  valuesOf(h).reverse();
  return -1;
}

/** The full symmetric inverse, as a new matrix; H (upper triangle read) becomes U. Null when not positive definite. */
export function invertPositive(h: F64Matrix): F64Matrix | null {
  if (inverseFactor(h) >= 0) return null;
  const inverse = allocMatrix(h.rows, h.rows);
  accumulateUpperGram(inverse, h);
  mirror(inverse, "upper");
  return inverse;
}
