/** One unit of an LSTM cell in plain f64: the slow twin of the kernel. */

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export interface Step {
  /** i, f, g, o after their functions */
  readonly gates: readonly [number, number, number, number];
  readonly cell: number;
  readonly out: number;
}

/** From the four gates before their functions (input, forget, candidate, output) and the cell before. */
export function lstmForward(raw: readonly number[], before: number): Step {
  const [i, f, g, o] = [sigmoid(raw[0]), sigmoid(raw[1]), Math.tanh(raw[2]), sigmoid(raw[3])];
  const cell = f * before + i * g;
  return { gates: [i, f, g, o], cell, out: o * Math.tanh(cell) };
}

/** Gradients of the four gates before their functions, and of the cell before. */
export function lstmBackward(
  { gates: [i, f, g, o], cell }: Step,
  before: number,
  dOut: number,
  dCell: number,
): { readonly dRaw: [number, number, number, number]; readonly dBefore: number } {
  const t = Math.tanh(cell);
  const dc = dCell + dOut * o * (1 - t * t);
  return {
    dRaw: [dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dOut * t * o * (1 - o)],
    dBefore: dc * f,
  };
}
