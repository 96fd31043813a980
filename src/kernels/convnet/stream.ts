/**
 * The non-zeros of a 1x1 layer [out, in] as the sparse kernels read them, for planes of a given stride.
 *
 * Outputs stand in groups of `block` (1, 2 or 4). A group owns entries of 1 + block words: the byte offset of an input
 * plane, then one f32 for each output of the group. An entry is there when any of its weights is not zero, so any mask
 * can be stored at any block, at the price of the zeros inside; outputs beyond the last are zeros. Offsets replace the
 * jumps of the paper: they cost the same and keep the entries independent. `starts` are byte offsets of the groups.
 */

export type Block = 1 | 2 | 4;

export interface PlaneStream {
  readonly out: number;
  readonly in: number;
  readonly block: Block;
  /** floats from one input plane to the next */
  readonly plane: number;
  /** weights that are not zero */
  readonly nonZeros: number;
  readonly entries: number;
  readonly words: Int32Array;
  /** groups + 1 */
  readonly starts: Int32Array;
}

/** Most vectors of a tile, by block: what fits into registers beside the weights. */
export const MOST_VECTORS: Readonly<Record<Block, number>> = { 1: 8, 2: 4, 4: 2 };

/** Offsets are added to an address as signed 32-bit numbers. */
export const MAX_PLANES_BYTES = 2 ** 31;

/** Bytes of one entry. */
export const entryBytes = (block: Block): number => 4 * (1 + block);

export function planeStream(
  weights: Float32Array,
  out: number,
  inputs: number,
  block: Block,
  plane: number,
): PlaneStream {
  if (weights.length !== out * inputs)
    throw new Error(`stream: ${weights.length} weights, expected ${out} x ${inputs}`);
  if (4 * plane * inputs > MAX_PLANES_BYTES) throw new Error(`stream: ${inputs} planes of ${plane} exceed 2 GiB`);
  const groups = Math.ceil(out / block);
  const lives = (g: number, k: number): number => {
    let count = 0;
    for (let o = g * block; o < Math.min(out, (g + 1) * block); o++) if (weights[o * inputs + k] !== 0) count++;
    return count;
  };
  const starts = new Int32Array(groups + 1);
  let entries = 0;
  let nonZeros = 0;
  for (let g = 0; g < groups; g++) {
    for (let k = 0; k < inputs; k++) {
      const count = lives(g, k);
      nonZeros += count;
      if (count > 0) entries++;
    }
    starts[g + 1] = entries * entryBytes(block);
  }
  const words = new Int32Array(entries * (1 + block));
  const values = new Float32Array(words.buffer);
  let at = 0;
  for (let g = 0; g < groups; g++) {
    for (let k = 0; k < inputs; k++) {
      if (lives(g, k) === 0) continue;
      words[at++] = 4 * plane * k;
      for (let r = 0; r < block; r++) {
        const o = g * block + r;
        // +0 for what is not there, and for -0
        values[at++] = o < out && weights[o * inputs + k] !== 0 ? weights[o * inputs + k] : 0;
      }
    }
  }
  return { out, in: inputs, block, plane, nonZeros, entries, words, starts };
}

/** Work of an entry beside its vectors, in vectors: its address, its weights, the exit from the loop. */
const ENTRY_COST = 1.5;
/** Bytes of input that a strip of tiles may read: it stays in the second-level cache, and its pages are few. */
const STRIP_BYTES = 65536;

export interface Tiling {
  /** vectors of 4 pixels in a tile */
  readonly vectors: number;
  /** tiles that a group computes before the next group does */
  readonly strip: number;
}

/**
 * Tiles for an image, for each thread about as many. They cover ceil(pixels / 4) vectors, the last one may be narrower,
 * and among the widths they have the one with the least work for the thread with the most. A strip of tiles shares its
 * entries while they are in the first cache and takes whole runs of pixels from each plane; with few inputs that is 1.3
 * times faster than tile by tile.
 */
export function tiling(block: Block, inputs: number, pixels: number, threads = 1): Tiling {
  const vectors = Math.ceil(pixels / 4);
  let best = 1;
  let least = Number.POSITIVE_INFINITY;
  for (let width = 1; width <= MOST_VECTORS[block]; width++) {
    const tiles = Math.ceil(Math.ceil(vectors / width) / threads);
    const work = Math.min(vectors, tiles * width) + tiles * ENTRY_COST;
    if (work < least) [best, least] = [width, work];
  }
  return { vectors: best, strip: Math.max(1, Math.floor(STRIP_BYTES / (16 * best * Math.max(1, inputs)))) };
}
