/**
 * LightGCN (He et al. 2020): embeddings are smoothed over the bipartite graph of training interactions, K times without
 * weights or non-linearity, and the mean of all stages scores. With no layers it is matrix factorisation.
 */
import type { Edges } from "../nn/graph.ts";
import { bipartiteGraph, type SparseGraph } from "../nn/graph.ts";
import { add, scale } from "../nn/ops/elementwise.ts";
import { propagate } from "../nn/ops/graph.ts";
import { concatRows, sliceRows } from "../nn/ops/rows.ts";
import { type Recommender, type RecommenderOptions, recommender } from "./recommender.ts";

export interface LightGcnOptions extends RecommenderOptions {
  /** steps of propagation */
  readonly layers: number;
  /** training interactions, each once: users `from`, items `to` */
  readonly interactions: Edges;
}

export interface LightGcn extends Recommender {
  /** D^-1/2 A D^-1/2 over users and then items */
  readonly graph: SparseGraph;
  dispose(): void;
}

export function lightGcn(options: LightGcnOptions): LightGcn {
  const { users, items, layers } = options;
  const graph = bipartiteGraph(users, items, options.interactions);
  const model = recommender(options, (own) => {
    if (layers === 0) return own;
    let stage = concatRows(own.users, own.items);
    let sum = stage;
    for (let k = 0; k < layers; k++) {
      stage = propagate(graph, stage);
      sum = add(sum, stage);
    }
    const mean = scale(sum, 1 / (layers + 1));
    return { users: sliceRows(mean, 0, users), items: sliceRows(mean, users, users + items) };
  });
  return { ...model, graph, dispose: () => graph.dispose() };
}
