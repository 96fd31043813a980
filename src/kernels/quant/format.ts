/**
 * Group quantisation of a weight [out, in]: whole numbers of 4 or 8 bits, with one scale (and, if wanted, one zero point)
 * for every `group` consecutive inputs of an output. w is about scale * (code - zero).
 *
 * The plain twins of the quantising and packing kernels, in f32 arithmetic where those compute in f32, so that both give
 * the same bits. It knows no file format: codes, scales and zero points may as well come from one.
 *
 * Symmetric (int4, int8): scale = max |w| / ((2^bits - 1) / 2) and zero = 2^(bits - 1), as compressed-tensors has it.
 * With zero point (uint4, uint8): the range from min(w, 0) to max(w, 0) in 2^bits - 1 steps. Rounding is to nearest,
 * ties to even; zeros stay zeros in both. A group of zeros gets scale 1.
 */

import { demand } from "../../core/errors.ts";

export type QuantType = "int8" | "uint8" | "int4" | "uint4";

export const QUANT_TYPES: readonly QuantType[] = ["int8", "uint8", "int4", "uint4"];

export const bitsOf = (type: QuantType): 4 | 8 => (type === "int4" || type === "uint4" ? 4 : 8);
/** Whether groups have a zero point of their own. */
export const hasZeros = (type: QuantType): boolean => type.startsWith("u");

/** Inputs that share a scale: a multiple of 8, at most this. */
export const MOST_GROUP = 128;

export const groupsOf = (width: number, group: number): number => Math.ceil(width / group);

export interface Quantised {
  readonly type: QuantType;
  readonly out: number;
  readonly in: number;
  readonly group: number;
  /** [out, in], 0 to 2^bits - 1 */
  readonly codes: Uint8Array;
  /** [out, groups] */
  readonly scales: Float32Array;
  /** [out, groups], 0 to 2^bits - 1; 2^(bits - 1) everywhere without zero points */
  readonly zeros: Uint8Array;
}

export function checkGroup(group: number): void {
  demand(Number.isInteger(group) && group >= 8 && group <= MOST_GROUP && group % 8 === 0, () => ({
    about: "quantisation group",
    expected: `a multiple of 8 up to ${MOST_GROUP}`,
    got: String(group),
    hint: "Use 32, 64 or 128.",
  }));
}

/** To the nearest whole number, ties to even, as WebAssembly rounds. */
export function nearest(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Scale and zero point of one group from its extremes, both of which take part with 0. */
export function scaleOf(type: QuantType, low: number, high: number): { scale: number; zero: number } {
  const top = 2 ** bitsOf(type) - 1;
  if (!hasZeros(type)) {
    const scale = Math.fround(Math.max(high, -low) / (top / 2));
    return { scale: scale > 0 ? scale : 1, zero: (top + 1) / 2 };
  }
  const scale = Math.fround(Math.fround(high - low) / top);
  if (!(scale > 0)) return { scale: 1, zero: 0 };
  return { scale, zero: Math.min(top, nearest(Math.fround(-low / scale))) };
}

export const encodeOne = (w: number, scale: number, zero: number, top: number): number =>
  Math.min(top, Math.max(0, nearest(Math.fround(w / scale)) + zero));

/** Quantises a row-major weight [out, in] of finite values. Throws a LacunaError for a group that cannot be. */
export function quantisePlain(
  w: Float32Array,
  out: number,
  width: number,
  type: QuantType,
  group: number,
  ldw: number = width,
): Quantised {
  checkGroup(group);
  const groups = groupsOf(width, group);
  const codes = new Uint8Array(out * width);
  const scales = new Float32Array(out * groups);
  const zeros = new Uint8Array(out * groups);
  const top = 2 ** bitsOf(type) - 1;
  for (let o = 0; o < out; o++) {
    for (let g = 0; g < groups; g++) {
      const end = Math.min(width, (g + 1) * group);
      let [low, high] = [0, 0];
      for (let k = g * group; k < end; k++) {
        low = Math.min(low, w[o * ldw + k]);
        high = Math.max(high, w[o * ldw + k]);
      }
      const { scale, zero } = scaleOf(type, low, high);
      scales[o * groups + g] = scale;
      zeros[o * groups + g] = zero;
      for (let k = g * group; k < end; k++) codes[o * width + k] = encodeOne(w[o * ldw + k], scale, zero, top);
    }
  }
  return { type, out, in: width, group, codes, scales, zeros };
}

/** The weight that a quantised one stands for, rounded to f32 as the kernels round it. */
export function dequantisePlain(q: Quantised): Float32Array {
  const groups = groupsOf(q.in, q.group);
  return Float32Array.from(q.codes, (code, i) => {
    const [o, k] = [Math.floor(i / q.in), i % q.in];
    const at = o * groups + Math.floor(k / q.group);
    return (code - q.zeros[at]) * q.scales[at];
  });
}
