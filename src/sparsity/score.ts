/**
 * Scores of single weights, larger = keep, as plain functions of a row.
 *
 * In f64 from f32 weights, so that distinct magnitudes times one norm stay distinct (in f32 they may collide and
 * the tie rule would decide). A score that depends on earlier decisions (SparseGPT's) is a method, not a score.
 */
import type { RowScore } from "./select.ts";

/** |W|. `weights` is [R, C] row-major. */
export function magnitudeScore(weights: Float32Array, columns: number): RowScore {
  return (row, into) => {
    const at = row * columns;
    for (let c = 0; c < columns; c++) into[c] = Math.abs(weights[at + c]);
  };
}

/** |W_rc| ||X_c||_2 (Wanda, Sun et al. 2024). `norms` is [C]; a constant factor does not matter. */
export function wandaScore(weights: Float32Array, columns: number, norms: ArrayLike<number>): RowScore {
  return (row, into) => {
    const at = row * columns;
    for (let c = 0; c < columns; c++) into[c] = Math.abs(weights[at + c]) * norms[c];
  };
}
