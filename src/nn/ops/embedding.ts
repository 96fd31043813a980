/**
 * Rows of a table by token id. table [V, D] f32, ids i32 [T] -> [T, D]. The gradient adds up rows in a fixed order.
 */

import { parallel } from "../../core/engine.ts";
import { record } from "../../core/tape.ts";
import { Tensor, zeros } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";

export function embedding(table: Tensor, ids: Tensor): Tensor {
  const [, width] = table.shape;
  const y = new Tensor([ids.size, width]);
  parallel(pointwise, "gatherRows", [table.ptr, ids.ptr, y.ptr, width], ids.size, 64);
  return record(
    "embedding",
    [table],
    y,
    (dy) => {
      const grad = zeros(table.shape);
      parallel(pointwise, "scatterAddRows", [dy.ptr, ids.ptr, grad.ptr, width, ids.size], Math.ceil(width / 4), 8);
      return [grad];
    },
    [ids],
  );
}
