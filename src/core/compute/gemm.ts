/**
 * Dense matrix products over the engine's memory: any strides, weights in their stored type, threads, few tokens.
 *
 * Which kernel runs is a function of shapes and strides alone, and no kernel's result depends on how its work is split,
 * so the same call gives the same bits for any number of threads. Packed copies live in scratch memory of a bounded
 * size; `prepack` is for the caller who will pay bytes to use one right factor many times. It knows nothing of tensors.
 */
import { type ElementType, shiftOf } from "../../kernels/dense/element.ts";
import { gemmF32, TILE_COLUMNS, TILE_ROWS } from "../../kernels/dense/gemm.ts";
import { GEMV_ROWS, gemvBf16, gemvF16, gemvF32 } from "../../kernels/dense/gemv.ts";
import { packBf16, packF16, packF32 } from "../../kernels/dense/pack.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { call, memory, scratch } from "../engine.ts";
import { split } from "./split.ts";

/** A matrix in engine memory: element (i, j) lies at `ptr + bytes * (i * rowStride + j * colStride)`. */
export interface Operand {
  readonly ptr: number;
  readonly type: ElementType;
  /** strides in elements */
  readonly rowStride: number;
  readonly colStride: number;
}

/** A right factor B[k, n] packed once for many products. */
export interface PackedB {
  readonly packed: true;
  readonly ptr: number;
  readonly k: number;
  readonly n: number;
  readonly bytes: number;
  free(): void;
}

export interface Gemm {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Operand;
  readonly b: Operand | PackedB;
  /** address of C[m, n], f32, row stride `ldc` elements (default n) */
  readonly c: number;
  readonly ldc?: number;
  /** C += A·B instead of C = A·B */
  readonly accumulate?: boolean;
}

const PACK: Record<ElementType, Kernel> = { f32: packF32, bf16: packBf16, f16: packF16 };
const GEMV: Record<ElementType, Kernel> = { f32: gemvF32, bf16: gemvBf16, f16: gemvF16 };

/** Up to so many rows of A, reading the rows of a stored weight in place beats packing them (measured up to 16). */
export const FEW_TOKENS = 16;
/** Most bytes of a packed factor held at once: bounds scratch memory and keeps it in the last-level cache. */
const PACK_BYTES = 8 * 2 ** 20;
/** Work of one chunk at least, in elements to pack. */
const PACK_GRAIN = 16384;

const F32 = 4;
const panelsOf = (count: number, width: number): number => Math.ceil(count / width);

/** Packs `count` lines of an operand from line `first` on; a line is a row of A or a column of B. */
function pack(o: Operand, side: "a" | "b", first: number, count: number, k: number, to: number, flops: number): void {
  const width = side === "a" ? TILE_ROWS : TILE_COLUMNS;
  const [stride, kStride] = side === "a" ? [o.rowStride, o.colStride] : [o.colStride, o.rowStride];
  const start = o.ptr + first * stride * 2 ** shiftOf(o.type);
  const grain = Math.max(1, Math.ceil(PACK_GRAIN / (width * Math.max(1, k))));
  split(
    "gemm",
    PACK[o.type],
    `panels${width}`,
    [start, stride, kStride, count, k, to],
    panelsOf(count, width),
    grain,
    flops,
  );
}

/** Lines of k elements that fit `PACK_BYTES`, a multiple of both tile sides and of a row block. */
const linesAtOnce = (k: number): number => Math.max(64, Math.floor(PACK_BYTES / (F32 * Math.max(1, k)) / 64) * 64);

const packedBytes = (count: number, width: number, k: number): number => panelsOf(count, width) * width * k * F32;

