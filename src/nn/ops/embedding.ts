/**
 * Rows of a table by token id. table [V, D] in f32, bf16 or f16, ids i32 [T] -> f32 [T, D]. Gradients only for f32
 * tables; they add up rows in a fixed order.
 */

import { parallel, scratch } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor, zeros } from "../../core/tensor.ts";
import { convert } from "../../kernels/convert/index.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";

/** Gathers 16-bit rows as words of 32 bits (widths are even, as heads are), then widens them. */
function storedRows(table: Tensor, ids: Tensor): Tensor {
  const [, width] = table.shape;
  if (width % 2 !== 0) throw new Error(`embedding: width ${width} of a 16-bit table is odd`);
  const y = new Tensor([ids.size, width]);
  scratch(2 * y.size, (rows) => {
    parallel(pointwise, "gatherRows", [table.ptr, ids.ptr, rows, width / 2], ids.size, 64);
    parallel(convert, table.dtype === "bf16" ? "bf16ToF32" : "f16ToF32", [rows, y.ptr], y.size, 1 << 14);
  });
  return y;
}

/** A `LacunaError` for an id that is not a row of the table. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const [count, width] = table.shape;
  const wrong = ids.i32.find((id) => !(id >= 0 && id < count));
  demand(wrong === undefined, () => ({
    about: `embedding of ${count} rows`,
    expected: `ids from 0 to ${count - 1}`,
    got: String(wrong),
    hint: "Check the vocabulary that the ids come from.",
  }));
  if (table.dtype !== "f32") return storedRows(table, ids);
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
