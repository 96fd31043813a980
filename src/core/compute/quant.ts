/**
 * Quantised weights over the engine's memory: dense in 4 or 8 bits with a scale for each group of inputs, whole or over
 * active inputs, and sparse in CSR or blocks of four outputs.
 *
 * Up to `FEW` tokens are multiplied in integers, one by one; more go through the dense product, chunk by chunk of outputs
 * that are written out in f32 for it (dense weights only). Results do not depend on the number of threads. Rounding
 * is the caller's decision: nothing here measures what it costs in quality, and no file format is known.
 */
import { convert } from "../../kernels/convert/index.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { gemvByInputInt4, gemvByInputInt8, gemvByInputUint4, gemvByInputUint8 } from "../../kernels/quant/byinput.ts";
import { BLOCK, batchBytes, blocksOf, byInputBytes, packByInput } from "../../kernels/quant/byinput-plain.ts";
import { checkGroup, type Quantised, type QuantType } from "../../kernels/quant/format.ts";
import { gemvInt4, gemvInt8, gemvUint4, gemvUint8, preparedBytes } from "../../kernels/quant/gemv.ts";
import { PANEL, packQuantised, panelBytes, panelsOf, quantisedBytes } from "../../kernels/quant/panel.ts";
import { quantiseStream, type SparseQuantType } from "../../kernels/quant/sparse-stream.ts";
import { spmvPreparedBytes, spmvQuant } from "../../kernels/quant/spmv.ts";
import { blockStream, evenCuts, GROUP, groupWork, MAX_COLUMNS } from "../../kernels/sparse/streams.ts";
import { call, memory, scratch } from "../engine.ts";
import { demand } from "../errors.ts";
import { gemm } from "./gemm.ts";
import { type ActiveInputs, overUnits, type StoredWeight, type VectorLayout } from "./vector.ts";

const KERNELS: Readonly<Record<VectorLayout, Readonly<Record<QuantType, Kernel>>>> = {
  panel: { int8: gemvInt8, uint8: gemvUint8, int4: gemvInt4, uint4: gemvUint4 },
  byinput: { int8: gemvByInputInt8, uint8: gemvByInputUint8, int4: gemvByInputInt4, uint4: gemvByInputUint4 },
};

/** Most tokens that are multiplied one by one. */
export const FEW = 8;
/** Most bytes of weights written out in f32 at once. */
const EXPAND_BYTES = 8 * 2 ** 20;

export interface QuantOptions {
  /** int8, int4: symmetric; uint8, uint4: with zero points */
  readonly type: QuantType;
  /** inputs that share a scale, a multiple of 8 up to 128; default 64 */
  readonly group?: number;
  /** `panel` for products with whole vectors (default), `byinput` for active inputs */
  readonly layout?: VectorLayout;
}

/** A quantised weight [out, in] in engine memory. */
export interface QuantMatrix {
  readonly type: QuantType;
  readonly layout: VectorLayout;
  readonly group: number;
  readonly out: number;
  readonly in: number;
  readonly ptr: number;
  readonly bytes: number;
  /** gives the memory back; the matrix must not be used afterwards */
  free(): void;
}

const UNITS: Readonly<Record<VectorLayout, { readonly outputs: number; of(out: number): number }>> = {
  panel: { outputs: PANEL, of: panelsOf },
  byinput: { outputs: BLOCK, of: blocksOf },
};

function room(type: QuantType, layout: VectorLayout, out: number, width: number, group: number): QuantMatrix {
  checkGroup(group);
  const bytes = (layout === "panel" ? quantisedBytes : byInputBytes)(type, out, width, group);
  const ptr = memory.alloc(bytes);
  return { type, layout, group, out, in: width, ptr, bytes, free: () => memory.free(ptr) };
}

/** Rounds a stored row-major weight of finite values. Throws a LacunaError for a group that no kernel knows. */
export function quantMatrix(w: StoredWeight, out: number, width: number, options: QuantOptions): QuantMatrix {
  const { type, group = 64, layout = "panel" } = options;
  const q = room(type, layout, out, width, group);
  const work = 4 * out * width;
  const quantise = (from: number): void =>
    overUnits(KERNELS[layout][type], "quantise", [from, width, q.ptr, out, width, group], UNITS[layout].of(out), work);
  if (w.type === "f32") quantise(w.ptr);
  else {
    scratch(4 * out * width, (wide) => {
      call(convert, w.type === "bf16" ? "bf16ToF32" : "f16ToF32", w.ptr, wide, 0, out * width);
      quantise(wide);
    });
  }
  return q;
}

/** Places codes, scales and zero points that come from elsewhere. */
export function quantMatrixOf(q: Quantised, layout: VectorLayout = "panel"): QuantMatrix {
  const matrix = room(q.type, layout, q.out, q.in, q.group);
  const packed = layout === "panel" ? packQuantised(q) : packByInput(q);
  memory.u8(matrix.ptr, packed.length).set(packed);
  return matrix;
}

/** Writes the weight [out, in] that a quantised one stands for, row-major f32, to `to`. */
export function expandQuant(w: QuantMatrix, to: number): void {
  const args = [w.ptr, to, w.in, w.out, w.in, w.group];
  overUnits(KERNELS[w.layout][w.type], "expand", args, UNITS[w.layout].of(w.out), 4 * w.out * w.in);
}

