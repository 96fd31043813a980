/** The assignment problem (Kuhn 1955, Munkres 1957): each row its own column, at the least total cost. O(n^3), n square. */
import { demand } from "../core/errors.ts";

/** The column of each row, for costs [n, n]. Shortest augmenting paths with potentials. */
export function assign(cost: ArrayLike<number>, n: number): Int32Array {
  demand(cost.length === n * n, () => ({
    about: "assignment",
    expected: `${n} x ${n} costs`,
    got: String(cost.length),
    hint: "Pad the matrix to a square.",
  }));
  // columns and rows from 1; column 0 holds the row that is being placed
  const [u, v] = [new Float64Array(n + 1), new Float64Array(n + 1)];
  const [rowOf, before] = [new Int32Array(n + 1), new Int32Array(n + 1)];
  for (let row = 1; row <= n; row++) {
    rowOf[0] = row;
    const least = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY);
    const done = new Uint8Array(n + 1);
    let column = 0;
    do {
      done[column] = 1;
      const from = rowOf[column];
      let [delta, next] = [Number.POSITIVE_INFINITY, 0];
      for (let j = 1; j <= n; j++) {
        if (done[j]) continue;
        const reduced = cost[(from - 1) * n + j - 1] - u[from] - v[j];
        if (reduced < least[j]) {
          least[j] = reduced;
          before[j] = column;
        }
        if (least[j] < delta) [delta, next] = [least[j], j];
      }
      for (let j = 0; j <= n; j++) {
        if (done[j]) {
          u[rowOf[j]] += delta;
          v[j] -= delta;
        } else least[j] -= delta;
      }
      column = next;
    } while (rowOf[column] !== 0);
    for (; column !== 0; column = before[column]) rowOf[column] = rowOf[before[column]];
  }
  const columnOf = new Int32Array(n);
  for (let j = 1; j <= n; j++) columnOf[rowOf[j] - 1] = j - 1;
  return columnOf;
}
