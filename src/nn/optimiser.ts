/**
 * AdamW (Loshchilov and Hutter 2019) with global-norm clipping, warm-up and cosine, and masked updates.
 *
 * A masked parameter is `zero` where its mask is 0: value and both moments, after every step. Decay acts on matrices
 * only, and there on kept weights only. State can be read and set, so that training resumes bit for bit.
 */

import { exp, ln } from "../core/elementary.ts";
import { parallel } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { outside } from "../core/scope.ts";
import { type Tensor, zeros } from "../core/tensor.ts";
import { adamw } from "../kernels/optimiser/index.ts";
import { GRAIN } from "./ops/elementwise.ts";
import { totalSquares } from "./ops/loss.ts";

export interface Parameter {
  readonly name: string;
  readonly value: Tensor;
  /** bytes 0/1, 1 = kept; absent = dense */
  mask?: Tensor;
  readonly decay: boolean;
}

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** largest global gradient norm; 0 = no clipping */
  readonly clip: number;
}

export const ADAMW: AdamWOptions = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };

/** b^n for a positive base, the same in every engine. */
const power = (b: number, n: number): number => exp(n * ln(b));

export class AdamW {
  readonly parameters: readonly Parameter[];
  readonly options: AdamWOptions;
  readonly first: readonly Tensor[];
  readonly second: readonly Tensor[];
  /** steps done */
  steps = 0;

  constructor(parameters: readonly Parameter[], options: Partial<AdamWOptions> = {}) {
    this.parameters = parameters;
    this.options = { ...ADAMW, ...options };
    this.first = outside(() => parameters.map((p) => zeros(p.value.shape)));
    this.second = outside(() => parameters.map((p) => zeros(p.value.shape)));
  }

  /** One step; returns the gradients' global norm before clipping. A `LacunaError` when that is not finite. */
  step(gradients: readonly Tensor[], rate: number): number {
    const { beta1, beta2, eps, weightDecay, clip } = this.options;
    const norm = Math.sqrt(gradients.reduce((sum, g) => sum + totalSquares(g), 0));
    demand(Number.isFinite(norm), () => ({
      about: `training, step ${this.steps + 1}`,
      expected: "a finite gradient norm",
      got: String(norm),
      hint: "Lower the learning rate, or warm up longer.",
    }));
    const shrink = clip > 0 && norm > clip ? clip / norm : 1;
    this.steps++;
    const c1 = 1 / (1 - power(beta1, this.steps));
    const c2 = 1 / (1 - power(beta2, this.steps));
    this.parameters.forEach((p, i) => {
      const decay = p.decay ? weightDecay : 0;
      const args = [
        p.value.ptr,
        gradients[i].ptr,
        this.first[i].ptr,
        this.second[i].ptr,
        rate,
        beta1,
        beta2,
        eps,
        decay,
        c1,
        c2,
        shrink,
      ];
      if (p.mask) parallel(adamw, "stepMasked", [...args, p.mask.ptr], p.value.size, GRAIN);
      else parallel(adamw, "step", args, p.value.size, GRAIN);
    });
    return norm;
  }

  dispose(): void {
    for (const t of [...this.first, ...this.second]) t.dispose();
  }
}
