/**
 * One arena for all activations of a network: buffers that are alive at the same time do not overlap, others share.
 *
 * A buffer goes to the lowest place that is free while it lives, which keeps the memory in use small and in cache.
 */

export interface Life {
  /** bytes, a multiple of 64 */
  readonly bytes: number;
  /** step that writes it */
  readonly from: number;
  /** last step that reads it */
  readonly to: number;
}

export interface Placement {
  /** offset of each buffer */
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** Places buffers in the order given. */
export function placeBuffers(lives: readonly Life[]): Placement {
  const offsets: number[] = [];
  let bytes = 0;
  lives.forEach((life, i) => {
    const taken = lives
      .slice(0, i)
      .map((other, k) => ({ ...other, offset: offsets[k] }))
      .filter((other) => other.from <= life.to && life.from <= other.to)
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of taken) {
      if (offset + life.bytes <= other.offset) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    offsets.push(offset);
    bytes = Math.max(bytes, offset + life.bytes);
  });
  return { offsets, bytes };
}
