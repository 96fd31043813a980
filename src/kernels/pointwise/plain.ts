/** The pointwise functions in plain f64: the slow twins that kernels are compared with. */

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const silu = (x: number): number => x * sigmoid(x);
/** d silu / dx */
export const siluSlope = (x: number): number => sigmoid(x) * (1 + x * (1 - sigmoid(x)));
export const relu = (x: number): number => Math.max(x, 0);
export const reluSlope = (x: number): number => (x > 0 ? 1 : 0);
export const relu6 = (x: number): number => Math.min(Math.max(x, 0), 6);
export const relu6Slope = (x: number): number => (x > 0 && x < 6 ? 1 : 0);

const GELU = Math.sqrt(2 / Math.PI);
/** The tanh form of GELU (Hendrycks and Gimpel 2016). */
export const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(GELU * (x + 0.044715 * x ** 3)));
/** d gelu / dx */
export function geluSlope(x: number): number {
  const t = Math.tanh(GELU * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU * (1 + 3 * 0.044715 * x * x);
}

export const siluGate = (gate: number, up: number): number => silu(gate) * up;
/** Gradients of `siluGate` with respect to gate and up. */
export const siluGateBackward = (gate: number, up: number, dy: number): [number, number] => [
  dy * up * siluSlope(gate),
  dy * silu(gate),
];

/** out[c, r] = x[r, c] for x [rows, cols] */
export const transpose = (x: ArrayLike<number>, rows: number, cols: number): number[] =>
  Array.from({ length: rows * cols }, (_, i) => x[(i % rows) * cols + Math.floor(i / rows)]);

/** table[ids[r]] for each r */
export const gatherRows = (table: ArrayLike<number>, ids: ArrayLike<number>, cols: number): number[] =>
  Array.from({ length: ids.length * cols }, (_, i) => table[ids[Math.floor(i / cols)] * cols + (i % cols)]);

/** grad[ids[r]] += dy[r] */
export function scatterAddRows(
  dy: ArrayLike<number>,
  ids: ArrayLike<number>,
  grad: ArrayLike<number>,
  cols: number,
): Float64Array {
  const out = Float64Array.from(grad);
  for (let r = 0; r < ids.length; r++) for (let c = 0; c < cols; c++) out[ids[r] * cols + c] += dy[r * cols + c];
  return out;
}
