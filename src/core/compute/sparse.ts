/**
 * Sparse weights over the engine's memory, in every layout of `kernels/sparse/layouts.ts`.
 *
 * Y[T, out] = X[T, in] W^T. A few tokens run one by one through the vector kernels, which read narrow values as they are;
 * more run in panels, packed and, for narrow values, expanded to f32 inside the call. Which kernel runs is a function of
 * shapes alone and no kernel's result depends on how its work is split, so the same call gives the same bits for any
 * number of threads.
 *
 * Blocks take any mask and then hold zeros. For one vector an unstructured mask up to 80 % is faster stored in 4x1 (where
 * 59 % of the blocks remain) than in CSR, and equal at 90 %; for many tokens CSR wins from 50 % on.
 * It knows nothing of tensors, and it trains nothing: values are fixed when the matrix is made.
 */
import { convert } from "../../kernels/convert/index.ts";
import { decode, type ElementType } from "../../kernels/dense/element.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { entrySize, LAYOUTS, type Layout, type LayoutName } from "../../kernels/sparse/layouts.ts";
import { expandUnit, spmmKernels } from "../../kernels/sparse/spmm.ts";
import { spmvKernels } from "../../kernels/sparse/spmv.ts";
import {
  bf16Place,
  blocksFit,
  evenCuts,
  GROUP,
  groupWork,
  halfValues,
  MAX_COLUMNS,
  nmSupported,
  nmViolation,
  STEP,
  streamOf,
} from "../../kernels/sparse/streams.ts";
import { memory, scratch, threads } from "../engine.ts";
import { demand } from "../errors.ts";
import { boundSplit, split } from "./split.ts";

export type SparseFormat = LayoutName;
export type SparseValues = ElementType;

export interface SparseOptions {
  /** columns kept of each `m`; for N:M only, default 2 */
  readonly n?: number;
  /** default 4 */
  readonly m?: number;
  /** stored type of the values; default bf16 or f16 where that needs no rounding, else f32 */
  readonly values?: SparseValues;
}

export interface SparseMatrix {
  readonly format: SparseFormat;
  readonly values: SparseValues;
  readonly out: number;
  readonly in: number;
  /** weights that are not zero */
  readonly nonZeros: number;
  /** weights held, the zeros inside of blocks and the padding included */
  readonly stored: number;
  /** bytes held in engine memory */
  readonly bytes: number;
  /** bytes read for one token */
  readonly bytesPerToken: number;
  readonly stream: StreamAt;
  /** gives the memory back; the matrix must not be used afterwards */
  free(): void;
}

/** Addresses of a stream's parts in engine memory. */
interface StreamAt {
  readonly values: number;
  readonly cuts: number;
  readonly pieces: number;
  /** 16-bit columns, or signed byte offsets for N:M */
  readonly index: number;
  readonly starts: number;
  readonly ends: number;
  readonly slots: number;
  readonly stride: number;
}

/**
 * Most tokens for which a layout repeats its vector kernel instead of packing a panel: measured on 1024 x 1024 at 50 and
 * 90 % and 576 x 192 at 50 %, with both types of values. One number for both types keeps their bits equal.
 */
const VECTOR_TOKENS: Readonly<Record<LayoutName, number>> = {
  csr: 2,
  block2x1: 2,
  block4x1: 3,
  block1x16: 5,
  nm1x1: 2,
  nm4x1: 3,
};

/** Ranges of about equal work into which the groups of a matrix are cut. */
const PIECES = 64;
/** Most bytes of packed activations held at once, unless a panel for each thread takes more. */
const ROOM_BYTES = 8 * 2 ** 20;

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64;

/**
 * Stores the non-zeros of a row-major weight [out, in]. Throws a LacunaError when the width exceeds 65,536 columns or
 * holds no block, the weight does not have the N:M pattern, or bf16 or f16 is asked for values that it would round.
 */
