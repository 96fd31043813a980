/**
 * Trainable Llama: f32 parameters by their Hugging Face names, made from a seed or from stored tensors.
 */

import { stream } from "../../core/random.ts";
import { outside } from "../../core/scope.ts";
import { Tensor } from "../../core/tensor.ts";
import type { Parameter } from "../../nn/optimiser.ts";
import { type LlamaConfig, llamaTensorShapes } from "./config.ts";

/** Standard deviation of fresh weights; the two linears that write into the residual get 1 / sqrt(2 layers) of it. */
const STD = 0.02;

const writesResidual = (name: string): boolean => name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");

/** Fresh parameters: norms 1, biases 0, weights normal by (seed, name), the GPT-2 scaling for residual writers. */
export function freshParameters(config: LlamaConfig, seed: number): Parameter[] {
  return makeParameters(config, (name, values, shape) => {
    if (shape.length === 1) {
      values.fill(name.endsWith("bias") ? 0 : 1);
      return;
    }
    const std = writesResidual(name) ? STD / Math.sqrt(2 * config.layers) : STD;
    const draws = stream(seed, name);
    for (let i = 0; i < values.length; i++) values[i] = std * draws.normal(i);
  });
}

/** Parameters in the order of `llamaTensorShapes`, each filled by `fill`. They live until disposed. */
export function makeParameters(
  config: LlamaConfig,
  fill: (name: string, values: Float32Array, shape: readonly number[]) => void,
): Parameter[] {
  return [...llamaTensorShapes(config)].map(([name, shape]) => {
    const value = outside(() => new Tensor(shape));
    fill(name, value.f32, shape);
    return { name, value, decay: shape.length === 2 };
  });
}
