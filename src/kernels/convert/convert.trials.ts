/** Trials of `convert`: exact, whole and in pieces. NaN is compared as NaN, not by its bits. */
import type { Comparison, Draw, Sandbox, Trial } from "../kernel.ts";
import { agree, inPieces } from "../pointwise/trial.ts";
import { BF16, F16, narrow, stored, widen } from "./plain.ts";

type Source = Parameters<Sandbox["put"]>[0];

function both<T extends ArrayLike<number>>(
  draw: Draw,
  box: Sandbox,
  fn: string,
  source: Source,
  bytes: number,
  read: (pointer: number) => T,
  want: ArrayLike<number>,
): Comparison[] {
  const src = box.put(source);
  const [whole, pieces] = [box.room(bytes * source.length), box.room(bytes * source.length)];
  box.call(fn, src, whole, 0, source.length);
  inPieces(draw, source.length, (from, to) => box.call(fn, src, pieces, from, to));
  return agree(fn, read(whole), read(pieces), want, 0);
}

const halves = (draw: Draw, count: number): Uint16Array =>
  Uint16Array.from({ length: count }, () => draw.int(0, 0xffff));

/** f32 of every size, among them ties, subnormals, infinities, NaN and zeros of both signs. */
function singles(draw: Draw, count: number): Float32Array {
  const bits = Uint32Array.from({ length: count }, () => {
    const high = draw.int(0, 0xffff);
    const low = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1000, 0xf000][draw.int(0, 7)];
    return ((high << 16) | low) >>> 0;
  });
  return new Float32Array(bits.buffer);
}

/** All NaNs as one, so that only being NaN is compared. */
const plainNaN = (half: number, infinite: number): number => ((half & 0x7fff) > infinite ? 0x7fff : half);

const narrowings: readonly Trial[] = (
  [
    ["f32ToBf16", BF16, 0x7f80, false],
    ["f32ToBf16Stored", BF16, 0x7f80, true],
    ["f32ToF16", F16, 0x7c00, false],
    ["f32ToF16Stored", F16, 0x7c00, true],
  ] as const
).map(([fn, layout, infinite, isStored]) => ({
  name: fn,
  run(draw, box) {
    const x = singles(draw, draw.int(0, 40));
    const want = Array.from(x, (v) => {
      const half = narrow(v, layout);
      return plainNaN(isStored ? stored(half) : half, infinite);
    });
    return both(draw, box, fn, x, 2, (p) => Array.from(box.u16(p, x.length), (half) => plainNaN(half, infinite)), want);
  },
}));

export const convertTrials: readonly Trial[] = [
  {
    name: "16-bit floats to f32",
    run(draw, box) {
      const h = halves(draw, draw.int(0, 70));
      const read = (p: number): Float32Array => box.f32(p, h.length);
      return [
        ...both(
          draw,
          box,
          "bf16ToF32",
          h,
          4,
          read,
          Array.from(h, (v) => widen(v, BF16)),
        ),
        ...both(
          draw,
          box,
          "f16ToF32",
          h,
          4,
          read,
          Array.from(h, (v) => widen(v, F16)),
        ),
      ];
    },
  },
  ...narrowings,
  {
    name: "f32 and f64, bytes",
    run(draw, box) {
      const n = draw.int(0, 70);
      const x = draw.floats(n);
      const wide = Float64Array.from(draw.floats(n), (v, i) => v * 1.000000119 + (x[i] ?? 0) * 1e-9);
      const small = Uint8Array.from({ length: n }, () => draw.int(0, 255));
      return [
        ...both(draw, box, "f32ToF64", x, 8, (p) => box.f64(p, n), x),
        ...both(draw, box, "f64ToF32", wide, 4, (p) => box.f32(p, n), wide.map(Math.fround)),
        ...both(draw, box, "u8ToF32", small, 4, (p) => box.f32(p, n), small),
      ];
    },
  },
];
