/**
 * Scores of features without labels and without training, larger = keep: what a feature selector must beat. Variance, and
 * the Laplacian score (He, Cai, Niyogi 2005) over a graph of nearest neighbours with heat weights.
 */
import { exp } from "../../core/elementary.ts";
import { stream } from "../../core/random.ts";
import { type Examples, widthOf } from "../../data/examples.ts";
import { standardiser } from "../../data/normalise.ts";
import { nearest } from "../../evaluate/neighbours.ts";

/** Variance of each feature as it stands in the table, [D]. */
export function varianceScores(e: Examples): Float64Array {
  const constant = constantFeatures(e);
  // the standardiser counts a deviation of 0 as 1
  return standardiser(e, "feature").std.map((std, i) => (constant[i] === 1 ? 0 : std * std));
}

/** 1 where a feature has one value throughout, [D]. */
export function constantFeatures(e: Examples): Uint8Array {
  const w = widthOf(e);
  const bits = new Uint8Array(w).fill(1);
  for (let at = w; at < e.x.length; at += w) for (let i = 0; i < w; i++) if (e.x[at + i] !== e.x[i]) bits[i] = 0;
  return bits;
}

/** k features drawn at random, rising. */
export const randomFeatures = (width: number, k: number, seed: number, draw = 0): Int32Array =>
  stream(seed, "random features").permutation(width, draw).slice(0, k).sort();

export interface LaplacianOptions {
  /** neighbours of an example; default 5 */
  readonly neighbours?: number;
}

/**
 * Minus the Laplacian score, [D]: minus the sum over edges of S_ij (f_i - f_j)^2 by the variance of f weighted by degree.
 * S_ij = exp(-d^2 / t) where one of both is among the other's neighbours, t the mean d^2 of edges. A constant feature
 * gets -Infinity. Distances are over all features as they stand in the table; O(N^2 D).
 */
export function laplacianScores(e: Examples, { neighbours = 5 }: LaplacianOptions = {}): Float64Array {
  const w = widthOf(e);
  const n = e.count;
  const near = nearest(e, e, Math.min(n, neighbours + 1));
  const k = near.length / n;
  const edges = new Map<number, number>();
  for (let i = 0; i < n; i++) {
    for (let j = i * k; j < (i + 1) * k; j++) {
      const [a, b] = [Math.min(i, near[j]), Math.max(i, near[j])];
      if (a === b || edges.has(a * n + b)) continue;
      let d = 0;
      for (let c = 0; c < w; c++) d += ((e.x[a * w + c] - e.x[b * w + c]) * e.scale) ** 2;
      edges.set(a * n + b, d);
    }
  }
  const mean = [...edges.values()].reduce((sum, d) => sum + d, 0) / edges.size || 1;
  const degree = new Float64Array(n);
  const rough = new Float64Array(w);
  for (const [key, d] of edges) {
    const [a, b] = [Math.floor(key / n), key % n];
    const s = exp(-d / mean);
    degree[a] += s;
    degree[b] += s;
    for (let c = 0; c < w; c++) rough[c] += s * ((e.x[a * w + c] - e.x[b * w + c]) * e.scale) ** 2;
  }
  const whole = degree.reduce((sum, d) => sum + d, 0);
  const centre = new Float64Array(w);
  for (let i = 0; i < n; i++) for (let c = 0; c < w; c++) centre[c] += (degree[i] * e.x[i * w + c] * e.scale) / whole;
  const spread = new Float64Array(w);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < w; c++) spread[c] += degree[i] * (e.x[i * w + c] * e.scale - centre[c]) ** 2;
  const constant = constantFeatures(e);
  return spread.map((v, c) => (constant[c] === 1 || v === 0 ? Number.NEGATIVE_INFINITY : -rough[c] / v));
}
