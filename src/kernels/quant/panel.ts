/**
 * The layout in which quantised weights are multiplied with one vector, and its plain twins.
 *
 * Panels of 16 outputs, one after the other; within a panel the groups of inputs, each in one piece, so that the whole
 * weight is one stream: 16 scales (f32), with zero points also those (16 bytes), then the codes of pairs of inputs.
 * A pair (k, k + 1) is what one 32-bit lane of a 16-bit product sums. 8 bits: 32 bytes, signed, [output][2].
 * 4 bits: 16 bytes, eight 16-bit words [output % 4][2], of which nibble p belongs to output 4p + (output % 4).
 * The last group is filled up with codes that stand for 0, and so are outputs beyond the last.
 */

import { bitsOf, groupsOf, hasZeros, type Quantised, type QuantType } from "./format.ts";

/** Outputs of a panel. */
export const PANEL = 16;

export const panelsOf = (out: number): number => Math.ceil(out / PANEL);
/** Bytes ahead of a group's codes. */
export const headBytes = (type: QuantType): number => 4 * PANEL + (hasZeros(type) ? PANEL : 0);
/** Bytes of one group of one panel. */
export const groupBytes = (type: QuantType, group: number): number =>
  headBytes(type) + (group * PANEL * bitsOf(type)) / 8;
export const panelBytes = (type: QuantType, width: number, group: number): number =>
  groupsOf(width, group) * groupBytes(type, group);
/** Bytes of a weight [out, in]. */
export const quantisedBytes = (type: QuantType, out: number, width: number, group: number): number =>
  panelsOf(out) * panelBytes(type, width, group);

/** What is subtracted from a code of 8 bits before it is stored. */
const shiftOf = (type: QuantType): number => (bitsOf(type) === 8 ? 128 : 0);

/** Places a quantised weight in panels. */
export function packQuantised(q: Quantised): Uint8Array {
  const { type, group } = q;
  const groups = groupsOf(q.in, group);
  const packed = new Uint8Array(quantisedBytes(type, q.out, q.in, group));
  const view = new DataView(packed.buffer);
  const middle = 2 ** (bitsOf(type) - 1);
  for (let o = 0; o < panelsOf(q.out) * PANEL; o++) {
    const lane = o % PANEL;
    for (let g = 0; g < groups; g++) {
      const base = Math.floor(o / PANEL) * panelBytes(type, q.in, group) + g * groupBytes(type, group);
      const at = o * groups + g;
      const zero = o < q.out ? q.zeros[at] : middle;
      view.setFloat32(base + 4 * lane, o < q.out ? q.scales[at] : 1, true);
      if (hasZeros(type)) packed[base + 4 * PANEL + lane] = zero - shiftOf(type);
      for (let i = 0; i < group; i++) {
        const k = g * group + i;
        const code = o < q.out && k < q.in ? q.codes[o * q.in + k] : zero;
        const codes = base + headBytes(type);
        if (bitsOf(type) === 8) packed[codes + (i >> 1) * 2 * PANEL + 2 * lane + (i & 1)] = code - 128;
        else {
          const byte = codes + (i >> 1) * PANEL + 4 * (lane & 3) + 2 * (i & 1) + (lane >> 3);
          packed[byte] |= code << (4 * ((lane >> 2) & 1));
        }
      }
    }
  }
  return packed;
}

/** The inverse of `packQuantised`. */
export function unpackQuantised(
  packed: Uint8Array,
  type: QuantType,
  out: number,
  width: number,
  group: number,
): Quantised {
  const groups = groupsOf(width, group);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const middle = 2 ** (bitsOf(type) - 1);
  const codes = new Uint8Array(out * width);
  const scales = new Float32Array(out * groups);
  const zeros = new Uint8Array(out * groups).fill(middle);
  for (let o = 0; o < out; o++) {
    const lane = o % PANEL;
    for (let g = 0; g < groups; g++) {
      const base = Math.floor(o / PANEL) * panelBytes(type, width, group) + g * groupBytes(type, group);
      scales[o * groups + g] = view.getFloat32(base + 4 * lane, true);
      if (hasZeros(type)) zeros[o * groups + g] = packed[base + 4 * PANEL + lane] + shiftOf(type);
      for (let i = 0; i < Math.min(group, width - g * group); i++) {
        const at = base + headBytes(type);
        const k = o * width + g * group + i;
        if (bitsOf(type) === 8) codes[k] = packed[at + (i >> 1) * 2 * PANEL + 2 * lane + (i & 1)] + 128;
        else {
          const byte = packed[at + (i >> 1) * PANEL + 4 * (lane & 3) + 2 * (i & 1) + (lane >> 3)];
          codes[k] = (byte >> (4 * ((lane >> 2) & 1))) & 15;
        }
      }
    }
  }
  return { type, out, in: width, group, codes, scales, zeros };
}
