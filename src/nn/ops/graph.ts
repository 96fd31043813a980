/**
 * Propagation over a graph, y = A x, with gradients of the features and, where asked for, of the edges' values.
 *
 * The gradient of the features is A^T dy through the transposed rows, so every sum runs in a fixed order and no two
 * threads write one row. Also serves as the product of sparse features with a dense weight.
 */

import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { propagateKernel } from "../../kernels/graph/index.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import type { SparseGraph } from "../graph.ts";

/** Rows a thread takes at a time; degrees differ, so few. */
const ROWS = 32;

/**
 * A x for a graph [rows, columns] and x [columns, F] -> [rows, F]. `values` f32 [entries] replaces the graph's own, in
 * its order, and gets a gradient.
 */
export function propagate(graph: SparseGraph, x: Tensor, values: Tensor = graph.values): Tensor {
  const { rows, columns, entries } = graph;
  const [nodes, F] = x.shape;
  demand(x.shape.length === 2 && nodes === columns && values.size === entries, () => ({
    about: `propagation over a graph [${rows}, ${columns}] of ${entries} edges`,
    expected: `features [${columns}, F] and ${entries} values`,
    got: `[${x.shape.join(", ")}] and ${values.size}`,
    hint: "Features have one row for each column of the graph.",
  }));
  const y = new Tensor([rows, F]);
  parallel(propagateKernel, "multiply", [graph.starts.ptr, graph.ids.ptr, values.ptr, x.ptr, y.ptr, F], rows, ROWS);
  return record("propagate", [x, values], y, (dy, [wantX, wantValues]) => {
    let dx: Tensor | null = null;
    let dvalues: Tensor | null = null;
    if (wantX) {
      const { starts, ids, order } = graph.transposed;
      const turned = new Tensor([entries]);
      parallel(pointwise, "gatherRows", [values.ptr, order.ptr, turned.ptr, 1], entries, 1 << 14);
      dx = new Tensor(x.shape);
      parallel(propagateKernel, "multiply", [starts.ptr, ids.ptr, turned.ptr, dy.ptr, dx.ptr, F], columns, ROWS);
    }
    if (wantValues) {
      dvalues = new Tensor(values.shape);
      const args = [graph.starts.ptr, graph.ids.ptr, dy.ptr, x.ptr, dvalues.ptr, F];
      parallel(propagateKernel, "edgeDots", args, rows, ROWS);
    }
    return [dx, dvalues];
  });
}