/** C[m, n] = A[m, k] · B[k, n], or += with `accumulate`; sums in f32 by blocks of 256 along k. C must not overlap A or B. */
export function gemm(g: Gemm): void {
  const { m, n, k, a, b, c } = g;
  const ldc = g.ldc ?? n;
  if (m === 0 || n === 0) return;
  if (!("packed" in b) && isFewTokens(g, b)) {
    fewTokens(a.ptr, a.rowStride, m, b, n, k, c, ldc);
    return;
  }
  const flops = 2 * m * n * k;
  const rowsAtOnce = Math.min(m, linesAtOnce(k));
  const columnsAtOnce = "packed" in b ? n : Math.min(n, linesAtOnce(k));
  scratch(packedBytes(rowsAtOnce, TILE_ROWS, k), (pa) => {
    const withB = (pb: number, first: number, columns: number): void => {
      for (let row = 0; row < m; row += rowsAtOnce) {
        const rows = Math.min(rowsAtOnce, m - row);
        // A that fits at once stays packed over all chunks of B.
        if (rowsAtOnce < m || first === 0) pack(a, "a", row, rows, k, pa, flops);
        const args = [pa, pb, c + F32 * (row * ldc + first), ldc, rows, columns, k, g.accumulate ? 1 : 0];
        if (rows >= columns) split("gemm", gemmF32, "rows", args, panelsOf(rows, TILE_ROWS), 4, flops);
        else split("gemm", gemmF32, "columns", args, panelsOf(columns, TILE_COLUMNS), 2, flops);
      }
    };
    if ("packed" in b) {
      withB(b.ptr, 0, n);
      return;
    }
    scratch(packedBytes(columnsAtOnce, TILE_COLUMNS, k), (pb) => {
      for (let column = 0; column < n; column += columnsAtOnce) {
        const columns = Math.min(columnsAtOnce, n - column);
        pack(b, "b", column, columns, k, pb, flops);
        withB(pb, column, columns);
      }
    });
  });
}

/** X·W^T in place: few rows of a row-major f32 A, B's columns contiguous. */
const isFewTokens = (g: Gemm, b: Operand): boolean =>
  g.m <= FEW_TOKENS && g.a.type === "f32" && g.a.colStride === 1 && b.rowStride === 1 && !g.accumulate;

function fewTokens(
  x: number,
  ldx: number,
  tokens: number,
  w: Operand,
  out: number,
  width: number,
  y: number,
  ldy: number,
): void {
  const kernel = GEMV[w.type];
  const flops = 2 * tokens * out * width;
  const product = (from: number, stride: number): void =>
    split("gemv", kernel, "rows", [w.ptr, w.colStride, from, stride, width, y, ldy, tokens], out, GEMV_ROWS, flops);
  if (w.type === "f32") product(x, ldx);
  else {
    scratch(tokens * width * F32, (prepared) => {
      call(kernel, "prepare", x, ldx, width, tokens, prepared);
      product(prepared, width);
    });
  }
}

/** Packs B[k, n] for repeated use, in k * n f32 rounded up to 8 columns; `free` gives the bytes back. */
export function prepack(b: Operand, k: number, n: number): PackedB {
  const bytes = packedBytes(n, TILE_COLUMNS, k);
  const ptr = memory.alloc(bytes);
  pack(b, "b", 0, n, k, ptr, 2 * n * k);
  return { packed: true, ptr, k, n, bytes, free: () => memory.free(ptr) };
}

/**
 * Y[tokens, out] = X[tokens, in] · W[out, in]^T for row-major f32 X and Y and row-major stored weights.
 * Up to `FEW_TOKENS` tokens read W in place, once for all of them; more are packed. A token's result is the same for
 * every number of tokens up to `FEW_TOKENS`; beyond it sums are blocked otherwise and may differ in the last bits.
 */
export function linearForward(
  x: number,
  tokens: number,
  w: { readonly ptr: number; readonly type: ElementType },
  out: number,
  width: number,
  y: number,
): void {
  gemm({
    m: tokens,
    n: out,
    k: width,
    a: { ptr: x, type: "f32", rowStride: width, colStride: 1 },
    b: { ptr: w.ptr, type: w.type, rowStride: 1, colStride: width },
    c: y,
  });
}
