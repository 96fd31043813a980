/**
 * Packed weights: a bitmask of kept blocks and the elements of those blocks, no zeros and no offsets.
 *
 * The layout and the metadata that describe it are written down in docs/packed-format.md. A block is kept if any of
 * its elements is not zero, so for 1×1 blocks exactly the values ≠ 0 are stored; -0 is stored as +0. Reading checks the
 * bitmask's population count against the number of values. What a pattern's text means is not known here.
 */

import type { DType } from "./dtype.ts";
import { dtypeBytes, shapeText } from "./dtype.ts";
import { refuse } from "./refuse.ts";
import type { Block, PackedTensor } from "./weights.ts";

/** How a weight is to be packed. */
export interface Packing {
  /** kept with the weight, not interpreted */
  readonly pattern: string;
  readonly block: Block;
}

type Words = Uint16Array | Uint32Array;

const damaged = "The file is damaged; fetch or write it again.";

/** Set bits of each byte. */
const population = new Uint8Array(256);
for (let byte = 1; byte < 256; byte++) population[byte] = population[byte >> 1] + (byte & 1);

/** The blocks that a weight [R, C] is cut into; those at the lower and right edge may be smaller. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
  /** bytes of bitmask per row of blocks */
  readonly rowBytes: number;
}

export function gridOf(shape: readonly [number, number], block: Block): Grid {
  const cols = Math.ceil(shape[1] / block.cols);
  return { rows: Math.ceil(shape[0] / block.rows), cols, rowBytes: Math.ceil(cols / 8) };
}

