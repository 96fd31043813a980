/**
 * Graph convolutional network (Kipf and Welling 2017): X -> A relu(A X W_1^T + b_1) W_2^T + b_2 and so on, with
 * A = D^-1/2 (A + I) D^-1/2 given as a graph. All nodes at once; a loss takes the labelled rows (targets -1 elsewhere).
 */
import { demand } from "../core/errors.ts";
import type { SparseGraph } from "../nn/graph.ts";
import { constant, xavierUniform } from "../nn/init.ts";
import { linearProduct } from "../nn/layers/linear.ts";
import type { Net } from "../nn/net.ts";
import { relu } from "../nn/ops/activation.ts";
import { dropout } from "../nn/ops/dropout.ts";
import { addRow } from "../nn/ops/elementwise.ts";
import { propagate } from "../nn/ops/graph.ts";
import { type Off, Param } from "../nn/param.ts";

export interface GcnOptions {
  /** widths from features to classes, [1433, 16, 7] for Cora */
  readonly widths: readonly number[];
  /** see `normalisedAdjacency`; it stays the caller's */
  readonly graph: SparseGraph;
  readonly seed: number;
  /** rate on the features that go into each layer; default 0 */
  readonly dropout?: number;
  /** what a masked weight is; default "zero" */
  readonly off?: Off;
}

/** Features [N, D] -> logits [N, C]; parameters `gcn.<l>.weight` [out, in] and `gcn.<l>.bias`, the last of role "head". */
export function gcn({ widths, graph, seed, dropout: rate = 0, off = "zero" }: GcnOptions): Net {
  demand(widths.length >= 2 && graph.rows === graph.columns, () => ({
    about: "graph convolutional network",
    expected: "at least two widths and a square graph",
    got: `${widths.length} widths and [${graph.rows}, ${graph.columns}]`,
    hint: "Give the widths from features to classes.",
  }));
  const layers = widths.slice(1).map((out, l) => {
    const role = l === widths.length - 2 ? "head" : "weight";
    const shared = { role, off, uses: graph.rows, storages: ["csr"] } as const;
    return {
      weight: new Param(`gcn.${l}.weight`, [out, widths[l]], xavierUniform, seed, shared),
      bias: new Param(`gcn.${l}.bias`, [out], constant(0), seed),
    };
  });
  return {
    params: layers.flatMap(({ weight, bias }) => [weight, bias]),
    forward: (x, mode) =>
      layers.reduce((y, { weight, bias }, l) => {
        // Features shrink before they travel.
        const narrow = linearProduct(dropout(y, rate, `gcn.${l}`, mode), weight, mode);
        const z = addRow(propagate(graph, narrow), bias.value);
        return l < layers.length - 1 ? relu(z) : z;
      }, x),
  };
}
