/**
 * Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796): after a task, weights that its likelihood
 * depends on are tied to their values, lambda sum F (w - w*)^2 with F the diagonal of the empirical Fisher matrix.
 *
 * The penalties of several tasks are one: with F the sum of all and w* their mean weighted by F, it differs from their sum
 * by a constant only. lambda is that of the code of CL-DST, without a factor 1/2.
 */
import { outside, scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { type Tensor, zeros } from "../../core/tensor.ts";
import type { Net } from "../../nn/net.ts";
import { add, mul, scale, sub } from "../../nn/ops/elementwise.ts";
import { sum } from "../../nn/ops/reduce.ts";
import type { Param } from "../../nn/param.ts";
import type { Hook } from "../../sparsity/hook.ts";

interface Tie {
  readonly param: Param;
  readonly fisher: Tensor;
  readonly centre: Tensor;
}

export class Ewc {
  readonly #lambda: number;
  readonly #ties: readonly Tie[];
  #tasks = 0;

  /** `lambda`: default 100. Parameters must be dense. */
  constructor(net: Net, lambda = 100) {
    this.#lambda = lambda;
    this.#ties = net.params.map((param) => ({
      param,
      fisher: outside(() => zeros(param.shape)),
      centre: outside(() => zeros(param.shape)),
    }));
  }

  /** The penalty at the weights as they are; recorded when a tape is. */
  penalty(): Tensor {
    const parts = this.#ties.map(({ param, fisher, centre }) => {
      const d = sub(param.value, centre);
      return sum(mul(mul(d, d), fisher));
    });
    return scale(parts.reduce(add), this.#lambda);
  }

  /** For `fit`; one serves all tasks. Without a task behind it, it costs nothing. */
  get hooks(): readonly Hook[] {
    return this.#tasks === 0 ? [] : [{ id: "ewc", penalty: () => this.penalty() }];
  }

  /** Ends a task. `losses`: for each of some examples, minus the log-likelihood of its label, called inside of a tape. */
  consolidate(losses: readonly (() => Tensor)[]): void {
    const values = this.#ties.map((t) => t.param.value);
    const squares = values.map((v) => new Float64Array(v.size));
    for (const loss of losses) {
      scope(() => {
        const { gradients } = valueAndGrad(loss, values);
        gradients.forEach((gradient, k) => {
          const [g, into] = [gradient.f32, squares[k]];
          for (let i = 0; i < into.length; i++) into[i] += g[i] * g[i];
        });
      });
    }
    this.#ties.forEach(({ param, fisher, centre }, k) => {
      const [w, f, c] = [param.value.f32, fisher.f32, centre.f32];
      for (let i = 0; i < w.length; i++) {
        const now = squares[k][i] / losses.length;
        const all = f[i] + now;
        c[i] = all === 0 ? w[i] : (f[i] * c[i] + now * w[i]) / all;
        f[i] = all;
      }
    });
    this.#tasks++;
  }

  dispose(): void {
    for (const { fisher, centre } of this.#ties) for (const t of [fisher, centre]) t.dispose();
  }
}
