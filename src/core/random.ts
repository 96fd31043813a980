/**
 * The one random generator: Philox4x32-10, key = (seed, FNV-1a of the stream's name), counter = index.
 *
 * A draw is a function of (seed, name, index): no state, no draw order, the same numbers in every engine and for any
 * number of threads. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 */
import { ln, sinCosTurns } from "./elementary.ts";

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of an unsigned 32 x 32 product, from 16-bit halves; no intermediate leaves 32 bits. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const mid = (Math.imul(a1, b0) >>> 0) + (Math.imul(a0, b0) >>> 16);
  const mid2 = (Math.imul(a0, b1) >>> 0) + (mid & 0xffff);
  return (Math.imul(a1, b1) + (mid >>> 16) + (mid2 >>> 16)) >>> 0;
}

/** Ten rounds of Philox4x32 on a counter of four words under a key of two. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const h0 = mulHigh(M0, c0);
    const h1 = mulHigh(M1, c2);
    const l0 = Math.imul(M0, c0) >>> 0;
    const l1 = Math.imul(M1, c2) >>> 0;
    c0 = (h1 ^ c1 ^ k0) >>> 0;
    c1 = l1;
    c2 = (h0 ^ c3 ^ k1) >>> 0;
    c3 = l0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** 32-bit FNV-1a of the UTF-8 bytes. */
export function fnv1a(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193) >>> 0;
  return h;
}

export interface Stream {
  /** four independent 32-bit words */
  words(index: number): [number, number, number, number];
  /** an unsigned 32-bit integer */
  u32(index: number): number;
  /** uniform in [0, 1), 53 bits */
  uniform(index: number): number;
  /** standard normal */
  normal(index: number): number;
  /** an integer in [0, n), n below 2^32 */
  below(index: number, n: number): number;
  /** a permutation of 0..n-1 that belongs to `index` */
  permutation(n: number, index?: number): Int32Array;
}

/** The stream called `name` under `seed` (an integer; its low 32 bits count). */
export function stream(seed: number, name: string): Stream {
  const key: [number, number] = [seed >>> 0, fnv1a(name)];
  const at = (index: number, lane: number) =>
    philox([index >>> 0, Math.floor(index / 4294967296) >>> 0, lane >>> 0, 0], key);
  const words = (index: number) => at(index, 0);
  const uniform = (index: number): number => {
    const [a, b] = words(index);
    return ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992;
  };
  return {
    words,
    u32: (index) => words(index)[0],
    uniform,
    normal: (index) => {
      const [a, b, c, d] = words(index);
      const u = ((a >>> 5) * 67108864 + (b >>> 6) + 0.5) / 9007199254740992;
      const v = ((c >>> 5) * 67108864 + (d >>> 6)) / 9007199254740992;
      return Math.sqrt(-2 * ln(u)) * sinCosTurns(v)[1];
    },
    below: (index, n) => Math.floor((words(index)[0] * n) / 4294967296),
    permutation: (n, index = 0) => {
      const p = Int32Array.from({ length: n }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor((philox([i, index >>> 0, 1, 0], key)[0] * (i + 1)) / 4294967296);
        const t = p[i];
        p[i] = p[j];
        p[j] = t;
      }
      return p;
    },
  };
}
