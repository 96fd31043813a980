/**
 * Normal noise in bulk, a function of (seed, name, index) alone: four numbers a block of the generator, by inversion of
 * the normal distribution (Wichura 1988, AS 241, PPND16) in exact arithmetic only, so every engine gives the same bits.
 */
import { ln } from "../core/elementary.ts";
import { stream } from "../core/random.ts";

/** Numerator and denominator, highest power first. */
type Ratio = readonly [readonly number[], readonly number[]];

const CENTRE: Ratio = [
  [
    2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946, 1971.5909503065513,
    133.14166789178438, 3.3871328727963665,
  ],
  [
    5226.495278852546, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.196021424751, 687.1870074920579,
    42.31333070160091, 1,
  ],
];
const MIDDLE: Ratio = [
  [
    0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
    5.769497221460691, 4.630337846156546, 1.4234371107496835,
  ],
  [
    1.0507500716444169e-9, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008, 0.6897673349851,
    1.6763848301838038, 2.053191626637759, 1,
  ],
];
const TAIL: Ratio = [
  [
    2.0103343992922881e-7, 2.7115555687434876e-5, 0.0012426609473880784, 0.026532189526576124, 0.29656057182850487,
    1.7848265399172913, 5.463784911164114, 6.657904643501103,
  ],
  [
    2.0442631033899397e-15, 1.421511758316446e-7, 1.8463183175100548e-5, 0.0007868691311456133, 0.014875361290850615,
    0.1369298809227358, 0.599832206555888, 1,
  ],
];

function ratio([above, below]: Ratio, x: number): number {
  let a = 0;
  let b = 0;
  for (let i = 0; i < 8; i++) {
    a = a * x + above[i];
    b = b * x + below[i];
  }
  return a / b;
}

/** The number below which a standard normal lies with probability p in (0, 1). Relative error about 1e-16. */
export function normalQuantile(p: number): number {
  const q = p - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(CENTRE, 0.180625 - q * q);
  const r = Math.sqrt(-ln(q < 0 ? p : 1 - p));
  const size = r <= 5 ? ratio(MIDDLE, r - 1.6) : ratio(TAIL, r - 5);
  return q < 0 ? -size : size;
}

/** Fills `out` with standard normals; `out[i]` belongs to index `from + i` of the stream (seed, name). */
export function fillNormal(out: Float32Array, seed: number, name: string, from = 0): void {
  const draws = stream(seed, name);
  const quantile = (word: number): number => normalQuantile((word + 0.5) / 4294967296);
  let i = 0;
  for (let block = Math.floor(from / 4); i < out.length; block++) {
    const words = draws.words(block);
    for (let lane = (from + i) % 4; lane < 4 && i < out.length; lane++, i++) out[i] = quantile(words[lane]);
  }
}
