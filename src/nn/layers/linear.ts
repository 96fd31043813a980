/**
 * The fully connected layer over a `Param`, and the one place where a linear weight's storage decides what runs.
 */
import type { Tensor } from "../../core/tensor.ts";
import { counter, countProduct, type Product } from "../cost.ts";
import { constant, fanInUniform, type Initialiser } from "../init.ts";
import type { Mode, Net } from "../net.ts";
import { type LinearEnd, linear } from "../ops/linear.ts";
import { nmLinear } from "../ops/nm-linear.ts";
import { sparseLinear } from "../ops/sparse-linear.ts";
import { effective, gradientPruning, Param, type ParamOptions } from "../param.ts";

/** x [.., in] W^T (+ bias, ReLU) -> [.., out] for a weight [out, in] in any storage, counted in `nn/cost.ts`. */
export function linearProduct(x: Tensor, weight: Param, mode: Mode, end: LinearEnd = {}): Tensor {
  const ran = counter(weight, x.size / weight.shape[1]);
  if (weight.sparse) {
    return sparseLinear(x, weight.value, weight.sparse, {
      ...end,
      ran,
      onDenseGradient: weight.onDenseGradient,
      gradientPlaces: weight.gradientPlaces,
    });
  }
  const packed = weight.view?.packed?.(weight, mode.t);
  if (packed) {
    const uses = x.size / weight.shape[1];
    const grad = (g: Tensor): Tensor => weight.view?.grad?.(g, weight, mode.t) ?? g;
    const counted = (product: Product, sparse: boolean): void => countProduct(weight, product, uses, !sparse);
    return nmLinear(x, weight.value, packed, { ...end, ran: counted, grad });
  }
  const seen = effective(weight, mode.t);
  return linear(x, seen.weight, { ...end, backward: seen.backward, ...gradientPruning(weight, mode.t), ran });
}

export interface LinearLayerOptions extends ParamOptions {
  readonly seed: number;
  /** default `fanInUniform` */
  readonly init?: Initialiser;
  /** default true, from 0 */
  readonly bias?: boolean;
  /** ReLU in place at the end; default false */
  readonly relu?: boolean;
}

/** A layer `[.., in] -> [.., out]` with parameters `<name>.weight` and `<name>.bias`. */
export function linearLayer(name: string, inputs: number, outputs: number, options: LinearLayerOptions): Net {
  const { seed, init = fanInUniform, bias = true, relu = false, ...rest } = options;
  const weight = new Param(`${name}.weight`, [outputs, inputs], init, seed, { storages: ["csr"], ...rest });
  const shift = bias ? new Param(`${name}.bias`, [outputs], constant(0), seed) : undefined;
  return {
    params: shift ? [weight, shift] : [weight],
    forward: (x, mode) => linearProduct(x, weight, mode, { bias: shift?.value, relu }),
  };
}
