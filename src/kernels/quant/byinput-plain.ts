/**
 * The layout in which inputs of a quantised weight can be skipped, and its plain twin.
 *
 * Group after group of inputs: scales (f32) of all outputs, their number rounded up to 32; with zero points also those
 * (bytes); then for each input of the group its codes. 8 bits: signed bytes in order. 4 bits: 16 bytes for 32 outputs,
 * eight 16-bit words, of which nibble p of word j belongs to output 16 floor(j / 4) + 4p + j % 4; two such words of
 * different inputs side by side are what one 32-bit lane of a 16-bit product sums.
 */

import { bitsOf, groupsOf, hasZeros, type Quantised, type QuantType } from "./format.ts";

/** Outputs that are handled together. */
export const BLOCK = 32;

export const blocksOf = (out: number): number => Math.ceil(out / BLOCK);

/** Bytes of one group. */
const groupBytes = (type: QuantType, out: number, group: number): number =>
  blocksOf(out) * BLOCK * ((hasZeros(type) ? 5 : 4) + (group * bitsOf(type)) / 8);

/** Bytes of a weight [out, in]. */
export const byInputBytes = (type: QuantType, out: number, width: number, group: number): number =>
  groupsOf(width, group) * groupBytes(type, out, group);

/** Bytes of what `list` makes of so many active inputs, at most. */
export const batchBytes = (count: number): number => 64 * count;

/** Places a quantised weight input by input. */
export function packByInput(q: Quantised): Uint8Array {
  const { type, group } = q;
  const wide = blocksOf(q.out) * BLOCK;
  const groups = groupsOf(q.in, group);
  const packed = new Uint8Array(byInputBytes(type, q.out, q.in, group));
  const view = new DataView(packed.buffer);
  const eight = bitsOf(type) === 8;
  const middle = eight ? 128 : 8;
  for (let g = 0; g < groups; g++) {
    const base = g * groupBytes(type, q.out, group);
    const codes = base + wide * (hasZeros(type) ? 5 : 4);
    for (let o = 0; o < wide; o++) {
      const at = o * groups + g;
      const zero = o < q.out ? q.zeros[at] : middle;
      view.setFloat32(base + 4 * o, o < q.out ? q.scales[at] : 1, true);
      if (hasZeros(type)) packed[base + 4 * wide + o] = eight ? zero - 128 : zero;
      for (let i = 0; i < group; i++) {
        const k = g * group + i;
        const code = o < q.out && k < q.in ? q.codes[o * q.in + k] : zero;
        if (eight) packed[codes + i * wide + o] = code - 128;
        else {
          const lane = o % BLOCK;
          const [word, p] = [4 * (lane >> 4) + (lane & 3), (lane >> 2) & 3];
          packed[codes + (i * wide) / 2 + (o >> 5) * 16 + 2 * word + (p >> 1)] |= code << (4 * (p & 1));
        }
      }
    }
  }
  return packed;
}
