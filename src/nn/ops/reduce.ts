/** Sum and mean of all elements, as tensors of one element; summed in f64 in a fixed order. */
import { record } from "../../core/tape.ts";
import { full, type Tensor } from "../../core/tensor.ts";
import { scale } from "./elementwise.ts";
import { total } from "./loss.ts";

/** Sum of all elements of an f32 tensor. */
export function sum(x: Tensor): Tensor {
  return record("sum", [x], full([1], total(x)), (dy) => [full(x.shape, dy.item())]);
}

/** Mean of all elements of an f32 tensor. */
export const mean = (x: Tensor): Tensor => scale(sum(x), 1 / Math.max(1, x.size));
