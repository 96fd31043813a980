/**
 * What a model calls for y = x W^T: a dense layer here, sparse ones in `runtime/`. A model never asks which it got.
 */
import type { Tensor } from "../core/tensor.ts";
import { addRow } from "./ops/elementwise.ts";
import { linear } from "./ops/linear.ts";

export interface Linear {
  readonly out: number;
  readonly in: number;
  /** x [T, in] -> [T, out] */
  apply(x: Tensor): Tensor;
  dispose(): void;
}

/** A stored weight [out, in] in f32, bf16 or f16, and perhaps a bias [out] in f32. */
export class DenseLinear implements Linear {
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(weight: Tensor, bias: Tensor | null = null) {
    this.weight = weight;
    this.bias = bias;
  }

  get out(): number {
    return this.weight.shape[0];
  }

  get in(): number {
    return this.weight.shape[1];
  }

  apply(x: Tensor): Tensor {
    const y = linear(x, this.weight);
    return this.bias ? addRow(y, this.bias) : y;
  }

  dispose(): void {
    this.weight.dispose();
    this.bias?.dispose();
  }
}