export function sparseMatrix(
  weights: Float32Array,
  out: number,
  width: number,
  format: SparseFormat,
  options: SparseOptions = {},
): SparseMatrix {
  const { n = 2, m = 4 } = options;
  const l = LAYOUTS[format];
  demand(weights.length === out * width, () => ({
    about: "sparse weight",
    expected: `${out} x ${width} values`,
    got: `${weights.length}`,
    hint: "Pass the weight row by row, [out, in].",
  }));
  demand(width <= MAX_COLUMNS, () => ({
    about: "sparse weight",
    expected: `at most ${MAX_COLUMNS} input columns`,
    got: `${width}`,
    hint: "Keep this layer dense.",
  }));
  demand(blocksFit(l.columns, width), () => ({
    about: `sparse weight [${out}, ${width}]`,
    expected: `at least ${l.columns} input columns for ${l.title}`,
    got: `${width}`,
    hint: "Store this layer in another layout.",
  }));
  if (l.index === "steps") checkNm(weights, out, width, n, m, l);
  const made = streamOf(l, weights, out, width, n, m);
  const types = options.values ? [options.values] : (["bf16", "f16", "f32"] as const);
  let stored: { type: SparseValues; values: Float32Array | Uint16Array } | undefined;
  for (const type of types) {
    const values = type === "f32" ? made.values : halfValues(made.values, type, l.halves);
    if (!values) continue;
    stored = { type, values };
    break;
  }
  demand(stored, () => ({
    about: "sparse weight",
    expected: `values that ${options.values} holds without rounding`,
    got: "values with more digits",
    hint: `Round the weight to ${options.values} first, or store its values as "f32".`,
  }));
  const { values } = stored;
  const groups = Math.ceil(out / GROUP);
  const pieces = Math.max(1, Math.min(PIECES, groups));
  const work =
    "slots" in made ? new Int32Array(groups).fill(made.slots * GROUP) : groupWork(made.starts, out, l.rows, l.columns);
  const cuts = evenCuts(work, pieces);
  const index = "slots" in made ? made.offsets : made.columns;
  const starts = "slots" in made ? new Int32Array(0) : made.starts;
  const ends = "slots" in made ? new Int32Array(0) : made.ends;
  const parts = [values, index, starts, ends, cuts];
  const offsets: number[] = [];
  let bytes = 0;
  for (const part of parts) {
    offsets.push(bytes);
    bytes += align(part.byteLength);
  }
  const ptr = memory.alloc(bytes);
  parts.forEach((part, i) => {
    memory.u8(ptr + offsets[i], part.byteLength).set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  });
  return {
    format,
    values: stored.type,
    out,
    in: width,
    nonZeros: made.nonZeros,
    stored: values.length,
    bytes,
    bytesPerToken: values.byteLength + index.byteLength + starts.byteLength,
    stream: {
      values: ptr + offsets[0],
      index: ptr + offsets[1],
      starts: ptr + offsets[2],
      ends: ptr + offsets[3],
      cuts: ptr + offsets[4],
      pieces,
      slots: "slots" in made ? made.slots : 0,
      stride: "slots" in made ? made.stride : 0,
    },
    free: () => memory.free(ptr),
  };
}

function checkNm(weights: Float32Array, out: number, width: number, n: number, m: number, l: Layout): void {
  const about = `${n}:${m} weight [${out}, ${width}]`;
  demand(width % m === 0, () => ({
    about,
    expected: `a width that ${m} divides`,
    got: `${width}`,
    hint: "Choose another pattern for this layer.",
  }));
  demand(nmSupported(n, m, width), () => ({
    about,
    expected: "1 <= N <= M, N a divisor of 4M, M at most 32 for N = 1 and 64 for N >= 4",
    got: `${n}:${m}`,
    hint: "Store this layer in 4x1 blocks, which take any mask.",
  }));
  const bad = nmViolation(weights, out, width, n, m, l.rows);
  demand(!bad, () => ({
    about,
    expected: `at most ${n} columns kept in each ${m}${l.rows > 1 ? ", the same for four rows" : ""}`,
    got: `more in ${l.rows > 1 ? "rows from" : "row"} ${bad?.row}, columns from ${bad?.column}`,
    hint: `Prune with the pattern ${n}:${m}${l.rows > 1 ? "@4x1" : ""} first.`,
  }));
}

/** Y[tokens, out] = X[tokens, in] W^T; X and Y are row-major f32 in engine memory and do not overlap. */
export function sparseForward(x: number, tokens: number, w: SparseMatrix, y: number): void {
  if (tokens === 0 || w.out === 0) return;
  if (tokens <= VECTOR_TOKENS[w.format]) vectors(x, tokens, w, y);
  else panels(x, tokens, w, y);
}

/** What `multiply` of the vector kernels takes, but for the range. */
function vectorArguments(x: number, w: SparseMatrix, y: number): number[] {
  const { values, index, starts, slots, stride, cuts } = w.stream;
  const operands = LAYOUTS[w.format].index === "steps" ? [slots, stride, index, values] : [starts, index, values];
  return [...operands, x, y, w.out, cuts];
}

