/**
 * RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w over the last axis. x [T, D], w [D].
 */

import { parallel } from "../../core/engine.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { rmsnorm } from "../../kernels/norm/index.ts";
import { sumRows } from "./elementwise.ts";

/** Rows a thread takes at a time, and the fixed chunk over which weight gradients are summed first. */
const CHUNK_ROWS = 64;

export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const cols = weight.size;
  const rows = x.size / cols;
  const y = new Tensor(x.shape);
  const rstd = new Tensor([rows]);
  parallel(rmsnorm, "forward", [x.ptr, weight.ptr, y.ptr, rstd.ptr, cols, eps], rows, CHUNK_ROWS);
  return record(
    "rmsNorm",
    [x, weight],
    y,
    (dy) => {
      const dx = new Tensor(x.shape);
      const chunks = Math.ceil(rows / CHUNK_ROWS);
      const partial = new Tensor([chunks, cols]);
      parallel(
        rmsnorm,
        "backward",
        [x.ptr, weight.ptr, rstd.ptr, dy.ptr, dx.ptr, partial.ptr, cols, CHUNK_ROWS, rows],
        chunks,
        1,
      );
      return [dx, sumRows(partial, cols)];
    },
    [rstd],
  );
}
