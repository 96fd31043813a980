/**
 * What a sparse network is worth in numbers: zeros over the sites and over all weights, bytes stored and held, multiply-adds.
 *
 * Weights are tensors of rank 2 and more; biases and norms are parameters but never count as prunable. Bytes of a file are
 * those of packed folders: f32 values that are kept, and a bit an element where something is masked. What training steps
 * really ran is counted in `nn/cost.ts`.
 */
import type { Net } from "../nn/net.ts";
import { type Site, sitesOf } from "./site.ts";

export interface NetFigures {
  /** of all tensors, and how many of them are not masked */
  readonly parameters: number;
  readonly kept: number;
  /** zeros / elements over the sites, and over all weights */
  readonly siteSparsity: number;
  readonly weightSparsity: number;
  readonly storedBytes: number;
  /** in engine memory now: values, masks or indices, optimiser state */
  readonly heldBytes: number;
  /** of the weights for one example, forward: all, and those of kept ones */
  readonly macs: { readonly dense: number; readonly kept: number };
}

const sum = <T>(list: readonly T[], f: (x: T) => number): number => list.reduce((n, x) => n + f(x), 0);

/** Figures of a network; `sites` default to all prunable weights. */
export function figuresOf(net: Net, sites: readonly Site[] = sitesOf(net)): NetFigures {
  const { params } = net;
  const weights = params.filter((p) => p.shape.length >= 2);
  const zeros = (list: readonly { numel: number; kept: number }[]): number => {
    const all = sum(list, (p) => p.numel);
    return all === 0 ? 0 : (all - sum(list, (p) => p.kept)) / all;
  };
  return {
    parameters: sum(params, (p) => p.numel),
    kept: sum(params, (p) => p.kept),
    siteSparsity: zeros(sites.map((s) => s.param)),
    weightSparsity: zeros(weights),
    storedBytes: sum(params, (p) => 4 * p.kept + (p.kept < p.numel ? Math.ceil(p.numel / 8) : 0)),
    heldBytes: sum(params, (p) => p.bytes),
    macs: { dense: sum(weights, (p) => p.numel * p.uses), kept: sum(weights, (p) => p.kept * p.uses) },
  };
}
