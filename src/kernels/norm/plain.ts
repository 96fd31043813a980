/** RMSNorm, LayerNorm and softmax in plain f64, over rows of x [rows, cols]: the slow twins of the kernels. */

type Numbers = ArrayLike<number>;
const row = (x: Numbers, r: number, cols: number): number[] => Array.from(x).slice(r * cols, (r + 1) * cols);
const rowsOf = (x: Numbers, cols: number): number[][] =>
  Array.from({ length: x.length / cols }, (_, r) => row(x, r, cols));
const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);

/** out = x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich 2019). */
export function rmsnormForward(x: Numbers, w: Numbers, cols: number, eps: number): { out: number[]; rstd: number[] } {
  const rstd = rowsOf(x, cols).map((v) => 1 / Math.sqrt(sum(v.map((a) => a * a)) / cols + eps));
  return { out: Array.from(x, (a, i) => a * rstd[Math.floor(i / cols)] * w[i % cols]), rstd };
}

/** dx = rstd (g - xhat mean(g xhat)), g = dy w; dw = sum over rows of dy xhat. */
export function rmsnormBackward(
  x: Numbers,
  w: Numbers,
  dy: Numbers,
  cols: number,
  eps: number,
): { dx: number[]; dw: number[] } {
  const { rstd } = rmsnormForward(x, w, cols, eps);
  const dw = Array.from({ length: cols }, () => 0);
  const dx = rowsOf(x, cols).flatMap((v, r) => {
    const xhat = v.map((a) => a * rstd[r]);
    const d = row(dy, r, cols);
    const g = d.map((a, c) => a * w[c]);
    for (let c = 0; c < cols; c++) dw[c] += d[c] * xhat[c];
    const mean = sum(g.map((a, c) => a * xhat[c])) / cols;
    return g.map((a, c) => rstd[r] * (a - xhat[c] * mean));
  });
  return { dx, dw };
}

/** out = (x - mean) / sqrt(var + eps) * w + b (Ba, Kiros and Hinton 2016), variance over cols, not cols - 1. */
export function layernormForward(
  x: Numbers,
  w: Numbers,
  b: Numbers,
  cols: number,
  eps: number,
): { out: number[]; mean: number[]; rstd: number[] } {
  const rows = rowsOf(x, cols);
  const mean = rows.map((v) => sum(v) / cols);
  const rstd = rows.map((v, r) => 1 / Math.sqrt(sum(v.map((a) => (a - mean[r]) ** 2)) / cols + eps));
  const out = rows.flatMap((v, r) => v.map((a, c) => (a - mean[r]) * rstd[r] * w[c] + b[c]));
  return { out, mean, rstd };
}

/** dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy w; dw and db are sums over rows. */
export function layernormBackward(
  x: Numbers,
  w: Numbers,
  dy: Numbers,
  cols: number,
  eps: number,
): { dx: number[]; dw: number[]; db: number[] } {
  const { mean, rstd } = layernormForward(x, w, new Float64Array(cols), cols, eps);
  const dw = Array.from({ length: cols }, () => 0);
  const db = Array.from({ length: cols }, () => 0);
  const dx = rowsOf(x, cols).flatMap((v, r) => {
    const xhat = v.map((a) => (a - mean[r]) * rstd[r]);
    const d = row(dy, r, cols);
    const g = d.map((a, c) => a * w[c]);
    for (let c = 0; c < cols; c++) {
      dw[c] += d[c] * xhat[c];
      db[c] += d[c];
    }
    const meanG = sum(g) / cols;
    const meanGx = sum(g.map((a, c) => a * xhat[c])) / cols;
    return g.map((a, c) => rstd[r] * (a - meanG - xhat[c] * meanGx));
  });
  return { dx, dw, db };
}

export const softmax = (x: Numbers, cols: number): number[] =>
  rowsOf(x, cols).flatMap((v) => {
    const most = Math.max(...v);
    const powers = v.map((a) => Math.exp(a - most));
    const all = sum(powers);
    return powers.map((p) => p / all);
  });

/** dx = y (dy - sum(y dy)), from the softmax y itself. */
export const softmaxBackward = (y: Numbers, dy: Numbers, cols: number): number[] =>
  rowsOf(y, cols).flatMap((v, r) => {
    const d = row(dy, r, cols);
    const dot = sum(v.map((a, c) => a * d[c]));
    return v.map((a, c) => a * (d[c] - dot));
  });
