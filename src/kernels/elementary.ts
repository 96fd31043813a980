/**
 * ln, exp, sin and cos in f64 from additions, multiplications, divisions and square roots only, so that every engine
 * gives the same bits. (`Math.log` and its kin differ between engines.) Accuracy: about 1e-15 relative.
 *
 * Sine and cosine come twice: of an angle in radians (polynomials of Sun's fdlibm after a three-part Cody-Waite
 * reduction) and of a number of turns, whose reduction is exact.
 */

const LN2_HI = 0.6931471803691238;
const LN2_LO = 1.9082149292705877e-10;
const words = new DataView(new ArrayBuffer(8));

/** Natural logarithm of a positive finite number. */
export function ln(x: number): number {
  if (!(x > 0) || !Number.isFinite(x)) return x === 0 ? Number.NEGATIVE_INFINITY : x > 0 ? x : Number.NaN;
  let scale = 0;
  let y = x;
  if (y < 2.2250738585072014e-308) {
    y *= 18014398509481984; // 2^54 lifts subnormals
    scale = -54;
  }
  words.setFloat64(0, y);
  const high = words.getUint32(0);
  let exponent = ((high >>> 20) & 0x7ff) - 1023 + scale;
  words.setUint32(0, (high & 0x000fffff) | 0x3ff00000);
  let m = words.getFloat64(0);
  if (m > Math.SQRT2) {
    m /= 2;
    exponent++;
  }
  // ln m = 2 atanh s, |s| <= 0.1716: eleven terms reach 1e-17.
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let p = 0;
  for (let k = 23; k >= 3; k -= 2) p = (p + 1 / k) * z;
  return exponent * LN2_HI + (2 * s * (1 + p) + exponent * LN2_LO);
}

/** e^x. */
export function exp(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 709.782712893384) return Number.POSITIVE_INFINITY;
  if (x < -745.2) return 0;
  const n = Math.round(x / (LN2_HI + LN2_LO));
  const r = x - n * LN2_HI - n * LN2_LO;
  let term = 1;
  let sum = 1;
  for (let k = 1; k <= 14; k++) {
    term *= r / k;
    sum += term;
  }
  const half = Math.trunc(n / 2);
  return sum * power2(half) * power2(n - half);
}

function power2(n: number): number {
  words.setUint32(0, (n + 1023) << 20);
  words.setUint32(4, 0);
  return words.getFloat64(0);
}

// pi/2 in three parts of 33 bits, so that multiples up to 2^20 of the first two are exact.
const PIO2_1 = 1.5707963267341256;
const PIO2_2 = 6.077100506303966e-11;
const PIO2_3 = 2.0222662487959506e-21;

const SINE = [
  1.58969099521155e-10, -2.5050760253406863e-8, 2.7557313707070068e-6, -0.0001984126982985795, 0.00833333333332249,
  -0.16666666666666632,
];
const COSINE = [
  -1.1359647557788195e-11, 2.087572321298175e-9, -2.7557314351390663e-7, 2.480158728947673e-5, -0.001388888888887411,
  0.0416666666666666,
];

/** c[0] z^5 + ... + c[5] */
const horner = (z: number, c: readonly number[]): number =>
  ((((c[0] * z + c[1]) * z + c[2]) * z + c[3]) * z + c[4]) * z + c[5];

/** Sine and cosine to about 1e-15 absolute for |x| up to 1e6. */
export function sinCos(x: number): { sin: number; cos: number } {
  const n = Math.round(x / (PIO2_1 + PIO2_2));
  const r = x - n * PIO2_1 - n * PIO2_2 - n * PIO2_3;
  const z = r * r;
  const s = r + r * z * horner(z, SINE);
  const c = 1 - (z / 2 - z * z * horner(z, COSINE));
  switch (((n % 4) + 4) % 4) {
    case 0:
      return { sin: s, cos: c };
    case 1:
      return { sin: c, cos: -s };
    case 2:
      return { sin: -s, cos: -c };
    default:
      return { sin: -c, cos: s };
  }
}

/** [sin, cos] of 2 pi t. The turn is reduced exactly, so large t lose nothing. */
export function sinCosTurns(t: number): [number, number] {
  const turn = t - Math.floor(t);
  const octant = Math.round(turn * 4);
  const r = (turn - octant / 4) * 2 * Math.PI;
  const z = r * r;
  let s = 0;
  for (let k = 17; k >= 3; k -= 2) s = (s + 1) * (-z / (k * (k - 1)));
  let c = 0;
  for (let k = 18; k >= 2; k -= 2) c = (c + 1) * (-z / (k * (k - 1)));
  const sin = r * (1 + s);
  const cos = 1 + c;
  switch (octant & 3) {
    case 0:
      return [sin, cos];
    case 1:
      return [cos, -sin];
    case 2:
      return [-sin, -cos];
    default:
      return [-cos, sin];
  }
}
