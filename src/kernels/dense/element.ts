/**
 * The three stored element types a dense kernel reads: how eight consecutive ones become two f32 vectors, how one
 * becomes an f32, and the plain twins of both. bf16 is the upper half of an f32; f16 is IEEE binary16.
 *
 * An f16 is read by moving its bits to where f32 keeps them, which gives value * 2^-112 exactly, subnormals included.
 * Infinities and NaN are not recognised that way: they read as finite numbers of at least 65536.
 */

import { type Expr, f32, f32x4, i32, i32x4, type Local, type Stmt, seq, v128 } from "../wasm/asm.ts";

export type ElementType = "f32" | "bf16" | "f16";

export const ELEMENT_TYPES: readonly ElementType[] = ["f32", "bf16", "f16"];

export const bytesOf = (type: ElementType): 2 | 4 => (type === "f32" ? 4 : 2);

/** log2 of the element's size, for shifts */
export const shiftOf = (type: ElementType): 1 | 2 => (type === "f32" ? 2 : 1);

/** What an f16's moved bits lack. */
export const HALF_SCALE = 2 ** 112;

const HALF_KEEP = 0x8fffffff;
const mask = (bits: number): Expr<"v128"> => v128.const32(bits, bits, bits, bits);
const splat = (value: number): Expr<"v128"> => f32x4.splat(f32.const(value));

/** Four consecutive f16 at an address, times 2^-112. */
const movedHalves = (address: Expr<"i32">, offset: number): Expr<"v128"> =>
  v128.and(i32x4.shl(v128.load16x4s(address, offset), i32.const(13)), mask(HALF_KEEP));

const movedHalf = (address: Expr<"i32">, offset: number): Expr<"f32"> =>
  f32.reinterpretI32(i32.and(i32.shl(i32.load16s(address, offset), i32.const(13)), i32.const(HALF_KEEP)));

/** Four consecutive elements, in order, as exact f32. */
export function loadFour(type: ElementType, address: Expr<"i32">, offset = 0): Expr<"v128"> {
  if (type === "f32") return v128.load(address, offset);
  if (type === "bf16") return i32x4.shl(v128.load16x4u(address, offset), i32.const(16));
  return f32x4.mul(movedHalves(address, offset), splat(HALF_SCALE));
}

/** One element as exact f32. */
export function loadOne(type: ElementType, address: Expr<"i32">, offset = 0): Expr<"f32"> {
  if (type === "f32") return f32.load(address, offset);
  if (type === "bf16") return f32.reinterpretI32(i32.shl(i32.load16u(address, offset), i32.const(16)));
  return f32.mul(movedHalf(address, offset), f32.const(HALF_SCALE));
}

/**
 * Eight consecutive weights as two vectors of the order and scale that `PREPARED` gives the other factor: natural for
 * f32 and f16 (f16 times 2^-112), even columns then odd ones for bf16, which costs one operation a vector.
 */
export function loadEightRaw(
  type: ElementType,
  address: Expr<"i32">,
  offset: number,
  low: Local<"v128">,
  high: Local<"v128">,
): Stmt {
  if (type === "f32") return seq(low.set(v128.load(address, offset)), high.set(v128.load(address, offset + 16)));
  if (type === "f16") return seq(low.set(movedHalves(address, offset)), high.set(movedHalves(address, offset + 8)));
  return seq(
    high.set(v128.load(address, offset)),
    low.set(i32x4.shl(high, i32.const(16))),
    high.set(v128.and(high, mask(0xffff0000))),
  );
}

/** One weight to go with a prepared factor. */
export const loadOneRaw = (type: ElementType, address: Expr<"i32">, offset = 0): Expr<"f32"> =>
  type === "f16" ? movedHalf(address, offset) : loadOne(type, address, offset);

/**
 * The factor x is multiplied by before f16 products, and the sum after: together 2^112. Split so that neither a large
 * x (up to 2^64) overflows nor a small product falls among the subnormals.
 */
export const HALF_BEFORE = 2 ** 64;
export const HALF_AFTER = 2 ** 48;

const buffer = new DataView(new ArrayBuffer(4));

/** Plain twin of one load. */
export function decode(type: ElementType, bits: number): number {
  if (type !== "f16") {
    buffer.setUint32(0, type === "bf16" ? bits << 16 : bits);
    return buffer.getFloat32(0);
  }
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Nearest stored bits of a value within the f16 range; for bf16 the value's upper half. */
export function encodeOne(type: "bf16" | "f16", value: number): number {
  if (type === "bf16") {
    buffer.setFloat32(0, value);
    return buffer.getUint16(0);
  }
  const size = Math.abs(value);
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const steps = Math.round(size * 2 ** (10 - exponent));
  // In the subnormal range `steps` lacks the implicit one, so that the exponent field is one lower: zero.
  return (value < 0 ? 0x8000 : 0) | (((exponent + 14) << 10) + steps);
}

// Plain loops below: `from` with a function is some twenty times slower, and tests call these on millions of values.

export function encode(type: ElementType, values: Float32Array): Float32Array | Uint16Array {
  if (type === "f32") return values;
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = encodeOne(type, values[i]);
  return bits;
}

/** The values that stored bits stand for. */
export function decodeAll(type: ElementType, stored: Float32Array | Uint16Array): Float64Array {
  const values = new Float64Array(stored.length);
  for (let i = 0; i < values.length; i++) values[i] = type === "f32" ? stored[i] : decode(type, stored[i]);
  return values;
}
