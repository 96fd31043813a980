/**
 * Run-time streams: the non-zeros of a dense weight [out, in] in the order in which the kernels read them.
 *
 * They are rebuilt whenever a model is loaded and are never stored. Two kinds:
 *
 * - Blocks of r outputs x s inputs (CSR is 1x1). Unit u is the outputs ru .. ru + r - 1. It owns the entries starts[u] ..
 *   ends[u]: one column (u16) and r s values each; an entry is stored when any of them is not zero. Outputs beyond the
 *   last are zeros in a ragged last unit. Any mask can be stored so, at the price of the zeros inside of blocks. Blocks
 *   of s > 1 inputs start at multiples of s; the last one of a width that s does not divide starts at `in` - s and holds
 *   zeros where it overlaps the one before.
 * - N:M, by outputs or shared by 4. Every unit has `slots` entries, N for each run of M columns, so there are no starts.
 *   Slots come in steps of four; a step advances by `stride` = 4M/N columns, and `offsets` (i8) are columns relative to
 *   its first one. A run that keeps fewer than N columns repeats a position with zero weights.
 *
 * Units are padded to a multiple of four entries (not for s > 1) so that the vector kernels need no remainder: the padding
 * repeats the last column with weight zero and lies between `ends` and the next `starts`. An infinite or NaN
 * activation meets those zeros as it would meet the zeros of a dense weight.
 *
 * Values are f32, or bf16 or f16 where that needs no rounding, see `halfValues`. Zero means equal to zero: -0 is dropped.
 */

import { decode, encodeOne } from "../dense/element.ts";
import type { Layout } from "./layouts.ts";

/** Outputs in a group, the unit in which work is split. */
export const GROUP = 4;
/** Units are padded to this many entries. */
export const STEP = 4;
/** Largest finite numbers. */
const MOST_HALF = { bf16: Number.MAX_VALUE, f16: 65504 } as const;
/** Columns must fit in 16 bits. */
export const MAX_COLUMNS = 65536;

interface Shape {
  readonly out: number;
  readonly in: number;
  /** weights that are not zero */
  readonly nonZeros: number;
}

export interface BlockStream extends Shape {
  /** units + 1 entry numbers, each a multiple of 4 where entries have one column */
  readonly starts: Int32Array;
  /** where the unit's own entries stop */
  readonly ends: Int32Array;
  readonly columns: Uint16Array;
  /** [entries, outputs of a block, inputs of a block] */
  readonly values: Float32Array;
}

/** Blocks of one weight; units are outputs. */
export type CsrStream = BlockStream;

export interface NmStream extends Shape {
  readonly n: number;
  readonly m: number;
  /** entries of a unit, a multiple of 4 */
  readonly slots: number;
  /** columns from one step of four slots to the next */
  readonly stride: number;
  /** [units, slots] */
  readonly offsets: Int8Array;
  /** [units, slots, outputs of a unit] */
  readonly values: Float32Array;
}

const padded = (count: number): number => Math.ceil(count / STEP) * STEP;
const groupsOf = (out: number): number => Math.ceil(out / GROUP);

function check(weights: Float32Array, out: number, width: number): void {
  if (weights.length !== out * width) throw new Error(`stream: ${weights.length} weights, expected ${out} x ${width}`);
  if (width > MAX_COLUMNS) throw new Error(`stream: ${width} columns, at most ${MAX_COLUMNS} fit a 16-bit index`);
}

/** Weights of a matrix in blocks. */
interface Blocked {
  readonly weights: Float32Array;
  readonly out: number;
  readonly width: number;
  readonly rows: number;
  readonly columns: number;
}

/**
 * Calls `keep(unit, first column, block)` for each block with a weight that is not zero, unit by unit; the block is
 * reused. Returns the number of weights that are not zero.
 */
