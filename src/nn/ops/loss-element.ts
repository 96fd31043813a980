/**
 * Losses that are means over elements: squared and absolute difference, binary cross-entropy with logits, the pairwise
 * ranking loss of BPR, and the squared norm for penalties. All are tensors of one element; sums are taken in f64 in a
 * fixed order. Tensors of different sizes are a `LacunaError`.
 */

import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { full, Tensor } from "../../core/tensor.ts";
import { elementLossKernel } from "../../kernels/loss/index.ts";
import { GRAIN, scale } from "./elementwise.ts";
import { total, totalSquares } from "./loss.ts";

/** Elements a thread takes at a time where each needs an exponential. */
const FEW = GRAIN >> 2;

/** Mean of an element loss, and for each input a gradient: function `backward` times `factors[i]` / n. */
function mean(
  name: string,
  a: Tensor,
  b: Tensor,
  fn: string,
  backward: string,
  factors: readonly [number, number],
): Tensor {
  demand(a.size === b.size && a.size > 0, () => ({
    about: name,
    expected: `two tensors of one size, at least one element, as in [${a.shape.join(", ")}]`,
    got: `[${b.shape.join(", ")}]`,
    hint: "Check the shapes.",
  }));
  const each = new Tensor(a.shape);
  parallel(elementLossKernel, fn, [a.ptr, b.ptr, each.ptr], a.size, FEW);
  const loss = full([1], total(each) / a.size);
  each.dispose();
  return record(name, [a, b], loss, (dy, wanted) =>
    factors.map((factor, i) => {
      if (!wanted[i]) return null;
      if (factor === 0) throw new Error(`${name}: no gradient flows to its targets`);
      const g = new Tensor(i === 0 ? a.shape : b.shape);
      const by = (factor * dy.item()) / a.size;
      parallel(elementLossKernel, backward, [a.ptr, b.ptr, by, g.ptr], a.size, FEW);
      return g;
    }),
  );
}

/** Mean of (a - b)^2; gradients flow to both. */
export const meanSquaredError = (a: Tensor, b: Tensor): Tensor =>
  mean("meanSquaredError", a, b, "squared", "squaredBackward", [2, -2]);

/** Mean of |a - b|; the gradient is 0 where they are equal. */
export const meanAbsoluteError = (a: Tensor, b: Tensor): Tensor =>
  mean("meanAbsoluteError", a, b, "absolute", "absoluteBackward", [1, -1]);

/** Mean cross-entropy of sigmoid(logits) with targets in [0, 1]; targets get no gradient. */
export const binaryCrossEntropy = (logits: Tensor, targets: Tensor): Tensor =>
  mean("binaryCrossEntropy", logits, targets, "binary", "binaryBackward", [1, 0]);

/**
 * Bayesian personalised ranking (Rendle et al. 2009): mean of -ln sigmoid(positive - negative) over pairs of scores.
 * Scores that tie cost ln 2.
 */
export const rankingLoss = (positive: Tensor, negative: Tensor): Tensor =>
  mean("rankingLoss", positive, negative, "ranking", "rankingBackward", [-1, 1]);

/** Sum of x^2, a tensor of one element: what L2 penalties are made of. */
export function sumSquares(x: Tensor): Tensor {
  return record("sumSquares", [x], full([1], totalSquares(x)), (dy) => [scale(x, 2 * dy.item())]);
}
