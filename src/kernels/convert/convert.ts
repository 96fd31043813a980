/**
 * Conversions between element types. Narrowing rounds to nearest, ties to even; f16 overflows to infinity and keeps
 * subnormals; NaN stays NaN. The `Stored` forms turn -0 into +0, as files of sparse weights want it.
 *
 * Source and destination may not overlap. f32 to f16 follows F. Giesen's branch-free method.
 */
import type { Kernel } from "../kernel.ts";
import { type Described, defineKernel, described } from "../pointwise/define.ts";
import type { Float, Int, Lanes, Maker } from "../pointwise/lanes.ts";
import { streamRange } from "../pointwise/stream.ts";
import type { Expr, Local } from "../wasm/asm.ts";
import { after, f32, f64, f64x2, seq, v128 } from "../wasm/asm.ts";
import { convertTrials } from "./convert.trials.ts";

type Turn = <F extends Float, I extends Int>(o: Lanes<F, I>, f: Maker, bits: Local<I>) => Expr<I>;

const PARAMS = { src: "i32", dst: "i32", from: "i32", to: "i32" } as const;

/** 16 bits to the bits of an f32. */
function widening(does: string, turn: Turn): Described {
  return described(PARAMS, does, (f) => {
    const { src, dst, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [src, 2],
        [dst, 4],
      ],
      4,
      (o, k) => {
        const half = f.local(o.integer);
        return seq(half.set(o.loadHalves(src, 2 * k)), o.store(dst, o.asFloat(turn(o, f, half)), 4 * k));
      },
    );
  });
}

/** The bits of an f32 to 16. */
function narrowing(does: string, turn: Turn, stored: boolean): Described {
  return described(PARAMS, stored ? `${does}; -0 becomes +0` : does, (f) => {
    const { src, dst, from, to } = f.p;
    return streamRange(
      f,
      from,
      to,
      [
        [src, 4],
        [dst, 2],
      ],
      2,
      (o, k) => {
        const bits = f.local(o.integer);
        const half = f.local(o.integer);
        const magnitude = o.iand(half, o.bits(0x7fff));
        return seq(
          bits.set(o.asBits(o.load(src, 4 * k))),
          half.set(turn(o, f, bits)),
          o.storeHalves(dst, stored ? o.ichoose(half, o.bits(0), o.some(magnitude)) : half, 2 * k),
        );
      },
    );
  });
}

const fromBf16: Turn = (o, _, half) => o.shl(half, 16);

const toBf16: Turn = (o, _, bits) => {
  const odd = o.iand(o.shru(bits, 16), o.bits(1));
  const rounded = o.shru(o.iadd(bits, o.iadd(o.bits(0x7fff), odd)), 16);
  const unordered = o.igt(o.iand(bits, o.bits(0x7fffffff)), o.bits(0x7f800000));
  // rounding could carry a NaN's mantissa away, so its quiet bit is set instead
  return o.ichoose(o.ior(o.shru(bits, 16), o.bits(0x40)), rounded, unordered);
};

const fromF16: Turn = (o, f, half) => {
  const body = f.local(o.integer);
  // Read as an f32, exponent and mantissa are too small by 2^112; the product is exact, for subnormals too.
  const scaled = o.asBits(o.mul(o.asFloat(body), o.value(2 ** 112)));
  const special = o.igt(body, o.bits(0x0f7fffff));
  const value = o.ichoose(o.ior(scaled, o.bits(0x7f800000)), scaled, special);
  const sign = o.shl(o.iand(half, o.bits(0x8000)), 16);
  return after(body.set(o.shl(o.iand(half, o.bits(0x7fff)), 13)), o.ior(value, sign));
};

const toF16: Turn = (o, f, bits) => {
  const size = f.local(o.integer);
  const odd = o.iand(o.shru(size, 13), o.bits(1));
  // moves the exponent's bias from 127 to 15 and rounds in one addition
  const normal = o.shru(o.iadd(size, o.iadd(o.bits(((15 - 127) << 23) + 0xfff), odd)), 13);
  // adding 0.5 pushes out exactly the bits that a subnormal f16 lacks; the processor rounds
  const subnormal = o.isub(o.asBits(o.add(o.asFloat(size), o.value(0.5))), o.bits(0x3f000000));
  const small = o.igt(o.bits(113 << 23), size);
  const special = o.ichoose(o.bits(0x7e00), o.bits(0x7c00), o.igt(size, o.bits(0x7f800000)));
  const large = o.igt(size, o.bits((143 << 23) - 1));
  const value = o.ichoose(special, o.ichoose(subnormal, normal, small), large);
  const sign = o.iand(o.shru(bits, 16), o.bits(0x8000));
  return after(size.set(o.iand(bits, o.bits(0x7fffffff))), o.ior(value, sign));
};

const f32ToF64 = described(PARAMS, "f32 to f64, exactly", (f) => {
  const { src, dst, from, to } = f.p;
  return streamRange(
    f,
    from,
    to,
    [
      [src, 4],
      [dst, 8],
    ],
    2,
    (o, k) => {
      const x = f.local(o.type);
      const value = o.load(src, 4 * k);
      if (o.type === "f32") return f64.store(dst, f64.promote(value as Expr<"f32">), 8 * k);
      const upper = v128.shuffle32(x as Expr<"v128">, x as Expr<"v128">, [2, 3, 2, 3]);
      return seq(
        x.set(value),
        v128.store(dst, f64x2.promoteLowF32x4(x as Expr<"v128">), 8 * k),
        v128.store(dst, f64x2.promoteLowF32x4(upper), 8 * k + 16),
      );
    },
  );
});

const f64ToF32 = described(PARAMS, "f64 to f32, rounded to nearest even", (f) => {
  const { src, dst, from, to } = f.p;
  return streamRange(
    f,
    from,
    to,
    [
      [src, 8],
      [dst, 4],
    ],
    2,
    (o, k) => {
      if (o.type === "f32") return o.store(dst, f32.demote(f64.load(src, 8 * k)) as Expr<typeof o.type>, 4 * k);
      const low = f64x2.demoteZero(v128.load(src, 8 * k));
      const high = f64x2.demoteZero(v128.load(src, 8 * k + 16));
      return v128.store(dst, v128.shuffle32(low, high, [0, 1, 4, 5]), 4 * k);
    },
  );
});

const u8ToF32 = described(PARAMS, "unsigned bytes to f32", (f) => {
  const { src, dst, from, to } = f.p;
  return streamRange(
    f,
    from,
    to,
    [
      [src, 1],
      [dst, 4],
    ],
    4,
    (o, k) => o.store(dst, o.fromInt(o.loadBytes(src, k)), 4 * k),
  );
});

export const convert: Kernel = defineKernel({
  name: "convert",
  family: "convert",
  summary: "Conversions between bf16, f16, f32, f64 and bytes.",
  functions: {
    bf16ToF32: widening("bf16 to f32, exactly", fromBf16),
    f16ToF32: widening("f16 to f32, exactly", fromF16),
    f32ToBf16: narrowing("f32 to bf16, to nearest even", toBf16, false),
    f32ToBf16Stored: narrowing("f32 to bf16, to nearest even", toBf16, true),
    f32ToF16: narrowing("f32 to f16, to nearest even", toF16, false),
    f32ToF16Stored: narrowing("f32 to f16, to nearest even", toF16, true),
    f32ToF64,
    f64ToF32,
    u8ToF32,
  },
  trials: convertTrials,
});
