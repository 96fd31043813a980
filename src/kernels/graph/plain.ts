/** Propagation along the entries of a CSR matrix in plain f64: the slow twin of the kernel. */

type Numbers = ArrayLike<number>;

function entries(starts: Numbers, visit: (row: number, entry: number) => void): void {
  for (let r = 0; r + 1 < starts.length; r++) for (let e = starts[r]; e < starts[r + 1]; e++) visit(r, e);
}

/** Y = A X for A in CSR and X [nodes, F] */
export function propagate(starts: Numbers, columns: Numbers, values: Numbers, x: Numbers, F: number): Float64Array {
  const y = new Float64Array((starts.length - 1) * F);
  entries(starts, (r, e) => {
    for (let k = 0; k < F; k++) y[r * F + k] += values[e] * x[columns[e] * F + k];
  });
  return y;
}

/** a[r] . b[columns[e]] for every entry e of row r */
export function edgeDots(starts: Numbers, columns: Numbers, a: Numbers, b: Numbers, F: number): Float64Array {
  const out = new Float64Array(columns.length);
  entries(starts, (r, e) => {
    for (let k = 0; k < F; k++) out[e] += a[r * F + k] * b[columns[e] * F + k];
  });
  return out;
}
