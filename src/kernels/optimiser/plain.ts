/** Optimiser steps of one element in plain f64: the slow twins of the kernels. */

export interface AdamWSettings {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly decay: number;
  /** 1 / (1 - beta1^t) */
  readonly correction1: number;
  /** 1 / (1 - beta2^t) */
  readonly correction2: number;
  readonly gradScale: number;
}

/** AdamW with decoupled decay (Loshchilov and Hutter 2019): [p, m, v] after the step. */
export function adamw(p: number, g: number, m: number, v: number, s: AdamWSettings): [number, number, number] {
  const gradient = g * s.gradScale;
  const first = s.beta1 * m + (1 - s.beta1) * gradient;
  const second = s.beta2 * v + (1 - s.beta2) * gradient * gradient;
  const update = (first * s.correction1) / (Math.sqrt(second * s.correction2) + s.eps);
  return [p - s.lr * (update + s.decay * p), first, second];
}

/** Adam (Kingma and Ba 2015) with the decay added to the gradient: [p, m, v] after the step. */
export function adam(p: number, g: number, m: number, v: number, s: AdamWSettings): [number, number, number] {
  return adamw(p, g * s.gradScale + s.decay * p, m, v, { ...s, gradScale: 1, decay: 0 });
}

export interface SgdSettings {
  readonly lr: number;
  readonly momentum: number;
  readonly decay: number;
  readonly gradScale: number;
  readonly nesterov: boolean;
}

/** SGD with momentum (Sutskever et al. 2013), decay added to the gradient: [p, m] after the step. */
export function sgd(p: number, g: number, m: number, s: SgdSettings): [number, number] {
  const gradient = g * s.gradScale + s.decay * p;
  const first = s.momentum * m + gradient;
  return [p - s.lr * (s.nesterov ? gradient + s.momentum * first : first), first];
}
