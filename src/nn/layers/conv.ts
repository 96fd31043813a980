/** Convolution layers over `Param`s, counted in `nn/cost.ts`. */
import { demand } from "../../core/errors.ts";
import type { Tensor } from "../../core/tensor.ts";
import { counter, countProduct, type Product } from "../cost.ts";
import { constant, heNormal, type Initialiser } from "../init.ts";
import type { Mode, Net } from "../net.ts";
import { type ConvOptions, conv2d, convTranspose2d, type TransposedConvOptions } from "../ops/conv.ts";
import { sparseConv2d } from "../ops/sparse-conv.ts";
import { effective, gradientPruning, Param, type ParamOptions } from "../param.ts";

type Sizes = Pick<ConvOptions, "stride" | "padding" | "groups">;

/** The convolution of x with a weight [O, C / groups, kh, kw] in any storage, or as its view shows it. */
export function convProduct(
  x: Tensor,
  weight: Param,
  mode: Mode,
  options: Omit<ConvOptions, "ran" | "backward">,
): Tensor {
  const ran = (product: Product, places: number, whole = false): void => counter(weight, places)(product, whole);
  if (weight.sparse) {
    const { onDenseGradient } = weight;
    return sparseConv2d(x, weight.value, weight.sparse, weight.shape, { ...options, ran, onDenseGradient });
  }
  const seen = effective(weight, mode.t);
  const backward = seen.backward === seen.weight ? {} : { backward: seen.backward };
  return conv2d(x, seen.weight, { ...options, ...backward, ...gradientPruning(weight, mode.t), ran });
}

export interface ConvLayerOptions extends ParamOptions, Sizes {
  readonly seed: number;
  /** default `heNormal` */
  readonly init?: Initialiser;
  /** default false, as a norm most often follows; from 0 */
  readonly bias?: boolean;
  /** side of the square images that come in: sets how often a weight is used for one image */
  readonly size?: number;
}

const one = (n: Sizes["stride"]): number => (typeof n === "number" ? n : (n?.[0] ?? 1));

/** Outputs along a side of a square image. */
export function convSize(size: number, kernel: number, { stride = 1, padding = 0 }: Sizes): number {
  if (padding === "same") return Math.ceil(size / one(stride));
  return Math.floor((size + 2 * one(padding) - kernel) / one(stride)) + 1;
}

/**
 * A layer [B, inputs, H, W] -> [B, outputs, OH, OW] with square kernels and the parameters `<name>.weight` [outputs,
 * inputs / groups, kernel, kernel] and, with `bias`, `<name>.bias`. With a group for each channel its role is
 * "depthwise".
 */
export function convLayer(
  name: string,
  inputs: number,
  outputs: number,
  kernel: number,
  options: ConvLayerOptions,
): Net {
  const { seed, init = heNormal, bias = false, size, stride, padding, groups = 1, ...rest } = options;
  demand(inputs % groups === 0 && outputs % groups === 0, () => ({
    about: name,
    expected: "channels that are multiples of the groups",
    got: `${inputs} to ${outputs} in ${groups} groups`,
    hint: "Check the layer's options.",
  }));
  const role = groups > 1 && groups === inputs ? "depthwise" : "weight";
  const uses = size === undefined ? 1 : convSize(size, kernel, { stride, padding }) ** 2;
  const shape = [outputs, inputs / groups, kernel, kernel];
  const weight = new Param(`${name}.weight`, shape, init, seed, { role, uses, storages: ["csr"], ...rest });
  const shift = bias ? new Param(`${name}.bias`, [outputs], constant(0), seed) : undefined;
  return {
    params: shift ? [weight, shift] : [weight],
    forward: (x, mode) => convProduct(x, weight, mode, { stride, padding, groups, bias: shift?.value }),
  };
}

export interface TransposedLayerOptions extends ParamOptions, TransposedConvOptions {
  readonly seed: number;
  readonly init?: Initialiser;
}

/** A transposed convolution with the parameters `<name>.weight` [inputs, outputs, kernel, kernel] and `<name>.bias`. */
export function convTransposeLayer(
  name: string,
  inputs: number,
  outputs: number,
  kernel: number,
  options: TransposedLayerOptions,
): Net {
  const { seed, init = heNormal, stride, padding, outputPadding, groups = 1, ...rest } = options;
  const weight = new Param(`${name}.weight`, [inputs, outputs / groups, kernel, kernel], init, seed, rest);
  const bias = new Param(`${name}.bias`, [outputs], constant(0), seed);
  return {
    params: [weight, bias],
    forward: (x, mode) =>
      convTranspose2d(x, effective(weight, mode.t).weight, {
        ...{ stride, padding, outputPadding, groups, bias: bias.value },
        ran: (product, places) => countProduct(weight, product, places),
      }),
  };
}
