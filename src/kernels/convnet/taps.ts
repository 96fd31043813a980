/**
 * Reading the inputs of a convolution out of a row: four outputs at a time, stride 1 or 2, with zeros beside the image.
 *
 * No padded copy is made. Rows above and below the image are read from a row of zeros; columns beside it are masked in
 * the first and the last vector of a row. The last vector ends at the row's end and overlaps the one before, so no lane
 * is handled alone unless a row has fewer than four outputs. Up to `pad` floats before and 12 after a row are read
 * and thrown away.
 */
import { type Expr, forRange, i32, i32x4, type Local, type Stmt, select, seq, v128, when } from "../wasm/asm.ts";
import { add, at, c, gt, type I32, laneMask, lt, ltu, min, mul, type Scope, shl, sub } from "./planes.ts";

export type KernelSize = 3 | 5;
export type Stride = 1 | 2;

/** Bytes of zeros that stand for a row outside of an image `width` wide. */
export const zeroRowBytes = (width: number): number => 4 * (width + 16);
/** Outputs along one side of an image. */
export const outputSide = (side: number, stride: number): number => Math.ceil(side / stride);

/** Where in its row a vector of four outputs lies; `narrow`: anywhere, in a row too short for the others. */
export type Place = "first" | "middle" | "last" | "narrow";

/** Sums one tile: one vector for each place, from its first output column on. */
export type TileOf = (places: readonly Place[], firsts: readonly I32[]) => Stmt;

/** The parts of one emitted function that know rows and edges. */
export interface Taps {
  readonly outWidth: Local<"i32">;
  readonly outHeight: Local<"i32">;
  /** sets what follows from the image's size; first of all */
  readonly begin: Stmt;
  /** a row of the plane at `plane`, or zeros, `pad` floats to the left */
  row(plane: I32, number: I32): Expr<"i32">;
  /**
   * Sets `into` to the inputs of tap t; `base` is the row at stride * (first output column). Taps of one vector and row
   * come in ascending order and share a `pair`.
   */
  load(t: number, base: I32, place: Place, into: Local<"v128">, pair: readonly Local<"v128">[]): Stmt;
  /** a whole output row in tiles of at most `vectors` vectors */
  tiles(vectors: 1 | 2, tile: TileOf): Stmt;
  /** stores the outputs of one vector of that row which exist */
  store(row: I32, first: I32, place: Place, sum: Expr<"v128">, room: Local<"v128">): Stmt;
}

export function taps(f: Scope, size: KernelSize, stride: Stride, height: I32, width: I32, zeros: I32): Taps {
  const pad = size >> 1;
  const [outWidth, outHeight, rowBytes, ox, left, right, limit, last] = f.locals("i32", 8);
  const [oddEnd, before, beyond] = f.locals("v128", 3);
  /** shortest row, in inputs, whose first and last vector each miss columns on one side only */
  const wide = stride === 1 ? 4 + pad : 9;

  const masked = (value: Expr<"v128">, t: number, place: Place): Expr<"v128"> => {
    if (t === 0 || place === "middle") return value;
    if (place === "narrow") {
      const columns = v128.const32(t, stride + t, 2 * stride + t, 3 * stride + t);
      return v128.and(v128.and(value, i32x4.gt(columns, before)), i32x4.lt(columns, beyond));
    }
    if (place === "first")
      return t > 0
        ? value
        : v128.and(
            value,
            laneMask((l) => stride * l + t >= 0),
          );
    if (t < 0) return value;
    if (stride === 1)
      return v128.and(
        value,
        laneMask((l) => l + t < 4),
      );
    return v128.and(value, t === 1 ? oddEnd : laneMask((l) => l < 3));
  };

  return {
    outWidth,
    outHeight,
    begin: seq(
      outHeight.set(i32.divs(add(height, c(stride - 1)), c(stride))),
      outWidth.set(i32.divs(add(width, c(stride - 1)), c(stride))),
      rowBytes.set(shl(width, c(2))),
      last.set(sub(outWidth, c(4))),
      // the last column at which a vector may begin that meets neither edge
      limit.set(stride === 1 ? sub(width, c(4 + pad)) : sub(outWidth, c(5))),
      // in an odd row, tap 1 of the last output lies beyond the image
      oddEnd.set(
        v128.or(
          laneMask((l) => l < 3),
          i32x4.splat(sub(i32.and(width, c(1)), c(1))),
        ),
      ),
    ),
    row: (plane, number) => select(add(plane, sub(mul(number, rowBytes), c(4 * pad))), zeros, ltu(number, height)),
    load(t, base, place, into, [low, high]) {
      const from4 = (d: number): Expr<"v128"> => v128.load(base, 4 * (d + pad));
      if (stride === 1) return into.set(masked(from4(t), t, place));
      // The odd inputs of a pair come with the even ones: taps (-2, -1) and (0, 1).
      const odd = t === 1 || (t === -1 && pad === 2);
      const value = v128.shuffle32(low, high, odd ? [1, 3, 5, 7] : [0, 2, 4, 6]);
      return seq(
        ...(odd ? [] : [low.set(from4(t)), high.set(from4(t + 4))]), //
        into.set(masked(value, t, place)),
      );
    },
    tiles: (vectors, tile) =>
      when(
        i32.ge(width, c(wide)),
        seq(
          ...(vectors === 2
            ? [tile(["first", "last"], [c(0), last])]
            : [tile(["first"], [c(0)]), tile(["last"], [last])]),
          forRange(
            ox,
            c(4),
            last,
            4 * vectors,
            left.set(min(ox, limit)),
            ...(vectors === 2
              ? [right.set(min(add(ox, c(4)), limit)), tile(["middle", "middle"], [left, right])]
              : [tile(["middle"], [left])]),
          ),
        ),
        forRange(
          ox,
          c(0),
          outWidth,
          4,
          left.set(select(c(0), min(ox, last), lt(outWidth, c(4)))),
          before.set(i32x4.splat(sub(c(-1), mul(left, c(stride))))),
          beyond.set(i32x4.splat(sub(width, mul(left, c(stride))))),
          tile(["narrow"], [left]),
        ),
      ),
    store(row, first, place, sum, room) {
      const address = at(row, first, 2);
      if (place !== "narrow") return v128.store(address, sum);
      return seq(
        room.set(sum),
        when(
          i32.ge(outWidth, c(4)),
          v128.store(address, room),
          seq(
            v128.store32(address, room),
            ...[1, 2].map((l) => when(gt(outWidth, c(l)), v128.store32(address, room, 4 * l, l))),
          ),
        ),
      );
    },
  };
}
