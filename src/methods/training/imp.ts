/**
 * Iterative magnitude pruning on a trained network: Han et al. 2015 (weights kept), Renda et al. 2020 (learning rate run
 * again: `retrain` starts the schedule anew), Frankle and Carbin 2019 (lottery tickets: survivors rewound).
 */
import type { Net } from "../../nn/net.ts";
import { equalShares, type Phases, pruneInPhases } from "../../train/phases.ts";

export interface ImpOptions extends Omit<Phases, "sparsity" | "score"> {
  /** after the last phase; each phase prunes the same share of the weights that are left */
  readonly sparsity: number;
}

export const imp = (net: Net, { sparsity, ...rest }: ImpOptions): Promise<void> =>
  pruneInPhases(net, { ...rest, sparsity: equalShares(sparsity, rest.phases) });
