/** Cross-entropy and distillation in plain f64, over rows of logits [rows, cols]: the slow twins of the kernels. */

type Numbers = ArrayLike<number>;
const rowsOf = (x: Numbers, cols: number): number[][] =>
  Array.from({ length: x.length / cols }, (_, r) => Array.from(x).slice(r * cols, (r + 1) * cols));

/** log of the sum of exponentials */
export function logSumExp(v: readonly number[]): number {
  const most = Math.max(...v);
  return most + Math.log(v.reduce((sum, a) => sum + Math.exp(a - most), 0));
}

/** loss[r] = lse[r] - logits[r, targets[r]], 0 where the target is negative. */
export function crossEntropyForward(
  logits: Numbers,
  targets: Numbers,
  cols: number,
): { loss: number[]; lse: number[] } {
  const rows = rowsOf(logits, cols);
  const lse = rows.map(logSumExp);
  return { loss: rows.map((v, r) => (targets[r] < 0 ? 0 : lse[r] - v[targets[r]])), lse };
}

/** (softmax - onehot) * scale, 0 in rows whose target is negative. */
export function crossEntropyBackward(logits: Numbers, targets: Numbers, scale: number, cols: number): number[] {
  const { lse } = crossEntropyForward(logits, targets, cols);
  return rowsOf(logits, cols).flatMap((v, r) =>
    v.map((a, k) => (targets[r] < 0 ? 0 : scale * (Math.exp(a - lse[r]) - (k === targets[r] ? 1 : 0)))),
  );
}

/** KL(teacher || student) of each row, of softmaxes of logits * invTemperature. */
export function distillForward(
  student: Numbers,
  teacher: Numbers,
  cols: number,
  invTemperature: number,
): { loss: number[]; lseS: number[]; lseT: number[] } {
  const scaled = (x: Numbers): number[][] => rowsOf(x, cols).map((v) => v.map((a) => a * invTemperature));
  const [s, t] = [scaled(student), scaled(teacher)];
  const [lseS, lseT] = [s.map(logSumExp), t.map(logSumExp)];
  const loss = t.map((v, r) =>
    v.reduce((sum, a, k) => sum + Math.exp(a - lseT[r]) * (a - lseT[r] - (s[r][k] - lseS[r])), 0),
  );
  return { loss, lseS, lseT };
}

/** (softmax of the student - softmax of the teacher) * scale * invTemperature */
export function distillBackward(
  student: Numbers,
  teacher: Numbers,
  scale: number,
  cols: number,
  invTemperature: number,
): number[] {
  const { lseS, lseT } = distillForward(student, teacher, cols, invTemperature);
  return Array.from(student, (a, i) => {
    const r = Math.floor(i / cols);
    const p = Math.exp(a * invTemperature - lseS[r]);
    const q = Math.exp(teacher[i] * invTemperature - lseT[r]);
    return scale * invTemperature * (p - q);
  });
}

/** ln(1 + e^z) */
export const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** Losses of one element with their slopes: of a for the first three, of b for the ranking loss (a's is its negative). */
export const elementLosses = {
  squared: (a: number, b: number): number => (a - b) ** 2,
  /** half the slope; the factor 2 is the caller's */
  squaredBackward: (a: number, b: number): number => a - b,
  absolute: (a: number, b: number): number => Math.abs(a - b),
  absoluteBackward: (a: number, b: number): number => Math.sign(a - b),
  binary: (a: number, b: number): number => softplus(a) - a * b,
  binaryBackward: (a: number, b: number): number => 1 / (1 + Math.exp(-a)) - b,
  ranking: (a: number, b: number): number => softplus(b - a),
  rankingBackward: (a: number, b: number): number => 1 / (1 + Math.exp(a - b)),
} as const;
