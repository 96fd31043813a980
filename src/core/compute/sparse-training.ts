/**
 * A CSR weight under training, over the engine's memory: forward, input gradient, weight gradient at the stored places.
 *
 * The index is built from mask bits; values live with the caller, in the row stream's order, so that an optimiser steps
 * on them as on any array (rows are padded to four entries; padding has value 0 and gets gradient 0). dX runs on a
 * transposed index, made when it is first asked for, whose values are gathered from the row stream. Activations are
 * packed into panels of 16 tokens; a pack of X made for the forward pass serves the weight gradient, too. Results do not
 * depend on the number of threads. It knows nothing of tensors, masks over time, or optimisers.
 */

import { sddmmCsr } from "../../kernels/sparse/sddmm.ts";
import { spmmKernels } from "../../kernels/sparse/spmm.ts";
import { evenCuts, GROUP, MAX_COLUMNS, STEP } from "../../kernels/sparse/streams.ts";
import { call, memory, threads } from "../engine.ts";
import { demand } from "../errors.ts";
import { split } from "./split.ts";

/** Ranges of about equal work into which rows are cut. */
const PIECES = 64;
/** The kernel for panels of 16 tokens, the width that `sddmmCsr` reads. */
const { kernel: spmm, width: WIDTH } = spmmKernels.csr[0];
/** Values that a thread gathers at a time. */
const GATHER = 1 << 14;

/** Addresses of a stream's index in engine memory. */
interface Rows {
  readonly starts: number;
  readonly ends: number;
  readonly columns: number;
  readonly cuts: number;
  readonly pieces: number;
}

interface Transposed extends Rows {
  /** place in the row stream of each entry */
  readonly order: number;
  readonly values: number;
  readonly bytes: number;
  readonly ptr: number;
}

/** Copies arrays one after the other into new memory; returns their addresses. */
function place(parts: readonly (Int32Array | Uint16Array)[], room = 0): { ptr: number; at: number[]; bytes: number } {
  const at: number[] = [];
  let bytes = 0;
  for (const p of parts) {
    at.push(bytes);
    bytes += Math.ceil(p.byteLength / 64) * 64;
  }
  at.push(bytes);
  bytes += room;
  const ptr = memory.alloc(bytes);
  parts.forEach((p, i) => {
    memory.u8(ptr + at[i], p.byteLength).set(new Uint8Array(p.buffer, p.byteOffset, p.byteLength));
  });
  return { ptr, at: at.map((a) => ptr + a), bytes };
}

function cutRows(counts: Int32Array): Int32Array {
  const groups = Math.ceil(counts.length / GROUP);
  const work = new Int32Array(groups);
  counts.forEach((n, r) => {
    work[Math.floor(r / GROUP)] += n;
  });
  return evenCuts(work, Math.max(1, Math.min(PIECES, groups)));
}

/** Bytes of activations [tokens, width] in panels. */
export const packedBytes = (tokens: number, width: number): number => 4 * width * STEP * Math.ceil(tokens / STEP);

/** Packs X[tokens, width] into panels at `packed`. */
export function packActivations(x: number, tokens: number, width: number, packed: number): void {
  split("spmm", spmm, "pack", [x, packed, tokens, width], Math.ceil(tokens / WIDTH), 1, 2 * tokens * width);
}

export class SparseTraining {
  readonly out: number;
  readonly in: number;
  readonly nonZeros: number;
  /** entries of the row stream, padding included: how many values the caller holds */
  readonly stored: number;
  readonly #rows: Rows;
  readonly #ptr: number;
  readonly #bytes: number;
  #transposed: Transposed | undefined;
  #stale = true;

  /** `bits` [out, in], 1 = stored. Throws a LacunaError for more than 65,536 columns or rows. */
  constructor(bits: Uint8Array, out: number, width: number) {
    demand(width <= MAX_COLUMNS && out <= MAX_COLUMNS, () => ({
      about: "sparse weight in training",
      expected: `at most ${MAX_COLUMNS} inputs and outputs`,
      got: `[${out}, ${width}]`,
      hint: "Keep this layer masked.",
    }));
    if (bits.length !== out * width) throw new Error(`sparse weight: ${bits.length} bits for [${out}, ${width}]`);
    this.out = out;
    this.in = width;
    const starts = new Int32Array(out + 1);
    const ends = new Int32Array(out);
    const counts = new Int32Array(out);
    for (let r = 0; r < out; r++) {
      let n = 0;
      for (let i = r * width; i < (r + 1) * width; i++) n += bits[i];
      counts[r] = n;
      ends[r] = starts[r] + n;
      starts[r + 1] = starts[r] + Math.ceil(n / STEP) * STEP;
    }
    const columns = new Uint16Array(starts[out]);
    for (let r = 0; r < out; r++) {
      let e = starts[r];
      for (let k = 0; k < width; k++) if (bits[r * width + k] !== 0) columns[e++] = k;
      if (e > starts[r]) columns.fill(columns[e - 1], e, starts[r + 1]);
    }
    const cuts = cutRows(counts);
    const { ptr, at, bytes } = place([starts, ends, columns, cuts]);
    this.#ptr = ptr;
    this.#bytes = bytes;
    this.#rows = { starts: at[0], ends: at[1], columns: at[2], cuts: at[3], pieces: cuts.length - 1 };
    this.stored = starts[out];
    this.nonZeros = counts.reduce((a, b) => a + b, 0);
  }

