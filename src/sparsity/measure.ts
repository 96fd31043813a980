/** What sparsity and which pattern a weight has, found from its values alone (`lacuna inspect`). */
import { type LayerShape, type Pattern, parsePattern, unstructured } from "./pattern.ts";

export interface Measured {
  readonly elements: number;
  readonly zeros: number;
  /** zeros / elements */
  readonly sparsity: number;
  /** the strictest known pattern that holds; null for a weight without zeros */
  readonly pattern: Pattern | null;
  /** outputs and inputs whose weights are all 0 */
  readonly zeroRows: number;
  readonly zeroColumns: number;
}

/** Strictest first: what holds for an earlier one often holds for a later one, too. */
const KNOWN = ["2:4@4x1", "1:4", "2:4", "4:8", "4x1", "1x16", "2x1"].map(parsePattern);

/** Kept weights may be 0 by accident; a block pattern holds if this share of the zeros lies in all-zero blocks. */
const IN_BLOCKS = 0.999;

export function measure(values: ArrayLike<number>, shape: LayerShape): Measured {
  const { rows, columns } = shape;
  const live = new Uint8Array(rows * columns);
  const liveRow = new Uint8Array(rows);
  const liveColumn = new Uint8Array(columns);
  let zeros = 0;
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++, i++) {
      if (values[i] === 0) zeros++;
      else live[i] = liveRow[r] = liveColumn[c] = 1;
    }
  }
  const elements = live.length;
  const count = (marks: Uint8Array): number => marks.reduce((sum, m) => sum + 1 - m, 0);
  return {
    elements,
    zeros,
    sparsity: elements === 0 ? 0 : zeros / elements,
    pattern: found(live, zeros, shape),
    zeroRows: count(liveRow),
    zeroColumns: count(liveColumn),
  };
}

function found(live: Uint8Array, zeros: number, shape: LayerShape): Pattern | null {
  if (zeros === 0) return null;
  if (zeros === live.length) return { kind: "layer" };
  return KNOWN.find((p) => holds(live, zeros, p, shape)) ?? unstructured;
}

function holds(live: Uint8Array, zeros: number, pattern: Pattern, shape: LayerShape): boolean {
  if (pattern.kind === "nm") {
    if (shape.columns % pattern.of !== 0) return false;
    return runsHold(live, shape, pattern.rows, pattern.of, pattern.keep);
  }
  return pattern.kind === "block" && zerosInBlocks(live, shape, pattern.rows, pattern.columns) >= IN_BLOCKS * zeros;
}

/** Whether no run of `of` inputs has more than `keep` columns that are live in any of its `height` rows. */
function runsHold(live: Uint8Array, { rows, columns }: LayerShape, height: number, of: number, keep: number): boolean {
  for (let top = 0; top < rows; top += height) {
    const bottom = Math.min(top + height, rows);
    for (let start = 0; start < columns; start += of) {
      let used = 0;
      for (let c = start; c < start + of; c++) {
        for (let r = top; r < bottom; r++) {
          if (live[r * columns + c] === 0) continue;
          used++;
          break;
        }
      }
      if (used > keep) return false;
    }
  }
  return true;
}

function zerosInBlocks(live: Uint8Array, { rows, columns }: LayerShape, height: number, width: number): number {
  let inside = 0;
  for (let top = 0; top < rows; top += height) {
    const bottom = Math.min(top + height, rows);
    for (let left = 0; left < columns; left += width) {
      const right = Math.min(left + width, columns);
      let any = 0;
      for (let r = top; r < bottom && any === 0; r++) for (let c = left; c < right; c++) any |= live[r * columns + c];
      if (any === 0) inside += (bottom - top) * (right - left);
    }
  }
  return inside;
}
