/**
 * Views that train a dense weight through its N:M pruned form, chosen anew in every step: straight-through, SR-STE (Zhou et
 * al. 2021), bidirectional pruning (Fang et al. 2023), and pruned weights that fade out (Bambhaniya et al. 2024).
 *
 * W~ = W (E + (1 - E) D): E = 1 for the N largest of each M entries along the inputs, ties to the lower index; D, `rest`, is
 * 0 unless the method fades. E and D are constants to the gradient.
 */
import { type Nm, nmAxis, nmPacks, nmPrune } from "../core/compute/nm-training.ts";
import { Tensor } from "../core/tensor.ts";
import type { Tick } from "./net.ts";
import { scale, sub } from "./ops/elementwise.ts";
import type { Param, View } from "./param.ts";

export interface NmOptions {
  /** N kept of M, or a function of the time where the pattern tightens */
  readonly pattern: readonly [n: number, m: number] | ((t: Tick) => readonly [n: number, m: number]);
  /**
   * What the gradient of the input is taken with: "same", W~ of the forward product; "outputs", a pruning of its own with
   * groups along the outputs (BDWP); "dense", W; "gradients", W with the output's gradient pruned, groups along the outputs
   * of each example and place (SDGP). Default "same".
   */
  readonly backward?: "same" | "outputs" | "dense" | "gradients";
  /** whether the forward product is pruned; default true */
  readonly forward?: boolean;
  /** D, what is left of pruned weights; default 0 */
  readonly rest?: (t: Tick) => number;
  /** whether the gradient of W~ reaches pruned weights whole, straight through, or times D; default "whole" */
  readonly gradient?: "whole" | "restricted";
  /** SR-STE's lambda: adds lambda (1 - E) W to the gradient; default 0 */
  readonly lambda?: number;
}

/** W with what is not kept times `rest`; `by` chooses. */
export function nmPruned(by: Tensor, x: Tensor, nm: Nm, rest = 0): Tensor {
  const out = new Tensor(by.shape);
  nmPrune(by.ptr, x.ptr, rest, by.shape, nm, out.ptr);
  return out;
}

/** A view for `Param.view`; the parameter stays dense. Throws `LacunaError` in the first step when M does not divide. */
export function nmView(options: NmOptions): View {
  const { backward = "same", forward = true, gradient = "whole", lambda = 0 } = options;
  const at = (t: Tick): readonly [number, number] =>
    typeof options.pattern === "function" ? options.pattern(t) : options.pattern;
  const along = (t: Tick, axis: Nm["along"]): Nm => ({ n: at(t)[0], m: at(t)[1], along: axis });
  const restAt = (t: Tick): number => options.rest?.(t) ?? 0;
  const share = (t: Tick): number => (restAt(t) > 0 ? 1 : at(t)[0] / at(t)[1]);
  let last: Tick = { step: 0, steps: 0 };
  const own = !forward || backward !== "same";
  return {
    forward(p, t) {
      last = t;
      nmAxis(p.shape, along(t, "in"), `parameter ${p.name}`);
      return forward ? nmPruned(p.value, p.value, along(t, "in"), restAt(t)) : p.value.reshape(p.shape);
    },
    ...(own && {
      backward: (p: Param, t: Tick): Tensor => {
        if (backward === "dense" || backward === "gradients") return p.value;
        return nmPruned(p.value, p.value, along(t, backward === "outputs" ? "out" : "in"), restAt(t));
      },
    }),
    ...(backward === "gradients" && {
      outputGradient: (dy: Tensor, p: Param, t: Tick): Tensor => {
        const rows = dy.shape.length === 4 ? dy : dy.reshape([dy.size / p.shape[0], p.shape[0]]);
        return nmPruned(rows, rows, along(t, "in")).reshape(dy.shape);
      },
    }),
    grad(g, p, t) {
      const nm = along(t, "in");
      const through = gradient === "restricted" ? nmPruned(p.value, g, nm, restAt(t)) : g;
      if (lambda === 0) return through;
      return sub(through, scale(sub(nmPruned(p.value, p.value, nm), p.value), lambda));
    },
    packed(p, t) {
      last = t;
      const [ahead, back] = [along(t, "in"), along(t, "out")];
      if (!forward || restAt(t) > 0 || backward === "dense" || backward === "gradients" || !nmPacks(p.shape, ahead))
        return undefined;
      if (backward === "same") return { forward: ahead };
      return nmPacks(p.shape, back) ? { forward: ahead, backward: back } : undefined;
    },
    kept(p, product) {
      if (product === "dW") return p.numel;
      const pruned = product === "forward" ? forward : backward !== "dense";
      return pruned ? Math.round(p.numel * share(last)) : p.numel;
    },
  };
}
