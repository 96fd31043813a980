/**
 * Run-time streams: the non-zeros of a dense weight [out, in] in the order in which the kernels read them.
 *
 * They are rebuilt whenever a model is loaded and are never stored. Three layouts:
 *
 * - CSR. Row r owns the entries starts[r] .. ends[r]: `columns` (u16) and `values`.
 * - Block 4x1. Group g is the outputs 4g .. 4g+3. It owns the blocks starts[g] .. ends[g]: one column (u16) and four
 *   values each, one for every output; a block is stored when any of the four is not zero. Outputs beyond the last
 *   are zeros in a ragged last group. Any mask can be stored so, at the price of the zeros inside of blocks.
 * - N:M shared by 4 rows. Every group has `slots` blocks, N for each run of M columns, so there are no starts. Slots
 *   come in steps of four; a step advances by `stride` = 4M/N columns, and `offsets` (i8) are columns relative to its
 *   first one. A run that keeps fewer than N columns repeats a position with zero weights.
 *
 * Rows (groups) are padded to a multiple of four entries so that the vector kernels need no remainder: the padding
 * repeats the last column with weight zero and lies between `ends` and the next `starts`. An infinite or NaN
 * activation meets those zeros as it would meet the zeros of a dense weight.
 *
 * Values are f32. For bf16, CSR values keep their order, and blocks are interleaved in pairs ([a0 b0 a1 b1 a2 b2 a3
 * b3]), so that one 16-byte load gives two blocks with one more operation each. Zero means equal to zero: -0 is dropped.
 */

/** Outputs in a group. */
export const GROUP = 4;
/** Rows and groups are padded to this many entries. */
export const STEP = 4;
/** Columns must fit in 16 bits. */
export const MAX_COLUMNS = 65536;

interface Shape {
  readonly out: number;
  readonly in: number;
  /** weights that are not zero */
  readonly nonZeros: number;
}

export interface CsrStream extends Shape {
  /** out + 1 entry numbers, each a multiple of 4 */
  readonly starts: Int32Array;
  /** out entry numbers: where the row's own entries stop */
  readonly ends: Int32Array;
  readonly columns: Uint16Array;
  readonly values: Float32Array;
}

export interface BlockStream extends Shape {
  /** groups + 1 block numbers, each a multiple of 4 */
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly columns: Uint16Array;
  /** [blocks, 4] */
  readonly values: Float32Array;
}

export interface NmStream extends Shape {
  readonly n: number;
  readonly m: number;
  /** blocks of a group, a multiple of 4 */
  readonly slots: number;
  /** columns from one step of four slots to the next */
  readonly stride: number;
  /** [groups, slots] */
  readonly offsets: Int8Array;
  /** [groups, slots, 4] */
  readonly values: Float32Array;
}

const padded = (count: number): number => Math.ceil(count / STEP) * STEP;
const groupsOf = (out: number): number => Math.ceil(out / GROUP);

function check(weights: Float32Array, out: number, width: number): void {
  if (weights.length !== out * width) throw new Error(`stream: ${weights.length} weights, expected ${out} x ${width}`);
  if (width > MAX_COLUMNS) throw new Error(`stream: ${width} columns, at most ${MAX_COLUMNS} fit a 16-bit index`);
}

export function csrStream(weights: Float32Array, out: number, width: number): CsrStream {
  check(weights, out, width);
  const starts = new Int32Array(out + 1);
  const ends = new Int32Array(out);
  let nonZeros = 0;
  for (let r = 0; r < out; r++) {
    let count = 0;
    for (let k = 0; k < width; k++) if (weights[r * width + k] !== 0) count++;
    nonZeros += count;
    ends[r] = starts[r] + count;
    starts[r + 1] = starts[r] + padded(count);
  }
  const columns = new Uint16Array(starts[out]);
  const values = new Float32Array(starts[out]);
  for (let r = 0; r < out; r++) {
    let at = starts[r];
    for (let k = 0; k < width; k++) {
      const w = weights[r * width + k];
      if (w === 0) continue;
      columns[at] = k;
      values[at++] = w;
    }
    if (at > starts[r]) columns.fill(columns[at - 1], at, starts[r + 1]);
  }
  return { out, in: width, nonZeros, starts, ends, columns, values };
}

/** Calls `keep(g, k, w0, w1, w2, w3)` for each column k of group g with a weight that is not zero. */
function forEachBlock(
  weights: Float32Array,
  out: number,
  width: number,
  keep: (g: number, k: number, block: Float32Array) => void,
): number {
  const block = new Float32Array(GROUP);
  let nonZeros = 0;
  for (let g = 0; g < groupsOf(out); g++) {
    const rows = Math.min(GROUP, out - g * GROUP);
    for (let k = 0; k < width; k++) {
      let count = 0;
      for (let q = 0; q < rows; q++) {
        block[q] = weights[(g * GROUP + q) * width + k];
        if (block[q] === 0) block[q] = 0;
        else count++;
      }
      for (let q = rows; q < GROUP; q++) block[q] = 0;
      if (count > 0) keep(g, k, block);
      nonZeros += count;
    }
  }
  return nonZeros;
}

