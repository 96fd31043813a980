/**
 * What scores are made from: weights, dense gradients, optimiser state, masks, the loss, and random numbers by hash.
 *
 * `Evidence` stands for a moment of a training run, or for a network at rest (`probe`, which differentiates a loss when
 * asked). Arrays are dense, row-major, in the sites' order, whatever the storage of the weight.
 */

import { fnv1a, philox } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import type { Tensor } from "../core/tensor.ts";
import type { Param } from "../nn/param.ts";
import { type Mask, maskOf } from "./mask.ts";
import type { Tick } from "./schedule.ts";
import type { Site } from "./site.ts";

/** What a run must prepare in a step: the dense gradient also of weights that are stored sparse. */
export type Need = "grad";

export interface Evidence {
  readonly t: Tick;
  weight(s: Site): Float32Array;
  /** of the last step: dense, before masks, hooks and clipping */
  grad(s: Site): Float32Array;
  /** Hessian times gradient; of a probe only */
  hessianGrad(s: Site): Float32Array;
  /** optimiser state by name, 0 where none is kept */
  slot(s: Site, name: string): Float32Array;
  mask(s: Site): Mask;
  /** 1 where the weight has been active at any time so far */
  ever(s: Site): Uint8Array;
  loss(): number;
  /** uniform in [0, 1), a function of (seed, step, site, element): no draw order, so twins and threads agree */
  random(s: Site): (flat: number) => number;
}

/** 32-bit integer hash with full avalanche ("lowbias32", Ellis 2018), under a key. */
function mix(x: number, key: number): number {
  let h = (x ^ key) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d) >>> 0;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

/** Uniform numbers by element for one (seed, name, step). */
export function lots(seed: number, name: string, step: number): (flat: number) => number {
  const [a, b] = philox([step >>> 0, 0, 2, 0], [seed >>> 0, fnv1a(name)]);
  return (flat) => mix((mix(flat, a) + b) >>> 0, a ^ b) / 4294967296;
}

/** The union of all masks a site has had. */
export class History {
  readonly #ever = new Map<Param, Uint8Array>();

  /** Adds the current masks. */
  note(sites: readonly Site[]): void {
    for (const { param } of sites) {
      const bits = param.bits();
      const ever = this.#ever.get(param);
      if (!ever) this.#ever.set(param, bits);
      else for (let i = 0; i < bits.length; i++) ever[i] |= bits[i];
    }
  }

  of(s: Site): Uint8Array {
    return this.#ever.get(s.param) ?? s.param.bits();
  }
}

export interface Moment {
  readonly t: Tick;
  readonly seed: number;
  readonly history: History;
  readonly loss: number;
  grad(s: Site): Float32Array;
  hessianGrad?(s: Site): Float32Array;
}

export const evidenceOf = (m: Moment): Evidence => ({
  t: m.t,
  weight: (s) => s.param.dense(),
  grad: (s) => m.grad(s),
  hessianGrad: (s) => {
    if (!m.hessianGrad) throw new Error("evidence: products with the Hessian are for probes, not for training steps");
    return m.hessianGrad(s);
  },
  slot: (s, name) => s.param.denseSlot(name),
  mask: (s) => maskOf(s.param.bits()),
  ever: (s) => m.history.of(s),
  loss: () => m.loss,
  random: (s) => lots(m.seed, s.name, m.t.step),
});

/** Gradients of a loss with respect to the sites' values, as copies. */
export function gradientsOf(
  sites: readonly Site[],
  loss: () => Tensor,
): { readonly loss: number; readonly gradients: readonly Float32Array[] } {
  return scope(() => {
    const { value, gradients } = valueAndGrad(
      loss,
      sites.map((s) => s.param.value),
    );
    return { loss: value.item(), gradients: gradients.map((g) => g.toArray()) };
  });
}

/**
 * Evidence of a network at rest. `loss` is called when a score first asks for gradients. The product of Hessian and
 * gradient is the central difference (g(w + e g) - g(w - e g)) / 2e with e = 0.01 / |g|, as the tape takes no second
 * derivatives.
 */
export function probe(sites: readonly Site[], loss: () => Tensor, seed: number, t: Tick = START): Evidence {
  const history = new History();
  let first: ReturnType<typeof gradientsOf> | undefined;
  let second: readonly Float32Array[] | undefined;
  const grads = (): ReturnType<typeof gradientsOf> => {
    first ??= gradientsOf(sites, loss);
    return first;
  };
  const hessian = (): readonly Float32Array[] => {
    const { gradients } = grads();
    const norm = Math.sqrt(gradients.reduce((n, g) => n + g.reduce((a, x) => a + x * x, 0), 0));
    if (norm === 0) return gradients;
    const e = 0.01 / norm;
    const before = sites.map((s) => s.param.dense());
    const moved = (by: number): readonly Float32Array[] => {
      sites.forEach((s, k) => {
        s.param.assign(before[k].map((w, i) => w + by * gradients[k][i]));
      });
      return gradientsOf(sites, loss).gradients;
    };
    try {
      const up = moved(e);
      const down = moved(-e);
      return up.map((u, k) => u.map((x, i) => (x - down[k][i]) / (2 * e)));
    } finally {
      sites.forEach((s, k) => {
        s.param.assign(before[k]);
      });
    }
  };
  return evidenceOf({
    t,
    seed,
    history,
    get loss() {
      return grads().loss;
    },
    grad: (s) => grads().gradients[sites.indexOf(s)],
    hessianGrad: (s) => {
      second ??= hessian();
      return second[sites.indexOf(s)];
    },
  });
}

const START: Tick = { step: 0, steps: 0 };