export function isPackable(dtype: DType): dtype is "F32" | "F16" | "BF16" {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** The elements' bits; copies where the bytes do not lie on an element's boundary. */
function wordsOf(dtype: DType, bytes: Uint8Array): Words {
  const size = dtypeBytes[dtype];
  const at = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return size === 2
    ? new Uint16Array(at.buffer, at.byteOffset, at.byteLength / 2)
    : new Uint32Array(at.buffer, at.byteOffset, at.byteLength / 4);
}

const newWords = (dtype: DType, count: number): Words =>
  dtypeBytes[dtype] === 2 ? new Uint16Array(count) : new Uint32Array(count);

const bytesOf = (words: Words): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

const signOf = (dtype: DType): number => (dtypeBytes[dtype] === 2 ? 0x8000 : 0x80000000);

/** `bytes` with each -0 made +0; the same array if there is none. */
export function withoutNegativeZeros(dtype: DType, bytes: Uint8Array): Uint8Array {
  if (!isPackable(dtype)) return bytes;
  const words = wordsOf(dtype, bytes);
  const sign = signOf(dtype);
  let at = words.indexOf(sign);
  if (at < 0) return bytes;
  const out = words.slice();
  for (; at >= 0; at = out.indexOf(sign, at + 1)) out[at] = 0;
  return bytesOf(out);
}

function maskElements(words: Words, magnitude: number, C: number, grid: Grid, bitmask: Uint8Array): number {
  let kept = 0;
  for (let r = 0, at = 0; r < grid.rows; r++) {
    const base = r * grid.rowBytes;
    for (let c = 0; c < C; c++, at++) {
      if ((words[at] & magnitude) !== 0) {
        bitmask[base + (c >> 3)] |= 1 << (c & 7);
        kept++;
      }
    }
  }
  return kept;
}

function maskBlocks(
  words: Words,
  magnitude: number,
  [R, C]: readonly [number, number],
  block: Block,
  grid: Grid,
  bitmask: Uint8Array,
): number {
  let kept = 0;
  for (let br = 0; br < grid.rows; br++) {
    const firstRow = br * block.rows;
    const lastRow = Math.min(R, firstRow + block.rows);
    for (let bc = 0; bc < grid.cols; bc++) {
      const firstCol = bc * block.cols;
      const lastCol = Math.min(C, firstCol + block.cols);
      let any = 0;
      for (let r = firstRow; r < lastRow; r++) {
        for (let c = firstCol; c < lastCol; c++) any |= words[r * C + c] & magnitude;
      }
      if (any !== 0) {
        bitmask[br * grid.rowBytes + (bc >> 3)] |= 1 << (bc & 7);
        kept += (lastRow - firstRow) * (lastCol - firstCol);
      }
    }
  }
  return kept;
}

/** Copies between a dense weight and the values of its kept blocks, in the values' order. */
function copyBlocks(
  from: Words,
  to: Words,
  packing: boolean,
  [R, C]: readonly [number, number],
  block: Block,
  grid: Grid,
  bitmask: Uint8Array,
): void {
  let v = 0;
  for (let br = 0; br < grid.rows; br++) {
    const firstRow = br * block.rows;
    const lastRow = Math.min(R, firstRow + block.rows);
    for (let byte = 0; byte < grid.rowBytes; byte++) {
      let bits = bitmask[br * grid.rowBytes + byte];
      while (bits !== 0) {
        const firstCol = (byte * 8 + 31 - Math.clz32(bits & -bits)) * block.cols;
        bits &= bits - 1;
        const lastCol = Math.min(C, firstCol + block.cols);
        for (let r = firstRow; r < lastRow; r++) {
          for (let at = r * C + firstCol, end = r * C + lastCol; at < end; at++, v++) {
            if (packing) to[v] = from[at];
            else to[at] = from[v];
          }
        }
      }
    }
  }
}

/**
 * Packs a dense weight [R, C] of F32, F16 or BF16. Throws a `LacunaError` if bytes, shape and type disagree.
 */
export function packWeight(
  name: string,
  dtype: DType,
  shape: readonly [number, number],
  dense: Uint8Array,
  { pattern, block }: Packing,
): PackedTensor {
  if (!isPackable(dtype)) refuse(name, "F32, F16 or BF16 to pack", dtype, "Store this tensor dense.");
  if (dense.length !== shape[0] * shape[1] * dtypeBytes[dtype]) {
    refuse(
      name,
      `the bytes of ${shapeText(shape)} ${dtype}`,
      `${dense.length} bytes`,
      "Shape, type and data must agree.",
    );
  }
  const words = wordsOf(dtype, dense);
  const grid = gridOf(shape, block);
  const bitmask = new Uint8Array(grid.rows * grid.rowBytes);
  const magnitude = signOf(dtype) - 1;
  const single = block.rows === 1 && block.cols === 1;
  const kept = single
    ? maskElements(words, magnitude, shape[1], grid, bitmask)
    : maskBlocks(words, magnitude, shape, block, grid, bitmask);
  const values = newWords(dtype, kept);
  copyBlocks(words, values, true, shape, block, grid, bitmask);
  return { name, dtype, shape, pattern, block, bitmask, values: withoutNegativeZeros(dtype, bytesOf(values)) };
}

/** Elements that a bitmask says are stored; a `LacunaError` if it marks blocks beyond the weight's edge. */
export function storedElements(packed: Omit<PackedTensor, "values">): number {
  const { name, shape, block, bitmask } = packed;
  const grid = gridOf(shape, block);
  if (bitmask.length !== grid.rows * grid.rowBytes) {
    refuse(name, `a bitmask of ${grid.rows}×${grid.rowBytes} bytes`, `${bitmask.length} bytes`, damaged);
  }
  const tailCols = shape[1] - (grid.cols - 1) * block.cols;
  let elements = 0;
  for (let br = 0; br < grid.rows; br++) {
    const rows = Math.min(block.rows, shape[0] - br * block.rows);
    let blocks = 0;
    for (let byte = 0; byte < grid.rowBytes; byte++) blocks += population[bitmask[br * grid.rowBytes + byte]];
    const last = bitmask[(br + 1) * grid.rowBytes - 1] >> ((grid.cols - 1) & 7);
    if (last > 1) refuse(name, `a bitmask of ${grid.cols} blocks a row`, "a mark beyond the last block", damaged);
    elements += rows * (blocks * block.cols - (last === 1 ? block.cols - tailCols : 0));
  }
  return elements;
}

/** Throws a `LacunaError` if bitmask and values disagree. */
export function checkPacked(packed: PackedTensor): void {
  const { name, dtype, shape, values } = packed;
  const elements = shape[0] === 0 || shape[1] === 0 ? 0 : storedElements(packed);
  if (values.length !== elements * dtypeBytes[dtype]) {
    const got = `${values.length / dtypeBytes[dtype]} values`;
    refuse(name, `${elements} values, by its bitmask`, got, damaged);
  }
}

/** The dense bytes of a packed weight. Throws a `LacunaError` if bitmask and values disagree. */
export function unpackWeight(packed: PackedTensor): Uint8Array {
  checkPacked(packed);
  const { name, dtype, shape, block, bitmask } = packed;
  let dense: Words;
  try {
    dense = newWords(dtype, shape[0] * shape[1]);
  } catch (cause) {
    refuse(name, "a weight that fits in memory", shapeText(shape), "The model is too large for this machine.", cause);
  }
  copyBlocks(wordsOf(dtype, packed.values), dense, false, shape, block, gridOf(shape, block), bitmask);
  return bytesOf(dense);
}
