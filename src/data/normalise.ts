/**
 * Standardisation from the statistics of a training set: one mean and deviation for all values, for each channel, or for
 * each feature. Sums are in f64 over the set's own order. A deviation of 0 counts as 1, so constant features become 0.
 */
import { demand } from "../core/errors.ts";
import { type Examples, widthOf } from "./examples.ts";

export interface Normaliser {
  readonly per: "all" | "channel" | "feature";
  /** of values, that is after `scale`; one entry for each group */
  readonly mean: Float64Array;
  readonly std: Float64Array;
}

/** Statistics of `train`; the deviation is that of the population (divided by N). */
export function standardiser(train: Examples, per: Normaliser["per"] = "all"): Normaliser {
  const w = widthOf(train);
  demand(train.count > 0, () => ({
    about: `statistics of ${train.name}`,
    expected: "at least one example",
    got: "none",
    hint: "Take them from the training set.",
  }));
  const groups = groupsOf(train, per);
  const size = w / groups;
  const n = train.count * size;
  /** Sum of f(value, group) for each group. */
  const sums = (f: (value: number, group: number) => number): Float64Array => {
    const out = new Float64Array(groups);
    for (let at = 0, g = 0; at < train.x.length; at += size, g = g + 1 < groups ? g + 1 : 0) {
      let sum = 0;
      for (let i = at; i < at + size; i++) sum += f(train.x[i], g);
      out[g] += sum;
    }
    return out;
  };
  const raw = sums((v) => v).map((s) => s / n);
  const square = sums((v, g) => (v - raw[g]) * (v - raw[g]));
  const std = square.map((s) => Math.sqrt(s / n) * train.scale || 1);
  return { per, mean: raw.map((m) => m * train.scale), std };
}

/** Groups of equal length that an example falls into: 1, channels, or values. */
export function groupsOf(e: Pick<Examples, "shape">, per: Normaliser["per"]): number {
  if (per === "all") return 1;
  const w = e.shape.reduce((a, b) => a * b, 1);
  return per === "channel" && e.shape.length === 3 ? e.shape[0] : w;
}

/** x -> factor * x + shift for every value of an example: scale and standardisation in one. Without `n`, scale alone. */
export function affineOf(e: Examples, n?: Normaliser): { readonly factor: Float64Array; readonly shift: Float64Array } {
  const w = widthOf(e);
  const factor = new Float64Array(w).fill(e.scale);
  const shift = new Float64Array(w);
  if (n) {
    const groups = groupsOf(e, n.per);
    demand(n.mean.length === groups && n.std.length === groups, () => ({
      about: `standardisation of ${e.name}`,
      expected: `${groups} means, for [${e.shape.join(", ")}] by ${n.per}`,
      got: String(n.mean.length),
      hint: "Take the statistics from the training part of the same set.",
    }));
    const size = w / groups;
    for (let i = 0; i < w; i++) {
      const g = Math.floor(i / size);
      factor[i] = e.scale / n.std[g];
      shift[i] = -n.mean[g] / n.std[g];
    }
  }
  return { factor, shift };
}

/** All values as f32, scaled and standardised: a set whose `scale` is 1. */
export function standardised(e: Examples, n?: Normaliser): Examples & { readonly x: Float32Array } {
  const { factor, shift } = affineOf(e, n);
  const w = widthOf(e);
  const x = new Float32Array(e.x.length);
  for (let at = 0; at < x.length; at += w) for (let i = 0; i < w; i++) x[at + i] = e.x[at + i] * factor[i] + shift[i];
  return { ...e, x, scale: 1 };
}
