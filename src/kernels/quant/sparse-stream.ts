/**
 * Quantised streams of sparse weights, in plain TypeScript: CSR or blocks of four outputs (kernels/sparse/streams.ts), whose
 * values are whole numbers of 4 or 8 bits.
 *
 * A run of up to 32 entries of a unit, which lie along the inputs, shares one scale for each of its outputs. Codes are
 * symmetric and signed: a zero point would have to be multiplied with activations that are gathered. Units begin a new
 * run, and their entries are padded to 8 (blocks) or 16 (CSR) with zero codes at the last column.
 *
 * Codes lie as one 16-bit product reads them. Blocks, 8 bits: two blocks in 8 bytes, [output][2]. Blocks, 4 bits: eight in
 * 16 bytes, eight 16-bit words [output][2] of which nibble p belongs to blocks 2p and 2p + 1. CSR, 8 bits: in order. CSR,
 * 4 bits: sixteen in 8 bytes, the low halves of the bytes first.
 */

import type { BlockStream } from "../sparse/streams.ts";
import { nearest, scaleOf } from "./format.ts";

/** Entries that share a scale. */
export const RUN = 32;

export type SparseQuantType = "int8" | "int4";

export interface QuantStream {
  readonly type: SparseQuantType;
  readonly out: number;
  readonly in: number;
  /** outputs of a unit */
  readonly rows: 1 | 4;
  /** units + 1 entry numbers */
  readonly starts: Int32Array;
  /** units + 1 run numbers */
  readonly runs: Int32Array;
  readonly columns: Uint16Array;
  readonly codes: Uint8Array;
  /** [runs, outputs of a unit] */
  readonly scales: Float32Array;
  /** [entries, outputs of a unit]: the weights that codes stand for */
  readonly values: Float32Array;
}

export const padding = (rows: 1 | 4): number => (rows === 4 ? 8 : 16);

/** Where the code of output q of entry e lies: its byte, and in a byte of two codes its shift. */
function place(type: SparseQuantType, rows: 1 | 4, e: number, q: number): { byte: number; shift: number } {
  if (rows === 1) {
    if (type === "int8") return { byte: e, shift: 0 };
    return { byte: 8 * (e >> 4) + (e & 7), shift: 4 * ((e >> 3) & 1) };
  }
  if (type === "int8") return { byte: 8 * (e >> 1) + 2 * q + (e & 1), shift: 0 };
  const p = (e >> 1) & 3;
  return { byte: 16 * (e >> 3) + 2 * (2 * q + (e & 1)) + (p >> 1), shift: 4 * (p & 1) };
}

/** Quantises a stream whose units have `rows` outputs. */
export function quantiseStream(s: BlockStream, rows: 1 | 4, type: SparseQuantType): QuantStream {
  const units = s.starts.length - 1;
  const step = padding(rows);
  const starts = new Int32Array(units + 1);
  const runs = new Int32Array(units + 1);
  for (let u = 0; u < units; u++) {
    const count = s.ends[u] - s.starts[u];
    starts[u + 1] = starts[u] + Math.ceil(count / step) * step;
    runs[u + 1] = runs[u] + Math.ceil(count / RUN);
  }
  const entries = starts[units];
  const columns = new Uint16Array(entries);
  const codes = new Uint8Array((entries * rows * (type === "int8" ? 8 : 4)) / 8);
  const scales = new Float32Array(runs[units] * rows);
  const values = new Float32Array(entries * rows);
  const top = type === "int8" ? 127 : 7;
  for (let u = 0; u < units; u++) {
    const count = s.ends[u] - s.starts[u];
    for (let first = 0; first < count; first += RUN) {
      const run = runs[u] + first / RUN;
      for (let q = 0; q < rows; q++) {
        let most = 0;
        for (let i = first; i < Math.min(count, first + RUN); i++) {
          most = Math.max(most, Math.abs(s.values[(s.starts[u] + i) * rows + q]));
        }
        const { scale } = scaleOf(type, -most, most);
        scales[run * rows + q] = scale;
        for (let i = first; i < Math.min(count, first + RUN); i++) {
          const e = starts[u] + i;
          const code = Math.min(top, nearest(Math.fround(s.values[(s.starts[u] + i) * rows + q] / scale)));
          const { byte, shift } = place(type, rows, e, q);
          codes[byte] |= (type === "int8" ? code & 255 : code & 15) << shift;
          values[e * rows + q] = code * scale;
        }
      }
    }
    for (let i = 0; i < starts[u + 1] - starts[u]; i++) {
      columns[starts[u] + i] = count > 0 ? s.columns[s.starts[u] + Math.min(i, count - 1)] : 0;
    }
  }
  return { type, out: s.out, in: s.in, rows, starts, runs, columns, codes, scales, values };
}

/** The dense weight [out, in] that a quantised stream stands for. */
export function quantStreamDense(s: QuantStream): Float32Array {
  const dense = new Float32Array(s.out * s.in);
  for (let u = 0; u < s.starts.length - 1; u++) {
    for (let e = s.starts[u]; e < s.starts[u + 1]; e++) {
      for (let q = 0; q < s.rows; q++) {
        const o = u * s.rows + q;
        const value = s.values[e * s.rows + q];
        if (o < s.out && value !== 0) dense[o * s.in + s.columns[e]] = value;
      }
    }
  }
  return dense;
}