function vectors(x: number, tokens: number, w: SparseMatrix, y: number): void {
  const kernel = spmvKernels[w.format][w.values];
  for (let t = 0; t < tokens; t++) {
    const args = vectorArguments(x + 4 * t * w.in, w, y + 4 * t * w.out);
    split("spmv", kernel, "multiply", args, w.stream.pieces, 1, 2 * w.stored);
  }
}

/** `sparseForward` of one token, settled beforehand. */
export function boundVector(x: number, w: SparseMatrix, y: number): () => void {
  if (w.out === 0) return () => {};
  const kernel = spmvKernels[w.format][w.values];
  return boundSplit("spmv", kernel, "multiply", vectorArguments(x, w, y), w.stream.pieces, 1, 2 * w.stored);
}

/** The widest panels that the tokens fill: once, or often enough for threads of uneven speed to share them out. */
function panelKernel(format: SparseFormat, tokens: number): { readonly kernel: Kernel; readonly width: number } {
  const all = spmmKernels[format];
  const least = threads() === 1 ? 1 : 4 * threads();
  return all.reduce((best, k) => (k.width * least <= tokens && k.width > best.width ? k : best), all[0]);
}

function panels(x: number, tokens: number, w: SparseMatrix, y: number): void {
  const { index, starts, ends, slots, stride, cuts, pieces } = w.stream;
  const l = LAYOUTS[w.format];
  const { kernel, width } = panelKernel(w.format, tokens);
  const total = Math.ceil(tokens / width);
  const flops = 2 * w.stored * tokens;
  // Each share of the work packs its panels itself, one after the other, into a room of its own.
  const roomBytes = align(4 * w.in * width);
  const byRows = total < 2 * threads();
  const units = byRows ? pieces : total;
  const most = byRows ? threads() : Math.max(threads(), Math.min(4 * threads(), Math.floor(ROOM_BYTES / roomBytes)));
  const share = Math.ceil(units / most);
  const expandedBytes = w.values === "f32" ? 0 : align(4 * w.stored);
  scratch(expandedBytes + roomBytes * Math.ceil(units / share), (scratched) => {
    const room = scratched + expandedBytes;
    const values = expandedBytes > 0 ? scratched : w.stream.values;
    if (w.values === "bf16")
      split("spmm", kernel, "expand", [w.stream.values, values], w.stored / expandUnit(l), 512, flops);
    if (w.values === "f16") split("spmm", convert, "f16ToF32", [w.stream.values, values], w.stored, 4096, flops);
    const operands = l.index === "steps" ? [slots, stride, index, values] : [starts, ends, index, values];
    const args = [...operands, x, room, share, y, tokens, w.in, w.out];
    if (byRows) split("spmm", kernel, "packByRows", [...args, cuts], pieces, share, flops);
    else split("spmm", kernel, "packByPanels", args, total, share, flops);
  });
}

/** The dense weight [out, in] that the matrix was made from, -0 as 0. */
export function toDense(w: SparseMatrix): Float32Array {
  const l = LAYOUTS[w.format];
  const { starts, ends, index, slots, stride } = w.stream;
  const dense = new Float32Array(w.out * w.in);
  const value = valueReader(w);
  const size = entrySize(l);
  const entries = w.stored / size;
  const units = Math.ceil(w.out / l.rows);
  const put = (unit: number, entry: number, column: number): void => {
    for (let i = 0; i < size; i++) {
      const v = value(entry * size + i);
      if (v !== 0) dense[(unit * l.rows + Math.floor(i / l.columns)) * w.in + column + (i % l.columns)] = v;
    }
  };
  if (l.index === "steps") {
    const offsets = new Int8Array(memory.u8(index, entries));
    for (let e = 0; e < entries; e++) {
      put(Math.floor(e / slots), e, Math.floor((e % slots) / STEP) * stride + offsets[e]);
    }
    return dense;
  }
  const from = memory.i32(starts, units + 1);
  const to = memory.i32(ends, units);
  const columns = memory.u16(index, entries);
  for (let u = 0; u < units; u++) for (let e = from[u]; e < to[u]; e++) put(u, e, columns[e]);
  return dense;
}

/** Reads the i-th value in the order of the f32 stream. */
function valueReader(w: SparseMatrix): (i: number) => number {
  if (w.values === "f32") {
    const values = memory.f32(w.stream.values, w.stored);
    return (i) => values[i];
  }
  const type = w.values;
  const values = memory.u16(w.stream.values, w.stored);
  const { halves } = LAYOUTS[w.format];
  return (i) => decode(type, values[type === "bf16" ? bf16Place(i, halves) : i]);
}
