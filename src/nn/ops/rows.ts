/**
 * Operations on rows: dot products of paired rows (scores of user and item), ranges of rows, rows one below the other,
 * and the exchange of two axes that rows are counted by (batch and time).
 */

import { memory, parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor, tensor, zeros } from "../../core/tensor.ts";
import { pointwise, rowsKernel } from "../../kernels/pointwise/index.ts";
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

/** a [R, C] above b [S, C] -> [R + S, C]. */
export function concatRows(a: Tensor, b: Tensor): Tensor {
  const [rows, ...rest] = a.shape;
  const cols = a.size / Math.max(1, rows);
  demand(b.shape.slice(1).join() === rest.join(), () => ({
    about: "concatRows",
    expected: `rows as in [${a.shape.join(", ")}]`,
    got: `[${b.shape.join(", ")}]`,
    hint: "Check the shapes.",
  }));
  const y = new Tensor([rows + b.shape[0], ...rest]);
  y.f32.set(a.f32);
  memory.f32(y.ptr + a.bytes, b.size).set(b.f32);
  const part = (dy: Tensor, of: Tensor, first: number): Tensor => {
    const g = new Tensor(of.shape);
    g.f32.set(memory.f32(dy.ptr + 4 * first * cols, g.size));
    return g;
  };
  return record("concatRows", [a, b], y, (dy, [wantA, wantB]) => [
    wantA ? part(dy, a, 0) : null,
    wantB ? part(dy, b, rows) : null,
  ]);
}

/** Rows (i, j) of x [outer * inner, C] as rows (j, i): batch-major to time-major and back. */
export function swapRows(x: Tensor, outer: number, inner: number): Tensor {
  const [rows, ...rest] = x.shape;
  demand(rows === outer * inner, () => ({
    about: "swapRows",
    expected: `${outer} x ${inner} rows`,
    got: String(rows),
    hint: "Check the counts.",
  }));
  const cols = x.size / Math.max(1, rows);
  const order = tensor(Int32Array.from({ length: rows }, (_, r) => (r % outer) * inner + Math.floor(r / outer)));
  const y = new Tensor([rows, ...rest]);
  parallel(pointwise, "gatherRows", [x.ptr, order.ptr, y.ptr, cols], rows, grainOf(cols));
  return record("swapRows", [x], y, (dy) => [swapRows(dy, inner, outer)]);
}
