/**
 * Conversions of 16-bit floats by their definition, value by value: the slow twins of the kernels.
 *
 * bf16 has 8 bits of exponent (bias 127) and 7 of mantissa, f16 (IEEE 754 binary16) has 5 (bias 15) and 10. Narrowing
 * searches for the nearest value; of two equally near ones the even one is taken.
 */

interface Layout {
  readonly exponentBits: number;
  readonly mantissaBits: number;
}

export const BF16: Layout = { exponentBits: 8, mantissaBits: 7 };
export const F16: Layout = { exponentBits: 5, mantissaBits: 10 };

/** The number that 16 bits stand for. */
export function widen(half: number, { exponentBits, mantissaBits }: Layout): number {
  const sign = half & 0x8000 ? -1 : 1;
  const most = 2 ** exponentBits - 1;
  const bias = (most - 1) / 2;
  const exponent = (half >> mantissaBits) & most;
  const fraction = (half & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (exponent === most) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

/** The 16 bits nearest to x, ties to even, too large becomes infinite; NaN becomes some NaN. */
export function narrow(x: number, layout: Layout): number {
  const { exponentBits, mantissaBits } = layout;
  const infinite = (2 ** exponentBits - 1) << mantissaBits;
  if (Number.isNaN(x)) return infinite | (1 << (mantissaBits - 1));
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const size = Math.abs(x);
  // Values rise with their bits. `infinite` counts as the next power of two when deciding what is nearer.
  const value = (bits: number): number => (bits === infinite ? 2 ** (2 ** (exponentBits - 1)) : widen(bits, layout));
  let low = 0;
  let high = infinite;
  if (size >= value(high)) return sign | high;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (value(middle) <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - value(low), value(high) - size];
  const up = above < below || (above === below && low % 2 === 1);
  return sign | (up ? high : low);
}

/** -0 becomes +0. */
export const stored = (half: number): number => (half === 0x8000 ? 0 : half);
