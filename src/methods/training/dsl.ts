/**
 * DSL, dynamic sparse learning for recommendation (Wang et al. 2024, arXiv 2402.02855): embedding tables are sparse from
 * the start, each with the same density. Every dT steps the smallest weights of a table go and as many come where the
 * gradient of the step is largest; the exchanged share falls by half a cosine from 0.5 to 0.005 over the whole run. Rows
 * get different sizes by themselves: users and items with many interactions end with more.
 *
 * Counts are exact where the authors' code draws masks element by element; grown weights start at 0 without a past in
 * Adam; what was just dropped does not come back in the same exchange. Growth sees one batch: with few triples most rows
 * of a plain factorisation have no gradient, and ties among those fall to a hash. NeuMF and MultVAE are left out.
 */

import type { Param } from "../../nn/param.ts";
import { uniform } from "../../sparsity/budget.ts";
import { gradient, momentum, random } from "../../sparsity/criteria.ts";
import type { SparseTraining } from "../../sparsity/hook.ts";
import { embeddingSites } from "../../sparsity/site.ts";
import { rigl } from "./rigl.ts";
import type { Dynamic } from "./set.ts";
import { staticRandom } from "./static.ts";

export interface DslOptions {
  /** share of zeros in each table */
  readonly sparsity: number;
  /** dT, in steps; default 100 (the authors: 2000 and more, for far longer runs) */
  readonly every?: number;
  /** first and last share of the weights that is exchanged; default 0.5 and 0.005 */
  readonly fraction?: readonly [first: number, last: number];
  /** default "gradient"; "random" is SET with this schedule */
  readonly growth?: "gradient" | "random" | "momentum";
}

export function dsl({ growth = "gradient", fraction = [0.5, 0.005], ...options }: DslOptions): Dynamic {
  const score = growth === "gradient" ? gradient : growth === "random" ? random : momentum();
  const made = rigl({ ...options, fraction, budget: uniform, until: 1, regrow: false, growth: score });
  return { ...made, id: growth === "gradient" ? "dsl" : `dsl, growth ${growth}`, sites: embeddingSites };
}

/** Random masks that stay, of one density in every table. */
export const staticTables = (sparsity: number): SparseTraining => ({
  ...staticRandom({ sparsity, budget: uniform }),
  sites: embeddingSites,
});

/** A sparse table as it is shipped: for each row a list of (dimension, value). */
export interface SparseTable {
  readonly rows: number;
  readonly width: number;
  /** [rows + 1] */
  readonly starts: Int32Array;
  /** [non-zeros], rising within a row */
  readonly dimensions: Uint8Array | Uint16Array;
  readonly values: Float32Array;
  readonly bytes: number;
}

/** Kept weights by row. */
export function sparseTable(p: Param): SparseTable {
  const [rows, width] = p.shape;
  const [bits, dense] = [p.bits(), p.dense()];
  const counts = rowCounts(p);
  const starts = new Int32Array(rows + 1);
  counts.forEach((n, r) => {
    starts[r + 1] = starts[r] + n;
  });
  const stored = starts[rows];
  const dimensions = width <= 256 ? new Uint8Array(stored) : new Uint16Array(stored);
  const values = new Float32Array(stored);
  for (let i = 0, at = 0; i < bits.length; i++) {
    if (bits[i] === 0) continue;
    dimensions[at] = i % width;
    values[at++] = dense[i];
  }
  const bytes = starts.byteLength + dimensions.byteLength + values.byteLength;
  return { rows, width, starts, dimensions, values, bytes };
}

/** Kept weights of each row, [rows]. */
export function rowCounts(p: Param): Int32Array {
  const [rows, width] = p.shape;
  const counts = new Int32Array(rows);
  p.bits().forEach((bit, i) => {
    counts[Math.floor(i / width)] += bit;
  });
  return counts;
}
