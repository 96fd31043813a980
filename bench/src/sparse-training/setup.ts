/**
 * What the contestants of `sparse-training` share: a fully connected network with ReLU and a bias in each layer, one set of
 * weights, the batches, the masks, the calls. Plain arrays, so that they can be sent to any isolate.
 */
import { stream } from "../../../src/core/random.ts";
import { lots } from "../../../src/sparsity/evidence.ts";
import { keepBest, prunedCount } from "../../../src/sparsity/select.ts";

export interface StepSetup {
  /** inputs, hidden ..., classes */
  readonly sizes: readonly number[];
  readonly batch: number;
  /** [out, in] of each layer */
  readonly weights: readonly Float32Array[];
  /** taken in turns: [batch, inputs] and labels */
  readonly batches: readonly { readonly x: Float32Array; readonly y: Int32Array }[];
  readonly rate: number;
}

/** How a Lacuna contestant stores the hidden layers' weights; the last layer is dense always. */
export interface Form {
  readonly storage: "dense" | "masked" | "csr";
  /** fraction of zeros in each hidden layer */
  readonly sparsity: number;
}

/** The calls of a seat. */
export interface Contestant {
  /** loss before each of so many steps of plain Adam from the setup's weights; `form` is for Lacuna alone */
  losses(request: { readonly steps: number; readonly form?: Form }): number[];
  /** one training step on the next batch; its loss */
  step(): number;
}

export const SIZES = [784, 1024, 1024, 10] as const;

/** About unit gain, so that every layer moves the loss. */
export function setupOf(sizes: readonly number[], batch: number, batches: number): StepSetup {
  const draw = (name: string, n: number, f: (i: number, s: ReturnType<typeof stream>) => number): Float32Array => {
    const s = stream(1, name);
    return Float32Array.from({ length: n }, (_, i) => f(i, s));
  };
  const classes = sizes[sizes.length - 1];
  return {
    sizes,
    batch,
    rate: 1e-3,
    weights: sizes.slice(1).map((out, l) => {
      const bound = Math.sqrt(6 / sizes[l]);
      return draw(`w${l}`, out * sizes[l], (i, s) => bound * (2 * s.uniform(i) - 1));
    }),
    batches: Array.from({ length: batches }, (_, b) => {
      const labels = stream(2, "labels");
      return {
        x: draw(`x${b}`, batch * sizes[0], (i, s) => s.uniform(i)),
        y: Int32Array.from({ length: batch }, (_, i) => labels.below(b * batch + i, classes)),
      };
    }),
  };
}

/** Random bits with floor(s n) zeros. */
export function maskOf(layer: number, n: number, sparsity: number): { bits: Uint8Array; kept: number } {
  const at = lots(1, `mask ${layer}`, 0);
  const kept = n - prunedCount(sparsity, n);
  return {
    bits: keepBest(
      Float64Array.from({ length: n }, (_, i) => at(i)),
      kept,
    ),
    kept,
  };
}

/** Every weight and bias once in forward, input and weight gradient; no gradient of the data. MACs of one dense step. */
export const macsOf = (sizes: readonly number[], batch: number): number =>
  sizes.slice(1).reduce((sum, out, l) => sum + (l === 0 ? 2 : 3) * out * sizes[l] * batch, 0);
