/**
 * SparseGPT: one-shot pruning with the optimal update of the weights that stay, from H = X X^T of the layer's inputs.
 *
 * Differences from the official code: counts are exact (index-based, stable ties), the factor and the update are f64,
 * and a dead input's H_jj is set to the mean of the live ones, so that no result depends on the scale of H.
 */
import { type Damping, dampedFactor } from "../../linalg/cholesky.ts";
import { type F64Matrix, valuesOf, withMatrix } from "../../linalg/matrix.ts";
import { type LayerInput, type LayerResult, present, prunedUnits, type WeightMethod } from "./method.ts";
import { surgery } from "./obs.ts";

interface Factor {
  readonly u: F64Matrix;
  /** inputs that were always 0 */
  readonly dead: readonly number[];
  readonly damping: Damping;
}

/** Linears that share an input share its Gram matrix; the first of them replaces it by U, the others find that here. */
const factors = new WeakMap<object, Factor>();

/** Dead inputs made harmless, damping, then U in place of H. Throws `LacunaError` when H stays indefinite. */
export function factorOf(gram: { readonly ptr: number }, columns: number, name: string): Factor {
  const known = factors.get(gram);
  if (known) return known;
  const u: F64Matrix = { ptr: gram.ptr, rows: columns, columns };
  const v = valuesOf(u);
  const dead: number[] = [];
  let sum = 0;
  for (let j = 0; j < columns; j++) {
    if (v[j * columns + j] === 0) dead.push(j);
    else sum += v[j * columns + j];
  }
  const live = columns - dead.length;
  for (const j of dead) v[j * columns + j] = live > 0 ? sum / live : 1;
  const factor = { u, dead, damping: dampedFactor(u, { about: `layer ${name}, input products` }) };
  factors.set(gram, factor);
  return factor;
}

export const sparsegpt: WeightMethod = {
  id: "sparsegpt",
  title: "SparseGPT",
  paper: {
    title: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
    authors: "Frantar, Alistarh",
    year: 2023,
    arxiv: "2301.00774",
  },
  needs: { gram: true },
  prune(layer: LayerInput): LayerResult {
    const { shape, weights, pattern } = layer;
    const { u, dead, damping } = factorOf(present(layer.statistics.gram, "gram", layer), shape.columns, shape.name);
    return withMatrix(weights, shape.rows, shape.columns, (w) => {
      const v = valuesOf(w);
      for (const j of dead) for (let r = 0; r < shape.rows; r++) v[r * shape.columns + j] = 0;
      const { mask, loss } = surgery(w, u, { pattern, pruned: prunedUnits(layer) }, shape.name);
      const notes = { loss, damping: damping.share, dampingRetries: damping.failures.length, deadInputs: dead.length };
      return { weights: Float32Array.from(valuesOf(w)), mask, notes };
    });
  },
};
