/**
 * What is in a model's weights: type, shape, sparsity and pattern found in the values, bytes packed and in BF16; by
 * layer, over the prunable weights, and over all. Reads one tensor at a time and believes only the values.
 */
import { scope } from "../core/scope.ts";
import { fromBytes } from "../core/tensor.ts";
import { llamaPrunable } from "../models/llama/config.ts";
import { engineType, toF32 } from "../models/llama/load.ts";
import type { Model } from "../models/model.ts";
import { measure } from "../sparsity/measure.ts";
import { printPattern } from "../sparsity/pattern.ts";

export interface LayerFacts {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly prunable: boolean;
  readonly elements: number;
  readonly zeros: number;
  readonly sparsity: number;
  /** the strictest pattern that the zeros follow; null without zeros or for tensors that are not matrices */
  readonly pattern: string | null;
  /** bytes in the file; packed weights: bitmask and values */
  readonly packedBytes: number;
  readonly bf16Bytes: number;
}

export interface Totals {
  readonly tensors: number;
  readonly elements: number;
  readonly zeros: number;
  readonly sparsity: number;
  readonly packedBytes: number;
  readonly bf16Bytes: number;
}

export interface Inspection {
  readonly layers: readonly LayerFacts[];
  readonly prunable: Totals;
  readonly all: Totals;
}

function totals(layers: readonly LayerFacts[]): Totals {
  const sum = (f: (l: LayerFacts) => number): number => layers.reduce((n, l) => n + f(l), 0);
  const elements = sum((l) => l.elements);
  const zeros = sum((l) => l.zeros);
  return {
    tensors: layers.length,
    elements,
    zeros,
    sparsity: elements === 0 ? 0 : zeros / elements,
    packedBytes: sum((l) => l.packedBytes),
    bf16Bytes: sum((l) => l.bf16Bytes),
  };
}

/** Facts of every tensor of the model, in the order of its file. */
export async function inspect(model: Model, onProgress?: (done: number) => void): Promise<Inspection> {
  const prunable = new Set(llamaPrunable(model.config));
  const layers: LayerFacts[] = [];
  for (const [i, name] of model.weights.names.entries()) {
    const info = model.weights.info(name);
    const elements = info.shape.reduce((a, b) => a * b, 1);
    const [rows, columns] = info.shape.length === 2 ? info.shape : [1, elements];
    const bytes = await model.weights.read(name);
    const found = scope(() => {
      const values = toF32(fromBytes(bytes, info.shape, engineType(info.dtype))).f32;
      return measure(values, { name, rows, columns });
    });
    layers.push({
      name,
      dtype: info.dtype,
      shape: info.shape,
      prunable: prunable.has(name),
      elements,
      zeros: found.zeros,
      sparsity: found.sparsity,
      pattern: found.pattern && info.shape.length === 2 ? printPattern(found.pattern) : null,
      packedBytes: info.packing?.storedBytes ?? info.bytes,
      bf16Bytes: 2 * elements,
    });
    onProgress?.((i + 1) / model.weights.names.length);
  }
  return { layers, prunable: totals(layers.filter((l) => l.prunable)), all: totals(layers) };
}