  /** Bytes of the index, the transposed one with its values included once it is there. */
  get bytes(): number {
    return this.#bytes + (this.#transposed?.bytes ?? 0);
  }

  /** Calls `f(place in the row stream, flat index)` for each stored weight, in order. */
  forEach(f: (entry: number, flat: number) => void): void {
    const { starts, ends, columns } = this.#rows;
    const from = memory.i32(starts, this.out + 1);
    const to = memory.i32(ends, this.out);
    const column = memory.u16(columns, this.stored);
    for (let r = 0; r < this.out; r++) for (let e = from[r]; e < to[r]; e++) f(e, r * this.in + column[e]);
  }

  /**
   * Y[tokens, out] = X W^T from packed X; values and Y are addresses. Tells the matrix that its values may have changed
   * since the last input gradient.
   */
  forward(packed: number, tokens: number, values: number, y: number): void {
    this.#stale = true;
    this.#multiply(this.#rows, values, packed, tokens, this.in, this.out, y);
  }

  /** dX[tokens, in] = dY W from packed dY. */
  inputGradient(packedDy: number, tokens: number, values: number, dx: number): void {
    const t = this.#transpose();
    if (this.#stale)
      split("spmm", sddmmCsr, "gather", [values, t.order, t.values], this.nonZeros, GATHER, 16 * this.nonZeros);
    this.#stale = false;
    this.#multiply(t, t.values, packedDy, tokens, this.out, this.in, dx);
  }

  /** Gradient of each stored value from packed X and packed dY, whose lanes beyond the last token become 0. */
  weightGradient(packedX: number, packedDy: number, tokens: number, g: number): void {
    const { starts, ends, columns, cuts, pieces } = this.#rows;
    if (tokens % STEP !== 0) call(sddmmCsr, "clearTail", packedDy, tokens, this.out);
    const args = [starts, ends, columns, g, packedX, packedDy, tokens, this.in, this.out, cuts];
    split("spmm", sddmmCsr, "rows", args, pieces, 1, 2 * this.stored * tokens);
  }

  free(): void {
    memory.free(this.#ptr);
    if (this.#transposed) memory.free(this.#transposed.ptr);
    this.#transposed = undefined;
  }

  #multiply(s: Rows, values: number, packed: number, tokens: number, width: number, out: number, y: number): void {
    const panels = Math.ceil(tokens / WIDTH);
    const flops = 2 * this.stored * tokens;
    const args = [s.starts, s.ends, s.columns, values, packed, y, tokens, width, out];
    if (panels >= 2 * threads()) split("spmm", spmm, "byPanels", args, panels, 1, flops);
    else split("spmm", spmm, "byRows", [...args, s.cuts], s.pieces, 1, flops);
  }

  #transpose(): Transposed {
    if (this.#transposed) return this.#transposed;
    const width = this.in;
    const counts = new Int32Array(width);
    this.forEach((_, flat) => {
      counts[flat % width]++;
    });
    const starts = new Int32Array(width + 1);
    for (let k = 0; k < width; k++) starts[k + 1] = starts[k] + counts[k];
    const next = starts.slice(0, width);
    const rows = new Uint16Array(this.nonZeros);
    const order = new Int32Array(this.nonZeros);
    this.forEach((entry, flat) => {
      const row = Math.floor(flat / width);
      const e = next[flat - row * width]++;
      rows[e] = row;
      order[e] = entry;
    });
    const cuts = cutRows(counts);
    const { ptr, at, bytes } = place([starts, rows, cuts, order], 4 * this.nonZeros);
    this.#transposed = {
      starts: at[0],
      // Without padding a row ends where the next one starts.
      ends: at[0] + 4,
      columns: at[1],
      cuts: at[2],
      pieces: cuts.length - 1,
      order: at[3],
      values: at[4],
      bytes,
      ptr,
    };
    return this.#transposed;
  }
}
