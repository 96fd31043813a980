/**
 * Graphs as sparse matrices: CSR in engine memory, its transpose where it is not symmetric, and the normalisations that
 * graph networks use. Built once; edges do not change afterwards, their values may.
 */

import { memory } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { outside } from "../core/scope.ts";
import { type Tensor, tensor } from "../core/tensor.ts";

/** A sparse matrix [rows, columns] by rows; entries of a row are in rising order of columns. */
export interface SparseGraph {
  readonly rows: number;
  readonly columns: number;
  readonly entries: number;
  /** i32 [rows + 1] */
  readonly starts: Tensor;
  /** i32 [entries]: the column of each */
  readonly ids: Tensor;
  /** f32 [entries] */
  readonly values: Tensor;
  /** i32 [entries]: which entry stands at each place of the transpose's rows; its starts and ids */
  readonly transposed: { readonly starts: Tensor; readonly ids: Tensor; readonly order: Tensor };
  dispose(): void;
}

/** A list of entries: `from[i]` is a row, `to[i]` a column. */
export interface Edges {
  readonly from: ArrayLike<number>;
  readonly to: ArrayLike<number>;
  /** default 1 each */
  readonly values?: ArrayLike<number>;
}

/** Order of entries by (row, column), by counting. */
function sorted(keys: ArrayLike<number>, count: number, order: Int32Array): { starts: Int32Array; order: Int32Array } {
  const starts = new Int32Array(count + 1);
  for (let i = 0; i < keys.length; i++) starts[keys[i] + 1]++;
  for (let r = 0; r < count; r++) starts[r + 1] += starts[r];
  const next = starts.slice();
  const out = new Int32Array(keys.length);
  for (const e of order) out[next[keys[e]]++] = e;
  return { starts, order: out };
}

/**
 * The sparse matrix of a list of edges. A `LacunaError` for an index out of range or an edge that is listed twice.
 * It lives until disposed.
 */
export function sparseGraph(rows: number, columns: number, edges: Edges): SparseGraph {
  const { from, to } = edges;
  const count = from.length;
  const given = edges.values ?? new Float32Array(count).fill(1);
  demand(to.length === count && given.length === count, () => ({
    about: "edges of a graph",
    expected: `${count} rows, columns and values`,
    got: `${to.length} columns and ${given.length} values`,
    hint: "Give one row, column and value for each edge.",
  }));
  for (let i = 0; i < count; i++) {
    demand(
      Number.isInteger(from[i]) &&
        Number.isInteger(to[i]) &&
        from[i] >= 0 &&
        to[i] >= 0 &&
        from[i] < rows &&
        to[i] < columns,
      () => ({
        about: `edge ${i} of a graph`,
        expected: `a row below ${rows} and a column below ${columns}`,
        got: `${from[i]}, ${to[i]}`,
        hint: "Nodes are counted from 0.",
      }),
    );
  }
  const all = Int32Array.from({ length: count }, (_, i) => i);
  const byColumn = sorted(to, columns, all).order;
  const { starts, order } = sorted(from, rows, byColumn);
  const ids = Int32Array.from(order, (e) => to[e]);
  for (let r = 0; r < rows; r++) {
    for (let e = starts[r] + 1; e < starts[r + 1]; e++) {
      demand(ids[e] !== ids[e - 1], () => ({
        about: `row ${r} of a graph`,
        expected: "each edge once",
        got: `two edges to ${ids[e]}`,
        hint: "Drop or add up edges that are listed twice.",
      }));
    }
  }
  const rowOf = Int32Array.from(order, (e) => from[e]);
  const back = sorted(ids, columns, all);
  return outside(() => {
    const made = {
      starts: tensor(starts),
      ids: tensor(ids),
      values: tensor(Float32Array.from(order, (e) => given[e])),
      transposed: {
        starts: tensor(back.starts),
        ids: tensor(Int32Array.from(back.order, (e) => rowOf[e])),
        order: tensor(back.order),
      },
    };
    const { transposed: t, ...own } = made;
    return {
      rows,
      columns,
      entries: count,
      ...made,
      dispose: () => {
        for (const x of [...Object.values(own), ...Object.values(t)]) x.dispose();
      },
    };
  });
}

/** Every edge in both directions. */
function bothWays(edges: Edges): { from: Int32Array; to: Int32Array } {
  const n = edges.from.length;
  const from = new Int32Array(2 * n);
  const to = new Int32Array(2 * n);
  for (let i = 0; i < n; i++) {
    [from[i], to[i]] = [edges.from[i], edges.to[i]];
    [from[n + i], to[n + i]] = [edges.to[i], edges.from[i]];
  }
  return { from, to };
}

/** Divides each value by sqrt(degree of row x degree of column), degrees counted over the matrix's own entries. */
function normalise(g: SparseGraph): SparseGraph {
  const starts = memory.i32(g.starts.ptr, g.rows + 1);
  const ids = memory.i32(g.ids.ptr, g.entries);
  const values = memory.f32(g.values.ptr, g.entries);
  const degree = (node: number): number => starts[node + 1] - starts[node];
  for (let r = 0; r < g.rows; r++) {
    for (let e = starts[r]; e < starts[r + 1]; e++) values[e] = 1 / Math.sqrt(degree(r) * degree(ids[e]));
  }
  return g;
}

/**
 * D^-1/2 (A + I) D^-1/2 of an undirected graph whose edges are listed once in any direction, without loops
 * (Kipf and Welling 2017); `loops: false` leaves I out. A node without edges keeps a row of zeros then.
 */
export function normalisedAdjacency(
  nodes: number,
  edges: Edges,
  options: { readonly loops?: boolean } = {},
): SparseGraph {
  const { from, to } = bothWays(edges);
  if (options.loops === false) return normalise(sparseGraph(nodes, nodes, { from, to }));
  const own = Int32Array.from({ length: nodes }, (_, i) => i);
  const join = (ends: Int32Array): Int32Array => {
    const all = new Int32Array(ends.length + nodes);
    all.set(ends);
    all.set(own, ends.length);
    return all;
  };
  return normalise(sparseGraph(nodes, nodes, { from: join(from), to: join(to) }));
}

/**
 * The normalised bipartite graph of users and items, [users + items] nodes, items after users: entries
 * 1 / sqrt(deg(user) deg(item)) in both directions, no loops (He et al. 2020, "LightGCN"). Only training interactions
 * belong in it; `from` are users, `to` items counted from 0.
 */
export function bipartiteGraph(users: number, items: number, interactions: Edges): SparseGraph {
  const to = Int32Array.from(interactions.to, (item) => users + item);
  return normalisedAdjacency(users + items, { from: interactions.from, to }, { loops: false });
}
