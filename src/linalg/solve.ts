/** Triangular systems with many right-hand sides, blocked, in place: L X = B, L^T X = B, and H X = B for positive H. */
import { memory, parallel, scratch } from "../core/engine.ts";
import { solveF64 } from "../kernels/factor/solve.ts";
import { cholesky } from "./cholesky.ts";
import { addressOf, type F64Matrix, valuesOf } from "./matrix.ts";
import { grainOf, pack, panelBytes, panelsOf, update } from "./product.ts";

const BLOCK = 128;

/** B[n, c] := L^-1 B; L's strict upper triangle is not read. */
export function solveLower(l: F64Matrix, b: F64Matrix): void {
  const n = l.rows;
  const c = b.columns;
  scratch(panelBytes(c, BLOCK) + panelBytes(n, BLOCK), (right) => {
    const left = right + panelBytes(c, BLOCK);
    for (let i = 0; i < n; i += BLOCK) {
      const size = Math.min(BLOCK, n - i);
      pack("packColumns", addressOf(b, i, 0), c, size, c, right);
      parallel(solveF64, "solve", [addressOf(l, i, i), n, size, right], panelsOf(c), grainOf(2 * size * size));
      pack("unpackColumns", addressOf(b, i, 0), c, size, c, right);
      const rest = n - i - size;
      if (rest === 0) break;
      pack("packRows", addressOf(l, i + size, i), n, rest, size, left);
      update({ c: addressOf(b, i + size, 0), ldc: c, a: left, b: right, m: rest, n: c, k: size, subtract: true });
    }
  });
}

/** B[n, c] := L^-T B; L's strict upper triangle is not read. */
export function solveLowerTransposed(l: F64Matrix, b: F64Matrix): void {
  const n = l.rows;
  const c = b.columns;
  const blockBytes = BLOCK * BLOCK * 8;
  scratch(panelBytes(c, BLOCK) + panelBytes(n, BLOCK) + blockBytes + BLOCK * c * 8, (right) => {
    const left = right + panelBytes(c, BLOCK);
    const reversed = left + panelBytes(n, BLOCK);
    const rows = reversed + blockBytes;
    const first = Math.floor((n - 1) / BLOCK) * BLOCK;
    for (let i = first; i >= 0; i -= BLOCK) {
      const size = Math.min(BLOCK, n - i);
      // Backward substitution is forward substitution on the block reversed and transposed, rows of B reversed.
      const lv = valuesOf(l);
      const d = memory.f64(reversed, size * size);
      for (let r = 0; r < size; r++)
        for (let k = 0; k <= r; k++) d[r * size + k] = lv[(i + size - 1 - k) * n + i + size - 1 - r];
      const turned = memory.f64(rows, size * c);
      const bv = valuesOf(b);
      for (let r = 0; r < size; r++) turned.set(bv.subarray((i + size - 1 - r) * c, (i + size - r) * c), r * c);
      pack("packColumns", rows, c, size, c, right);
      parallel(solveF64, "solve", [reversed, size, size, right], panelsOf(c), grainOf(2 * size * size));
      pack("unpackColumns", rows, c, size, c, right);
      for (let r = 0; r < size; r++) bv.set(turned.subarray(r * c, (r + 1) * c), (i + size - 1 - r) * c);
      if (i === 0) break;
      pack("packColumns", addressOf(b, i, 0), c, size, c, right);
      pack("packColumns", addressOf(l, i, 0), n, size, i, left);
      update({ c: b.ptr, ldc: c, a: left, b: right, m: i, n: c, k: size, subtract: true });
    }
  });
}

/** B := H^-1 B for symmetric positive definite H (lower triangle read), which becomes its factor. -1, or the bad column. */
export function solvePositive(h: F64Matrix, b: F64Matrix): number {
  const column = cholesky(h);
  if (column >= 0) return column;
  solveLower(h, b);
  solveLowerTransposed(h, b);
  return -1;
}
