/**
 * Scores of a network's weights in and before training, as plain functions of the evidence; larger = keep. Where a score
 * chooses what grows, larger = comes.
 *
 * One array a site, in f64 where a product is taken, so that f32 ties do not hide an order. Row-wise scores of stored
 * layers (Wanda and its kin) are in `score.ts`.
 */
import type { Evidence, Need } from "./evidence.ts";
import type { Site } from "./site.ts";

export interface Score {
  readonly id: string;
  readonly needs: readonly Need[];
  of(s: Site, e: Evidence): Float64Array;
  /** called after each step, for scores that have a memory */
  observe?(s: Site, e: Evidence): void;
}

// Plain loops: `from` with a function takes ten times as long, and scores of whole networks are taken a hundred times.
function product(a: Float32Array, b: Float32Array, f: (x: number, y: number) => number): Float64Array {
  const out = new Float64Array(a.length);
  for (let i = 0; i < out.length; i++) out[i] = f(a[i], b[i]);
  return out;
}

function sizes(a: Float32Array): Float64Array {
  const out = new Float64Array(a.length);
  for (let i = 0; i < out.length; i++) out[i] = Math.abs(a[i]);
  return out;
}

/** |w| */
export const magnitude: Score = {
  id: "magnitude",
  needs: [],
  of: (s, e) => sizes(e.weight(s)),
};

/** |g| of the last batch: what RigL grows by. */
export const gradient: Score = {
  id: "gradient",
  needs: ["grad"],
  of: (s, e) => sizes(e.grad(s)),
};

/** |g w|: first-order change of the loss when the weight goes; at the start of training this is SNIP (Lee et al. 2019). */
export const saliency: Score = {
  id: "saliency",
  needs: ["grad"],
  of: (s, e) => product(e.weight(s), e.grad(s), (w, g) => Math.abs(w * g)),
};

/**
 * w (Hg): GraSP (Wang et al. 2020) removes what has the smallest, since removing it lowers the gradient's norm least.
 * The paper writes the score with a minus sign and removes the largest. For probes only.
 */
export const grasp: Score = {
  id: "grasp",
  needs: ["grad"],
  of: (s, e) => product(e.weight(s), e.hessianGrad(s), (w, h) => w * h),
};

/** Uniform by hash of (seed, step, site, element): random pruning, and SET's growth. */
export const random: Score = {
  id: "random",
  needs: [],
  of: (s, e) => {
    const at = e.random(s);
    const out = new Float64Array(s.numel);
    for (let i = 0; i < out.length; i++) out[i] = at(i);
    return out;
  },
};

/** Random, but what has never been active comes first. */
export const unfired: Score = {
  id: "unfired",
  needs: [],
  of: (s, e) => {
    const at = e.random(s);
    const ever = e.ever(s);
    return Float64Array.from({ length: s.numel }, (_, i) => at(i) + 1 - ever[i]);
  },
};

/**
 * |running mean of the dense gradient|, beta of the past: SNFS's growth (Dettmers and Zettlemoyer 2019). It needs the
 * dense gradient in every step, which costs what dense training costs; one instance serves one run.
 */
export function momentum(beta = 0.9): Score {
  const mean = new Map<Site, Float64Array>();
  return {
    id: "momentum",
    needs: ["grad"],
    observe(s, e) {
      const g = e.grad(s);
      const m = mean.get(s) ?? new Float64Array(s.numel);
      for (let i = 0; i < m.length; i++) m[i] = beta * m[i] + (1 - beta) * g[i];
      mean.set(s, m);
    },
    of: (s) => (mean.get(s) ?? new Float64Array(s.numel)).map(Math.abs),
  };
}

/** -sum of w g over the steps: weights that move away from 0 stay (Sanh et al. 2020); one instance serves one run. */
export function movement(): Score {
  const sum = new Map<Site, Float64Array>();
  return {
    id: "movement",
    needs: ["grad"],
    observe(s, e) {
      const [w, g] = [e.weight(s), e.grad(s)];
      const total = sum.get(s) ?? new Float64Array(s.numel);
      for (let i = 0; i < total.length; i++) total[i] -= w[i] * g[i];
      sum.set(s, total);
    },
    of: (s) => sum.get(s) ?? new Float64Array(s.numel),
  };
}
