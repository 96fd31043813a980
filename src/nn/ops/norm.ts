/**
 * Norms over the last axis, x [.., D]: RMSNorm (Zhang and Sennrich 2019), y = x / sqrt(mean(x^2) + eps) * w, and
 * LayerNorm (Ba, Kiros and Hinton 2016), y = (x - mean(x)) / sqrt(var(x) + eps) * w + b. w and b [D].
 */

import { parallel } from "../../core/engine.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { layernorm, rmsnorm } from "../../kernels/norm/index.ts";
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

export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const cols = weight.size;
  const rows = x.size / cols;
  const y = new Tensor(x.shape);
  const [mean, rstd] = [new Tensor([rows]), new Tensor([rows])];
  const inputs = [x.ptr, weight.ptr, bias.ptr, y.ptr, mean.ptr, rstd.ptr];
  parallel(layernorm, "forward", [...inputs, cols, eps], rows, CHUNK_ROWS);
  return record(
    "layerNorm",
    [x, weight, bias],
    y,
    (dy) => {
      const dx = new Tensor(x.shape);
      const chunks = Math.ceil(rows / CHUNK_ROWS);
      const [dw, db] = [new Tensor([chunks, cols]), new Tensor([chunks, cols])];
      const all = [x, weight, mean, rstd, dy, dx, dw, db].map((t) => t.ptr);
      parallel(layernorm, "backward", [...all, cols, CHUNK_ROWS, rows], chunks, 1);
      return [dx, sumRows(dw, cols), sumRows(db, cols)];
    },
    [mean, rstd],
  );
}