export function blockStream(weights: Float32Array, out: number, width: number): BlockStream {
  check(weights, out, width);
  const groups = groupsOf(out);
  const counts = new Int32Array(groups);
  const nonZeros = forEachBlock(weights, out, width, (g) => counts[g]++);
  const starts = new Int32Array(groups + 1);
  const ends = new Int32Array(groups);
  for (let g = 0; g < groups; g++) {
    ends[g] = starts[g] + counts[g];
    starts[g + 1] = starts[g] + padded(counts[g]);
  }
  const columns = new Uint16Array(starts[groups]);
  const values = new Float32Array(starts[groups] * GROUP);
  const next = starts.slice(0, groups);
  forEachBlock(weights, out, width, (g, k, block) => {
    columns[next[g]] = k;
    values.set(block, next[g]++ * GROUP);
  });
  for (let g = 0; g < groups; g++) {
    if (next[g] > starts[g]) columns.fill(columns[next[g] - 1], next[g], starts[g + 1]);
  }
  return { out, in: width, nonZeros, starts, ends, columns, values };
}

/**
 * Whether the kernels know N:M: 1 <= N <= M, M divides the width, N divides 4M (the stride is whole), and a slot is at
 * most 127 columns from its step's first one, which is M (1 + 3/N) <= 128.
 */
export const nmSupported = (n: number, m: number, width: number): boolean =>
  Number.isInteger(n) && n >= 1 && n <= m && width % m === 0 && (4 * m) % n === 0 && m * (n + 3) <= 128 * n;

/** The first output and column of a run in which a group keeps more than n columns; undefined when all is well. */
export function nmViolation(
  weights: Float32Array,
  out: number,
  width: number,
  n: number,
  m: number,
): { readonly row: number; readonly column: number } | undefined {
  const kept = new Uint8Array(groupsOf(out) * (width / m));
  let first: { row: number; column: number } | undefined;
  forEachBlock(weights, out, width, (g, k) => {
    const run = Math.floor(k / m);
    if (++kept[g * (width / m) + run] > n) first ??= { row: g * GROUP, column: run * m };
  });
  return first;
}

/** Stream of a weight that keeps at most n of each m consecutive columns, the same for the 4 outputs of a group. */
export function nmStream(weights: Float32Array, out: number, width: number, n: number, m: number): NmStream {
  check(weights, out, width);
  if (!nmSupported(n, m, width)) throw new Error(`stream: no kernel for ${n}:${m} on ${width} columns`);
  if (nmViolation(weights, out, width, n, m))
    throw new Error(`stream: the weight is not ${n}:${m} by groups of 4 rows`);
  const groups = groupsOf(out);
  const used = (width / m) * n;
  const slots = padded(used);
  const stride = (4 * m) / n;
  const columns = new Int32Array(groups * slots);
  const values = new Float32Array(groups * slots * GROUP);
  const runs = width / m;
  const kept = new Uint8Array(groups * runs);
  // A slot that stays unused points at its run's first column, padding at that of the last run.
  for (let g = 0; g < groups; g++) {
    for (let s = 0; s < slots; s++) columns[g * slots + s] = Math.floor(Math.min(s, used - 1) / n) * m;
  }
  const nonZeros = forEachBlock(weights, out, width, (g, k, block) => {
    const run = Math.floor(k / m);
    const slot = g * slots + run * n + kept[g * runs + run]++;
    columns[slot] = k;
    values.set(block, slot * GROUP);
  });
  const offsets = Int8Array.from(columns, (k, i) => k - Math.floor((i % slots) / STEP) * stride);
  return { out, in: width, nonZeros, n, m, slots, stride, offsets, values };
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** bf16 of a value that is one already; NaN when it is not. */
function exactBf16(value: number): number {
  float[0] = value;
  return (bits[0] & 0xffff) === 0 ? bits[0] >>> 16 : Number.NaN;
}

/**
 * The values as bf16 without rounding, in order (CSR) or with blocks interleaved in pairs; undefined when one of them
 * is no bf16 number.
 */
export function bf16Values(values: Float32Array, order: "plain" | "pairs"): Uint16Array | undefined {
  const result = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const half = exactBf16(values[i]);
    if (Number.isNaN(half)) return undefined;
    const at = order === "plain" ? i : (i & ~7) + 2 * (i & 3) + ((i >> 2) & 1);
    result[at] = half;
  }
  return result;
}

/**
 * Borders of `pieces` ranges of groups of four outputs with about equal work: pieces + 1 group numbers from 0 to
 * `work.length`. A group counts its entries and a little for its own overhead.
 */
export function evenCuts(work: ArrayLike<number>, pieces: number): Int32Array {
  const overhead = 4;
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
