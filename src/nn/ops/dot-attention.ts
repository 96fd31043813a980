/**
 * Attention of every step of a decoder over all states of an encoder by dot products (Luong et al. 2015, "dot"), without
 * projections: for each sequence, softmax(Q M^T) M. Time-major like the recurrences: q [Tq * B, H], memory [Tk * B, H].
 */

import { gemm, type Operand } from "../../core/compute/gemm.ts";
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { softmax } from "../../kernels/norm/index.ts";

const ROWS = 64;

/** Scores [B * Tq, Tk] of states behind a sequence's end become -inf. */
function hide(scores: Tensor, queries: number, keys: number, lengths: ArrayLike<number>): void {
  const all = scores.f32;
  for (let row = 0; row * keys < all.length; row++) {
    const length = lengths[Math.floor(row / queries)];
    demand(length >= 1 && length <= keys, () => ({
      about: `length of sequence ${Math.floor(row / queries)}`,
      expected: `1 to ${keys}`,
      got: String(length),
      hint: "Give the length of each sequence without its padding.",
    }));
    all.fill(Number.NEGATIVE_INFINITY, row * keys + length, (row + 1) * keys);
  }
}

/**
 * Contexts [Tq * B, H] for queries q [Tq * B, H] over memory [Tk * B, H]. Of sequence b only the first `lengths[b]`
 * states are looked at, at least one; default all.
 */
export function dotAttention(q: Tensor, memory: Tensor, batch: number, lengths?: ArrayLike<number>): Tensor {
  const H = q.shape[1];
  const [queries, keys] = [q.shape[0] / batch, memory.shape[0] / batch];
  demand(Number.isInteger(queries) && Number.isInteger(keys) && memory.shape[1] === H, () => ({
    about: `attention of a batch of ${batch}`,
    expected: `queries [T x ${batch}, H] and a memory of the same width`,
    got: `[${q.shape.join(", ")}] and [${memory.shape.join(", ")}]`,
    hint: "Rows are time-major: all sequences of step 0, then of step 1.",
  }));
  const weights = new Tensor([batch * queries, keys]);
  const y = new Tensor(q.shape);
  /** sequence b of a time-major tensor, and its transpose */
  const of = (t: Tensor, b: number): Operand => ({
    ptr: t.ptr + 4 * b * H,
    type: "f32",
    rowStride: batch * H,
    colStride: 1,
  });
  const turned = (o: Operand): Operand => ({ ...o, rowStride: o.colStride, colStride: o.rowStride });
  /** sequence b of [B * Tq, Tk] */
  const scores = (t: Tensor, b: number): Operand => ({
    ptr: t.ptr + 4 * b * queries * keys,
    type: "f32",
    rowStride: keys,
    colStride: 1,
  });
  const ldc = batch * H;
  for (let b = 0; b < batch; b++) {
    gemm({ m: queries, n: keys, k: H, a: of(q, b), b: turned(of(memory, b)), c: scores(weights, b).ptr });
  }
  if (lengths) hide(weights, queries, keys, lengths);
  parallel(softmax, "rows", [weights.ptr, weights.ptr, keys], batch * queries, ROWS);
  for (let b = 0; b < batch; b++) {
    gemm({ m: queries, n: H, k: keys, a: scores(weights, b), b: of(memory, b), c: of(y, b).ptr, ldc });
  }
  return record(
    "dotAttention",
    [q, memory],
    y,
    (dy) => {
      const dq = new Tensor(q.shape);
      const dm = new Tensor(memory.shape);
      const ds = new Tensor(weights.shape);
      for (let b = 0; b < batch; b++) {
        gemm({ m: queries, n: keys, k: H, a: of(dy, b), b: turned(of(memory, b)), c: scores(ds, b).ptr });
      }
      parallel(softmax, "backward", [weights.ptr, ds.ptr, ds.ptr, keys], batch * queries, ROWS);
      for (let b = 0; b < batch; b++) {
        const [p, d] = [scores(weights, b), scores(ds, b)];
        gemm({ m: queries, n: H, k: keys, a: d, b: of(memory, b), c: of(dq, b).ptr, ldc });
        // As values, then as keys.
        gemm({ m: keys, n: H, k: queries, a: turned(p), b: of(dy, b), c: of(dm, b).ptr, ldc });
        gemm({ m: keys, n: H, k: queries, a: turned(d), b: of(q, b), c: of(dm, b).ptr, ldc, accumulate: true });
      }
      return [dq, dm];
    },
    [weights],
  );
}
