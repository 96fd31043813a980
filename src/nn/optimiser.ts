/**
 * What an optimiser is, and three of them with global-norm clipping and masked updates: AdamW (Loshchilov and Hutter
 * 2019), Adam (Kingma and Ba 2015), gradient descent with momentum.
 *
 * A masked parameter is `zero` where its mask is 0: value and both moments, after every step; or `held`: the value stays,
 * the moments are 0; or `live`: the mask does not matter to the optimiser. Decay acts on matrices only, and there on kept
 * weights only. State can be read and set, so that training resumes bit for bit.
 */

import { exp, ln } from "../core/elementary.ts";
import { memory, parallel, scratch } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { outside, scope } from "../core/scope.ts";
import { Tensor, zeros } from "../core/tensor.ts";
import type { Kernel } from "../kernels/kernel.ts";
import { adam, adamw, sgd } from "../kernels/optimiser/index.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import { GRAIN } from "./ops/elementwise.ts";
import { totalSquares } from "./ops/loss.ts";

export interface Parameter {
  readonly name: string;
  readonly value: Tensor;
  /** bytes 0/1, 1 = kept; absent = dense */
  mask?: Tensor | undefined;
  /** what a masked weight is; default "zero" */
  readonly off?: Off;
  readonly decay: boolean;
  /** where the parameter keeps an optimiser's state itself, so that it can follow a change of its mask */
  readonly slots?: Map<string, Tensor>;
}

/** What a masked weight is: 0, what it was and out of training, or in training. */
export type Off = "zero" | "held" | "live";

/** One rule over fixed parameters. State lies in slots, by name, and starts at 0. */
export interface Optimiser {
  readonly parameters: readonly Parameter[];
  /** names of the state that the rule keeps of each parameter: "m" and "v" of Adam, "m" of momentum, or none */
  readonly slotNames: readonly string[];
  /** steps done */
  steps: number;
  /** One step; returns the gradients' global norm before clipping. A `LacunaError` when that is not finite. */
  step(gradients: readonly Tensor[], rate: number): number;
  /** state of one parameter by name, as large as its value */
  slot(p: Parameter, name: string): Tensor;
  dispose(): void;
}

/** Slots of parameters that do not keep their own. */
export class Slots {
  readonly #of = new Map<Parameter, Map<string, Tensor>>();

  #map(p: Parameter): Map<string, Tensor> {
    const kept = p.slots ?? this.#of.get(p);
    if (kept) return kept;
    const made = new Map<string, Tensor>();
    this.#of.set(p, made);
    return made;
  }

  /** The slot, zeros when first asked for. */
  of(p: Parameter, name: string): Tensor {
    const map = this.#map(p);
    let slot = map.get(name);
    if (!slot) {
      slot = outside(() => zeros(p.value.shape));
      map.set(name, slot);
    }
    return slot;
  }

  /** Frees the slots of these names. */
  dispose(parameters: readonly Parameter[], names: readonly string[]): void {
    for (const p of parameters) {
      const map = this.#map(p);
      for (const name of names) {
        map.get(name)?.dispose();
        map.delete(name);
      }
    }
  }
}

/** The form of a step's kernel for a parameter: `step`, or under its mask `stepMasked` or `stepHeld`. */
export function stepForm(p: Parameter): "step" | "stepMasked" | "stepHeld" {
  if (!p.mask || p.off === "live") return "step";
  return p.off === "held" ? "stepHeld" : "stepMasked";
}

export interface ClipOptions {
  /** largest global gradient norm; 0 = no clipping */
  readonly clip: number;
  /**
   * Whose gradients the norm counts under a mask that keeps them from training: all, or those of kept weights, which is
   * what a layer that is stored sparse can see.
   */
  readonly clipOver: "all" | "kept";
}

/** Sum of squares of a parameter's gradient, or of its kept part where the rest does not train. */
function squares(p: Parameter, gradient: Tensor, over: ClipOptions["clipOver"]): number {
  if (over === "all" || stepForm(p) === "step") return totalSquares(gradient);
  const mask = p.mask as Tensor;
  return scope(() => {
    const kept = new Tensor(gradient.shape);
    parallel(pointwise, "maskMul", [gradient.ptr, mask.ptr, kept.ptr], kept.size, GRAIN);
    return totalSquares(kept);
  });
}

/** Global norm of the gradients, and the factor that brings it down to `clip`. A `LacunaError` when it is not finite. */
export function clipping(
  parameters: readonly Parameter[],
  gradients: readonly Tensor[],
  { clip, clipOver }: ClipOptions,
  step: number,
): { readonly norm: number; readonly shrink: number } {
  const norm = Math.sqrt(parameters.reduce((sum, p, i) => sum + squares(p, gradients[i], clipOver), 0));
  demand(Number.isFinite(norm), () => ({
    about: `training, step ${step}`,
    expected: "a finite gradient norm",
    got: String(norm),
    hint: "Lower the learning rate, or warm up longer.",
  }));
  return { norm, shrink: clip > 0 && norm > clip ? clip / norm : 1 };
}

export interface AdamOptions extends ClipOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