/** Y[tokens, out] = X[tokens, in] · W^T for a matrix of layout `panel`; row-major f32. */
export function quantForward(x: number, tokens: number, w: QuantMatrix, y: number): void {
  if (tokens === 0 || w.out === 0) return;
  const kernel = KERNELS.panel[w.type];
  if (tokens <= FEW) {
    scratch(tokens * preparedBytes(w.in, w.group), (prepared) => {
      call(kernel, "prepare", x, w.in, w.in, w.group, tokens, prepared);
      const args = [w.ptr, prepared, w.in, w.group, y, w.out, w.out, tokens];
      overUnits(kernel, "rows", args, panelsOf(w.out), 2 * tokens * w.out * w.in);
    });
    return;
  }
  const most = Math.max(PANEL, Math.floor(EXPAND_BYTES / (4 * Math.max(1, w.in)) / PANEL) * PANEL);
  scratch(4 * w.in * Math.min(most, w.out), (wide) => {
    for (let first = 0; first < w.out; first += most) {
      const out = Math.min(most, w.out - first);
      const from = w.ptr + panelBytes(w.type, w.in, w.group) * (first / PANEL);
      overUnits(kernel, "expand", [from, wide, w.in, out, w.in, w.group], panelsOf(out), 4 * out * w.in);
      gemm({
        m: tokens,
        n: out,
        k: w.in,
        a: { ptr: x, type: "f32", rowStride: w.in, colStride: 1 },
        b: { ptr: wide, type: "f32", rowStride: 1, colStride: w.in },
        c: y + 4 * first,
        ldc: w.out,
      });
    }
  });
}

/** y[out] = the active inputs' columns of W, weighted, for a matrix of layout `byinput`; the list is rising. */
export function quantActiveForward({ list, values, count }: ActiveInputs, w: QuantMatrix, y: number): void {
  const kernel = KERNELS.byinput[w.type];
  const blocks = blocksOf(w.out);
  const sumBytes = 4 * BLOCK * blocks;
  scratch(sumBytes + batchBytes(count), (sums) => {
    const batches = sums + sumBytes;
    const made = call(kernel, "list", list, values, count, w.group, batches);
    overUnits(kernel, "active", [w.ptr, batches, made, w.group, sums, y, w.out], blocks, 2 * count * w.out);
  });
}

export interface SparseQuantMatrix {
  readonly type: SparseQuantType;
  readonly format: "csr" | "block4x1";
  readonly out: number;
  readonly in: number;
  readonly bytes: number;
  /** bytes read for one token */
  readonly bytesPerToken: number;
  /** weights held, zeros inside of blocks and padding included */
  readonly stored: number;
  /** addresses of starts, runs, columns, codes, scales and cuts, and the number of pieces */
  readonly parts: readonly number[];
  free(): void;
}

const PIECES = 64;
const align = (bytes: number): number => Math.ceil(bytes / 64) * 64;

/** Rounds the non-zeros of a row-major weight [out, in], with a scale for each run of 32 entries of an output. */
export function sparseQuantMatrix(
  weights: Float32Array,
  out: number,
  width: number,
  format: "csr" | "block4x1",
  type: SparseQuantType,
): SparseQuantMatrix {
  demand(weights.length === out * width && width <= MAX_COLUMNS, () => ({
    about: "sparse weight",
    expected: `${out} x ${width} values and at most ${MAX_COLUMNS} input columns`,
    got: `${weights.length} values`,
    hint: "Pass the weight row by row, [out, in].",
  }));
  const rows = format === "csr" ? 1 : 4;
  const s = quantiseStream(blockStream(weights, out, width, rows), rows, type);
  const groups = Math.ceil(out / GROUP);
  const cuts = evenCuts(groupWork(s.starts, out, rows, 1), Math.max(1, Math.min(PIECES, groups)));
  const parts = [s.starts, s.runs, s.columns, s.codes, s.scales, cuts];
  const ptr = memory.alloc(parts.reduce((sum, part) => sum + align(part.byteLength), 0));
  let bytes = 0;
  const addresses = parts.map((part) => {
    const at = ptr + bytes;
    memory.u8(at, part.byteLength).set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
    bytes += align(part.byteLength);
    return at;
  });
  return {
    type,
    format,
    out,
    in: width,
    bytes,
    bytesPerToken: parts.slice(0, 5).reduce((sum, part) => sum + part.byteLength, 0),
    parts: [...addresses, cuts.length - 1],
    stored: s.values.length,
    free: () => memory.free(ptr),
  };
}

/** Y[tokens, out] = X[tokens, in] · W^T, token by token; row-major f32. */
export function sparseQuantForward(x: number, tokens: number, w: SparseQuantMatrix, y: number): void {
  const kernel = spmvQuant[w.type][w.format];
  const [starts, runs, columns, codes, scales, cuts, pieces] = w.parts;
  scratch(spmvPreparedBytes(w.in), (prepared) => {
    for (let t = 0; t < tokens; t++) {
      call(kernel, "prepare", x + 4 * t * w.in, w.in, prepared);
      const args = [starts, runs, columns, codes, scales, prepared, y + 4 * t * w.out, w.out, cuts];
      overUnits(kernel, "multiply", args, pieces, 2 * w.stored);
    }
  });
}