function forEachBlock(b: Blocked, keep: (unit: number, column: number, block: Float32Array) => void): number {
  const { weights, out, width, rows, columns } = b;
  const block = new Float32Array(rows * columns);
  let nonZeros = 0;
  for (let top = 0; top < out; top += rows) {
    const live = Math.min(rows, out - top);
    for (let left = 0; left < width; left += columns) {
      const first = Math.max(0, Math.min(left, width - columns));
      let count = 0;
      block.fill(0);
      for (let q = 0; q < live; q++) {
        const row = (top + q) * width;
        for (let k = left; k < Math.min(width, left + columns); k++) {
          const w = weights[row + k];
          if (w === 0) continue;
          block[q * columns + k - first] = w;
          count++;
        }
      }
      if (count > 0) keep(top / rows, first, block);
      nonZeros += count;
    }
  }
  return nonZeros;
}

/** Whether blocks of so many inputs fit a weight of this width: a narrower one has no room for one. */
export const blocksFit = (columns: number, width: number): boolean => columns === 1 || width >= columns;

/** Stream of a weight in blocks of `rows` outputs x `columns` inputs. */
export function blockStream(
  weights: Float32Array,
  out: number,
  width: number,
  rows: number = GROUP,
  columns = 1,
): BlockStream {
  check(weights, out, width);
  if (!blocksFit(columns, width)) throw new Error(`stream: blocks of ${columns} inputs on ${width} columns`);
  const blocked = { weights, out, width, rows, columns };
  const units = Math.ceil(out / rows);
  const size = rows * columns;
  const counts = new Int32Array(units);
  const nonZeros = forEachBlock(blocked, (u) => counts[u]++);
  const starts = new Int32Array(units + 1);
  const ends = new Int32Array(units);
  for (let u = 0; u < units; u++) {
    ends[u] = starts[u] + counts[u];
    starts[u + 1] = starts[u] + (columns === 1 ? padded(counts[u]) : counts[u]);
  }
  const at = new Uint16Array(starts[units]);
  const values = new Float32Array(starts[units] * size);
  const next = starts.slice(0, units);
  forEachBlock(blocked, (u, column, block) => {
    at[next[u]] = column;
    values.set(block, next[u]++ * size);
  });
  for (let u = 0; u < units; u++) if (next[u] > starts[u]) at.fill(at[next[u] - 1], next[u], starts[u + 1]);
  return { out, in: width, nonZeros, starts, ends, columns: at, values };
}

export const csrStream = (weights: Float32Array, out: number, width: number): CsrStream =>
  blockStream(weights, out, width, 1);

/** Share of the blocks of `rows` x `columns` that hold a weight other than 0; a ragged block counts as one. */
export function blockDensity(weights: Float32Array, out: number, width: number, rows: number, columns: number): number {
  let live = 0;
  forEachBlock({ weights, out, width, rows, columns }, () => live++);
  return live / Math.max(1, Math.ceil(out / rows) * Math.ceil(width / columns));
}

/**
 * Whether the kernels know N:M: 1 <= N <= M, M divides the width, N divides 4M (the stride is whole), and a slot is at
 * most 127 columns from its step's first one, which is M (1 + 3/N) <= 128.
 */
export const nmSupported = (n: number, m: number, width: number): boolean =>
  Number.isInteger(n) && n >= 1 && n <= m && width % m === 0 && (4 * m) % n === 0 && m * (n + 3) <= 128 * n;

/** The first output and column of a run in which a unit of `rows` outputs keeps more than n columns, if any does. */
export function nmViolation(
  weights: Float32Array,
  out: number,
  width: number,
  n: number,
  m: number,
  rows: number = GROUP,
): { readonly row: number; readonly column: number } | undefined {
  const runs = width / m;
  const kept = new Uint8Array(Math.ceil(out / rows) * runs);
  let first: { row: number; column: number } | undefined;
  forEachBlock({ weights, out, width, rows, columns: 1 }, (u, k) => {
    const run = Math.floor(k / m);
    if (++kept[u * runs + run] > n) first ??= { row: u * rows, column: run * m };
  });
  return first;
}