/** b^n for a positive base, the same in every engine. */
const power = (b: number, n: number): number => exp(n * ln(b));

const MOMENTS = ["m", "v"] as const;

/** What AdamW and Adam share: two moments, one step count for all parameters, and a kernel. */
class Moments implements Optimiser {
  readonly parameters: readonly Parameter[];
  readonly options: AdamOptions;
  readonly slotNames: readonly string[] = MOMENTS;
  readonly #kernel: Kernel;
  readonly #slots = new Slots();
  steps = 0;

  constructor(parameters: readonly Parameter[], options: AdamOptions, kernel: Kernel) {
    this.parameters = parameters;
    this.options = options;
    this.#kernel = kernel;
    for (const p of parameters) for (const name of MOMENTS) this.#slots.of(p, name);
  }

  slot(p: Parameter, name: string): Tensor {
    return this.#slots.of(p, name);
  }

  get first(): readonly Tensor[] {
    return this.parameters.map((p) => this.#slots.of(p, "m"));
  }

  get second(): readonly Tensor[] {
    return this.parameters.map((p) => this.#slots.of(p, "v"));
  }

  step(gradients: readonly Tensor[], rate: number): number {
    const { beta1, beta2, eps, weightDecay } = this.options;
    const { norm, shrink } = clipping(this.parameters, gradients, this.options, this.steps + 1);
    this.steps++;
    const c1 = 1 / (1 - power(beta1, this.steps));
    const c2 = 1 / (1 - power(beta2, this.steps));
    this.parameters.forEach((p, i) => {
      const decay = p.decay ? weightDecay : 0;
      const [m, v] = MOMENTS.map((name) => this.#slots.of(p, name).ptr);
      const args = [p.value.ptr, gradients[i].ptr, m, v, rate, beta1, beta2, eps, decay, c1, c2, shrink];
      const form = stepForm(p);
      const masked = form === "step" ? args : [...args, (p.mask as Tensor).ptr];
      parallel(this.#kernel, form, masked, p.value.size, GRAIN);
    });
    return norm;
  }

  dispose(): void {
    this.#slots.dispose(this.parameters, MOMENTS);
  }
}

export type AdamWOptions = AdamOptions;

export const ADAMW: AdamWOptions = {
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  clip: 1,
  clipOver: "all",
};

/** Decay acts on the weight alone, apart from the moments. */
export class AdamW extends Moments {
  constructor(parameters: readonly Parameter[], options: Partial<AdamWOptions> = {}) {
    super(parameters, { ...ADAMW, ...options }, adamw);
  }
}

export const ADAM: AdamOptions = {
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0,
  clip: 0,
  clipOver: "kept",
};

/** Adam (Kingma and Ba 2015); decay, if any, is added to the gradient, so that the moments see it. */
export class Adam extends Moments {
  constructor(parameters: readonly Parameter[], options: Partial<AdamOptions> = {}) {
    super(parameters, { ...ADAM, ...options }, adam);
  }
}

export interface SgdOptions extends ClipOptions {
  /** 0 = none, and then no state is kept */
  readonly momentum: number;
  /** look ahead along the momentum (Sutskever et al. 2013) */
  readonly nesterov: boolean;
  /** added to the gradient */
  readonly weightDecay: number;
}

export const SGD: SgdOptions = { momentum: 0, nesterov: false, weightDecay: 0, clip: 0, clipOver: "kept" };

/** Gradient descent with momentum: m = momentum m + g, p -= rate m. */
export class Sgd implements Optimiser {
  readonly parameters: readonly Parameter[];
  readonly options: SgdOptions;
  readonly slotNames: readonly string[];
  readonly #slots = new Slots();
  steps = 0;

  constructor(parameters: readonly Parameter[], options: Partial<SgdOptions> = {}) {
    this.parameters = parameters;
    this.options = { ...SGD, ...options };
    this.slotNames = this.options.momentum === 0 ? [] : ["m"];
    for (const p of parameters) for (const name of this.slotNames) this.#slots.of(p, name);
  }

  slot(p: Parameter, name: string): Tensor {
    return this.#slots.of(p, name);
  }

  step(gradients: readonly Tensor[], rate: number): number {
    const { momentum, nesterov, weightDecay } = this.options;
    const { norm, shrink } = clipping(this.parameters, gradients, this.options, this.steps + 1);
    this.steps++;
    this.parameters.forEach((p, i) => {
      const form = stepForm(p);
      const run = (m: number): void => {
        const decay = p.decay ? weightDecay : 0;
        const args = [p.value.ptr, gradients[i].ptr, m, rate, momentum, decay, shrink, nesterov ? 1 : 0];
        const masked = form === "step" ? args : [...args, (p.mask as Tensor).ptr];
        parallel(sgd, form, masked, p.value.size, GRAIN);
      };
      if (momentum !== 0) run(this.#slots.of(p, "m").ptr);
      else {
        scratch(p.value.bytes, (m) => {
          // The kernel multiplies what lies there by 0, which must not be NaN.
          memory.f32(m, p.value.size).fill(0);
          run(m);
        });
      }
    });
    return norm;
  }

  dispose(): void {
    this.#slots.dispose(this.parameters, this.slotNames);
  }
}
