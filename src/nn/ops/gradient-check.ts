/** For tests: an operation's gradients against central differences of the operation itself. */
import { stream } from "../../core/random.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { full, numel, type Shape, type Tensor, tensor } from "../../core/tensor.ts";
import { mul, reshape } from "./elementwise.ts";
import { linear } from "./linear.ts";

/** A source of normal values of deviation `size`, new ones at each call. */
export function drawer(seed: number): (shape: Shape, size?: number) => Tensor {
  let draws = 0;
  return (shape, size = 1) => {
    const s = stream(seed, `gradient-check-${draws++}`);
    return tensor(
      Float32Array.from({ length: numel(shape) }, (_, i) => size * s.normal(i)),
      shape,
    );
  };
}

/** A loss with a different weight on each output, so that no gradient cancels by symmetry. */
export function weigh(y: Tensor): Tensor {
  const w = tensor(
    Float32Array.from({ length: y.size }, (_, i) => Math.cos(1 + 0.7 * i)),
    y.shape,
  );
  return reshape(linear(reshape(mul(y, w), [1, y.size]), full([1, y.size], 1)), [1]);
}

/**
 * Throws where a gradient differs from the central difference by more than `tolerance` of its size (at least of 1), over
 * at most 24 elements of each input. Truncation is O(h^2), and f32 sums of a few hundred terms of unit size carry about
 * 1e-5 of noise, which the step h = 1e-2 turns into 1e-3 of the quotient.
 */
export function checkGradients(inputs: readonly Tensor[], f: () => Tensor, tolerance = 4e-3, h = 1e-2): void {
  const { gradients } = valueAndGrad(f, inputs);
  inputs.forEach((x, k) => {
    const g = gradients[k].toArray();
    const picks = x.size <= 24 ? [...Array(x.size).keys()] : Array.from({ length: 24 }, (_, i) => (i * 7919) % x.size);
    for (const i of picks) {
      const x0 = x.f32[i];
      x.f32[i] = x0 + h;
      const up = f().item();
      x.f32[i] = x0 - h;
      const down = f().item();
      x.f32[i] = x0;
      const want = (up - down) / (2 * h);
      if (!(Math.abs(g[i] - want) < tolerance * Math.max(1, Math.abs(want)))) {
        throw new Error(`input ${k}, element ${i}: gradient ${g[i]}, central difference ${want}`);
      }
    }
  });
}
