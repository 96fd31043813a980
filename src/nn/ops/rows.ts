/**
 * Operations on rows: dot products of paired rows (scores of user and item), and ranges of rows.
 */

import { memory, parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor, zeros } from "../../core/tensor.ts";
import { rowsKernel } from "../../kernels/pointwise/index.ts";
import { GRAIN } from "./elementwise.ts";

const grainOf = (cols: number): number => Math.max(1, Math.ceil(GRAIN / Math.max(1, cols)));

/** s [R] times the rows of x [R, C]. No gradient: what gradients of `rowDots` are made of. */
function scaledRows(x: Tensor, s: Tensor): Tensor {
  const cols = x.size / s.size;
  const y = new Tensor(x.shape);
  parallel(rowsKernel, "scaled", [x.ptr, s.ptr, y.ptr, cols], s.size, grainOf(cols));
  return y;
}

/** Dot product of each row of a [R, C] with the same row of b [R, C] -> [R]. */
export function rowDots(a: Tensor, b: Tensor): Tensor {
  const [rows, cols] = a.shape;
  demand(a.shape.length === 2 && b.shape.length === 2 && b.shape[0] === rows && b.shape[1] === cols, () => ({
    about: "rowDots",
    expected: `two matrices of one shape, as [${a.shape.join(", ")}]`,
    got: `[${b.shape.join(", ")}]`,
    hint: "Check the shapes.",
  }));
  const y = new Tensor([rows]);
  parallel(rowsKernel, "dot", [a.ptr, b.ptr, y.ptr, cols], rows, grainOf(cols));
  return record("rowDots", [a, b], y, (dy, [wantA, wantB]) => [
    wantA ? scaledRows(b, dy) : null,
    wantB ? scaledRows(a, dy) : null,
  ]);
}

/** Rows [from, to) of x [R, ..] as a tensor of its own. */
export function sliceRows(x: Tensor, from: number, to: number): Tensor {
  const [rows, ...rest] = x.shape;
  demand(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from <= to && to <= rows, () => ({
    about: "sliceRows",
    expected: `a range within [0, ${rows})`,
    got: `[${from}, ${to})`,
    hint: "Rows are counted from 0; the end is not included.",
  }));
  const width = x.size / Math.max(1, rows);
  const y = new Tensor([to - from, ...rest]);
  memory.f32(y.ptr, y.size).set(memory.f32(x.ptr + 4 * from * width, y.size));
  return record("sliceRows", [x], y, (dy) => {
    const dx = zeros(x.shape);
    memory.f32(dx.ptr + 4 * from * width, dy.size).set(memory.f32(dy.ptr, dy.size));
    return [dx];
  });
}
