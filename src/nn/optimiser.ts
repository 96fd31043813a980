/**
 * What an optimiser is, and AdamW (Loshchilov and Hutter 2019) with global-norm clipping and masked updates.
 *
 * A masked parameter is `zero` where its mask is 0: value and both moments, after every step; or `held`: the value stays,
 * the moments are 0; or `live`: the mask does not matter to the optimiser. Decay acts on matrices only, and there on kept
 * weights only. State can be read and set, so that training resumes bit for bit.
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
  /** steps done */
  steps: number;
  /** One step; returns the gradients' global norm before clipping. A `LacunaError` when that is not finite. */
  step(gradients: readonly Tensor[], rate: number): number;
  /** state of one parameter by name, as large as its value: "m" and "v" of Adam, "m" of momentum */
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

export class AdamW implements Optimiser {
  readonly parameters: readonly Parameter[];
  readonly options: AdamWOptions;
  readonly #slots = new Slots();
  steps = 0;

  constructor(parameters: readonly Parameter[], options: Partial<AdamWOptions> = {}) {
    this.parameters = parameters;
    this.options = { ...ADAMW, ...options };
    for (const p of parameters) for (const name of ["m", "v"]) this.#slots.of(p, name);
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
        this.#slots.of(p, "m").ptr,
        this.#slots.of(p, "v").ptr,
        rate,
        beta1,
        beta2,
        eps,
        decay,
        c1,
        c2,
        shrink,
      ];
      const form = stepForm(p);
      const masked = form === "step" ? args : [...args, (p.mask as Tensor).ptr];
      parallel(adamw, form, masked, p.value.size, GRAIN);
    });
    return norm;
  }

  dispose(): void {
    this.#slots.dispose(this.parameters, ["m", "v"]);
  }
}
