/** Trials of `propagate-f32-csr` against plain f64. */
import type { Draw, Trial } from "../kernel.ts";
import { agree, EPS, ids, inPieces } from "../pointwise/trial.ts";
import * as plain from "./plain.ts";

interface Case {
  readonly rows: number;
  readonly nodes: number;
  readonly F: number;
  readonly starts: Int32Array;
  readonly columns: Int32Array;
  readonly edges: number;
}

function drawCase(draw: Draw): Case {
  const [rows, nodes, F] = [draw.int(0, 6), draw.int(1, 6), draw.int(1, 70)];
  const starts = new Int32Array(rows + 1);
  for (let r = 0; r < rows; r++) starts[r + 1] = starts[r] + draw.int(0, 5);
  const edges = starts[rows];
  return { rows, nodes, F, starts, edges, columns: ids(draw, edges, 0, nodes - 1) };
}

const multiply: Trial = {
  name: "multiply",
  run(draw, box) {
    const { rows, nodes, F, starts, columns, edges } = drawCase(draw);
    const [values, x] = [draw.floats(edges), draw.floats(nodes * F)];
    const operands = [box.put(starts), box.put(columns), box.put(values), box.put(x)];
    const [whole, pieces] = [box.room(4 * rows * F), box.room(4 * rows * F)];
    box.call("multiply", ...operands, whole, F, 0, rows);
    inPieces(draw, rows, (from, to) => box.call("multiply", ...operands, pieces, F, from, to));
    const size = plain.propagate(starts, columns, values.map(Math.abs), x.map(Math.abs), F);
    return agree(
      "y",
      box.f32(whole, rows * F),
      box.f32(pieces, rows * F),
      plain.propagate(starts, columns, values, x, F),
      // at most five entries: one rounding of each product and five of the sum
      size.map((s) => 6 * EPS * s),
    );
  },
};

const edgeDots: Trial = {
  name: "edgeDots",
  run(draw, box) {
    const { rows, nodes, F, starts, columns, edges } = drawCase(draw);
    const [a, b] = [draw.floats(rows * F), draw.floats(nodes * F)];
    const operands = [box.put(starts), box.put(columns), box.put(a), box.put(b)];
    const [whole, pieces] = [box.room(4 * edges), box.room(4 * edges)];
    box.call("edgeDots", ...operands, whole, F, 0, rows);
    inPieces(draw, rows, (from, to) => box.call("edgeDots", ...operands, pieces, F, from, to));
    const size = plain.edgeDots(starts, columns, a.map(Math.abs), b.map(Math.abs), F);
    return agree(
      "out",
      box.f32(whole, edges),
      box.f32(pieces, edges),
      plain.edgeDots(starts, columns, a, b, F),
      // a chain of at most F / 16 + 12 roundings of the sum, and one of each product
      size.map((s) => (F / 16 + 13) * EPS * s),
    );
  },
};

export const propagateTrials: readonly Trial[] = [multiply, edgeDots];