/** Stream of a weight that keeps at most n of each m consecutive columns, the same for the `rows` outputs of a unit. */
export function nmStream(
  weights: Float32Array,
  out: number,
  width: number,
  n: number,
  m: number,
  rows: number = GROUP,
): NmStream {
  check(weights, out, width);
  if (!nmSupported(n, m, width)) throw new Error(`stream: no kernel for ${n}:${m} on ${width} columns`);
  if (nmViolation(weights, out, width, n, m, rows))
    throw new Error(`stream: the weight is not ${n}:${m} by units of ${rows} outputs`);
  const units = Math.ceil(out / rows);
  const used = (width / m) * n;
  const slots = padded(used);
  const stride = (4 * m) / n;
  const columns = new Int32Array(units * slots);
  const values = new Float32Array(units * slots * rows);
  const runs = width / m;
  const kept = new Uint8Array(units * runs);
  // A slot that stays unused points at its run's first column, padding at that of the last run.
  for (let u = 0; u < units; u++) {
    for (let s = 0; s < slots; s++) columns[u * slots + s] = Math.floor(Math.min(s, used - 1) / n) * m;
  }
  const nonZeros = forEachBlock({ weights, out, width, rows, columns: 1 }, (u, k, block) => {
    const run = Math.floor(k / m);
    const slot = u * slots + run * n + kept[u * runs + run]++;
    columns[slot] = k;
    values.set(block, slot * rows);
  });
  const offsets = Int8Array.from(columns, (k, i) => k - Math.floor((i % slots) / STEP) * stride);
  return { out, in: width, nonZeros, n, m, slots, stride, offsets, values };
}

/** Where the i-th value stands among the bf16 ones; f16 values stay in order. */
export const bf16Place = (i: number, order: "plain" | "pairs"): number =>
  order === "plain" ? i : (i & ~7) + 2 * (i & 3) + ((i >> 2) & 1);

/**
 * The values in two bytes each without rounding: f16 in order; bf16 in order or with each eight interleaved
 * ([0 4 1 5 2 6 3 7]: a 32-bit lane holds two values, and one 16-byte load gives two vectors with one more operation
 * each). Undefined when one of them is no number of that type.
 */
export function halfValues(
  values: Float32Array,
  type: "bf16" | "f16",
  order: "plain" | "pairs",
): Uint16Array | undefined {
  const result = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const bits = encodeOne(type, values[i]);
    if (!(Math.abs(values[i]) <= MOST_HALF[type]) || decode(type, bits) !== values[i]) return undefined;
    result[type === "bf16" ? bf16Place(i, order) : i] = bits;
  }
  return result;
}

/**
 * Borders of `pieces` ranges of groups of four outputs with about equal work: pieces + 1 group numbers from 0 to
 * `work.length`. A group counts its values and a little for its own overhead.
 */
export function evenCuts(work: ArrayLike<number>, pieces: number): Int32Array {
  const overhead = 16;
  let total = 0;
  for (let g = 0; g < work.length; g++) total += work[g] + overhead;
  const cuts = new Int32Array(pieces + 1);
  let done = 0;
  let piece = 1;
  for (let g = 0; g < work.length; g++) {
    done += work[g] + overhead;
    while (piece < pieces && done * pieces >= total * piece) cuts[piece++] = g + 1;
  }
  cuts.fill(work.length, piece);
  return cuts;
}

/** Values held for each group of four outputs, for `evenCuts`. */
export function groupWork(starts: Int32Array, out: number, rows: number, columns: number): Int32Array {
  const units = starts.length - 1;
  const each = GROUP / rows;
  return Int32Array.from(
    { length: groupsOf(out) },
    (_, g) => (starts[Math.min(units, (g + 1) * each)] - starts[g * each]) * rows * columns,
  );
}

export type Stream = BlockStream | NmStream;

/** The stream of a weight in a layout; `n` and `m` are for N:M alone. */
export function streamOf(
  l: Pick<Layout, "rows" | "columns" | "index">,
  weights: Float32Array,
  out: number,
  width: number,
  n: number,
  m: number,
): Stream {
  return l.index === "columns"
    ? blockStream(weights, out, width, l.rows, l.columns)
    : nmStream(weights, out, width, n, m, l.rows);
}
