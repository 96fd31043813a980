/** Activation functions of one input, elementwise on f32, with their gradients. */

import { parallel } from "../../core/engine.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { GRAIN } from "./elementwise.ts";

/** `of`: whether the kernel of the slope reads the input or the output. */
const activation =
  (fn: "relu" | "relu6" | "gelu" | "silu" | "tanh" | "sigmoid", of: "x" | "y") =>
  (x: Tensor): Tensor => {
    const y = new Tensor(x.shape);
    parallel(pointwise, fn, [x.ptr, y.ptr], y.size, GRAIN);
    return record(fn, [x], y, (dy) => {
      const dx = new Tensor(x.shape);
      parallel(pointwise, `${fn}Backward`, [of === "x" ? x.ptr : y.ptr, dy.ptr, dx.ptr], dx.size, GRAIN);
      return [dx];
    });
  };

/** max(x, 0); the gradient at 0 is 0. */
export const relu = activation("relu", "x");
/** min(max(x, 0), 6) (Howard et al. 2017, MobileNet); the gradient at both ends is 0. */
export const relu6 = activation("relu6", "x");
/** The tanh form (Hendrycks and Gimpel 2016). */
export const gelu = activation("gelu", "x");
export const silu = activation("silu", "x");
export const tanh = activation("tanh", "y");
export const sigmoid = activation("sigmoid", "y");
