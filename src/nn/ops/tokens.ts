/**
 * Between images and tokens: moves of whole rows and of axes, with their gradients. Tokens of a batch are rows [B * T, D].
 */
import { call, memory, parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor, tensor } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { sumRows } from "./elementwise.ts";

/** x [batch, rows, columns] -> [batch, columns, rows]. */
function swapAxes(x: Tensor, batch: number, rows: number, columns: number): Tensor {
  const y = new Tensor(x.shape);
  for (let b = 0; b < batch; b++) {
    const at = 4 * b * rows * columns;
    call(pointwise, "transpose", x.ptr + at, y.ptr + at, rows, columns, 0, columns);
  }
  return y;
}

/** Images [B, D, H, W] -> tokens [B * H * W, D], row by row of each image. */
export function imageToTokens(x: Tensor): Tensor {
  const [batch, width, h, w] = x.shape;
  const y = swapAxes(x, batch, width, h * w).reshape([batch * h * w, width]);
  return record("imageToTokens", [x], y, (dy) => [swapAxes(dy, batch, h * w, width).reshape(x.shape)]);
}

/** Tokens [B * H * W, D] -> images [B, D, H, W]. */
export function tokensToImage(x: Tensor, batch: number, h: number, w: number): Tensor {
  const width = x.size / (batch * h * w);
  const y = swapAxes(x, batch, h * w, width).reshape([batch, width, h, w]);
  return record("tokensToImage", [x], y, (dy) => [swapAxes(dy, batch, width, h * w).reshape(x.shape)]);
}

/** The inverse of a permutation; a `LacunaError` if it is none. */
export function inverse(order: Int32Array): Int32Array {
  const back = new Int32Array(order.length).fill(-1);
  order.forEach((from, to) => {
    if (from >= 0 && from < back.length) back[from] = to;
  });
  demand(!back.includes(-1), () => ({
    about: "order of rows",
    expected: `each of 0 to ${order.length - 1} once`,
    got: `[${order.slice(0, 8).join(", ")}, ..]`,
    hint: "An order of rows is a permutation.",
  }));
  return back;
}

/** Row r of the result is row order[r] of x [R, D], for a permutation `order`; `back` is its inverse, if at hand. */
export function reorderRows(x: Tensor, order: Int32Array, back: Int32Array = inverse(order)): Tensor {
  const width = x.size / Math.max(1, order.length);
  const gather = (from: Tensor, ids: Int32Array): Tensor => {
    const to = new Tensor(from.shape);
    const list = tensor(ids);
    parallel(pointwise, "gatherRows", [from.ptr, list.ptr, to.ptr, width], ids.length, 256);
    return to;
  };
  return record("reorderRows", [x], gather(x, order), (dy) => [gather(dy, back)]);
}

/** A learned token [D] in front of the tokens of each of `batch` examples: [B * T, D] -> [B * (T + 1), D]. */
export function prependToken(x: Tensor, token: Tensor, batch: number): Tensor {
  const width = token.size;
  const run = x.size / batch;
  const y = new Tensor([x.size / width + batch, width]);
  for (let b = 0; b < batch; b++) {
    const at = y.ptr + 4 * b * (run + width);
    memory.f32(at, width).set(token.f32);
    memory.f32(at + 4 * width, run).set(memory.f32(x.ptr + 4 * b * run, run));
  }
  return record("prependToken", [x, token], y, (dy, [wantX, wantToken]) => {
    const dx = wantX ? new Tensor(x.shape) : null;
    const first = wantToken ? new Tensor([batch, width]) : null;
    for (let b = 0; b < batch; b++) {
      const at = dy.ptr + 4 * b * (run + width);
      if (first) memory.f32(first.ptr + 4 * b * width, width).set(memory.f32(at, width));
      if (dx) memory.f32(dx.ptr + 4 * b * run, run).set(memory.f32(at + 4 * width, run));
    }
    return [dx, first ? sumRows(first, width).reshape(token.shape) : null];
  });
}

/** Token `which` of each example: [B * T, D] -> [B, D]. */
export function takeToken(x: Tensor, batch: number, which = 0): Tensor {
  const width = x.shape[x.shape.length - 1];
  const run = x.size / batch;
  const y = new Tensor([batch, width]);
  const copy = (from: number, to: number): void => memory.f32(to, width).set(memory.f32(from, width));
  for (let b = 0; b < batch; b++) copy(x.ptr + 4 * (b * run + which * width), y.ptr + 4 * b * width);
  return record("takeToken", [x], y, (dy) => {
    const dx = new Tensor(x.shape);
    dx.f32.fill(0);
    for (let b = 0; b < batch; b++) copy(dy.ptr + 4 * b * width, dx.ptr + 4 * (b * run + which * width));
    return [dx];
  });
}
