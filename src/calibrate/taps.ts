/**
 * What is collected about the inputs of a linear: norms, means, within-sequence variances, Gram matrices.
 *
 * Sums are f64 and run over the tokens in their order (Gram matrices: over fixed chunks), so they are the same bits for
 * any number of threads. Variances are those of DSnoT (Zhang et al. 2024): the biased variance within each sequence,
 * averaged over sequences. An accumulator knows nothing of models.
 */
import { outside } from "../core/scope.ts";
import { type Tensor, zeros } from "../core/tensor.ts";
import { accumulateGram } from "../linalg/product.ts";

/** Which statistics of an input are wanted; the token count always comes along. */
export interface Wanted {
  /** ||X_j||_2 over all tokens (Wanda) */
  readonly norms?: boolean;
  /** mean over all tokens (DSnoT) */
  readonly means?: boolean;
  /** biased variance within a sequence, averaged over sequences (DSnoT) */
  readonly variances?: boolean;
  /** X^T X summed over all tokens (SparseGPT) */
  readonly gram?: boolean;
}

/** Statistics of the inputs X [N, C] of one linear. Those not asked for are undefined. */
export interface InputStatistics {
  /** C */
  readonly width: number;
  /** N, tokens of all sequences together */
  readonly tokens: number;
  readonly sequences: number;
  readonly norms?: Float64Array;
  readonly means?: Float64Array;
  readonly variances?: Float64Array;
  /** [C, C] f64, upper triangle; lives as long as the visit it belongs to, in which it may be overwritten */
  readonly gram?: Tensor;
}

/** Everything that either asks for. */
export const both = (a: Wanted, b: Wanted): Wanted => ({
  norms: a.norms || b.norms,
  means: a.means || b.means,
  variances: a.variances || b.variances,
  gram: a.gram || b.gram,
});

export const wantsAny = (w: Wanted): boolean => Boolean(w.norms || w.means || w.variances || w.gram);

export class InputAccumulator {
  readonly width: number;
  readonly #wanted: Wanted;
  readonly #squares: Float64Array;
  readonly #sums: Float64Array;
  readonly #variances: Float64Array;
  readonly #gram: Tensor | undefined;
  #tokens = 0;
  #sequences = 0;
  #made: InputStatistics | undefined;

  constructor(width: number, wanted: Wanted) {
    this.width = width;
    this.#wanted = wanted;
    this.#squares = new Float64Array(wanted.norms ? width : 0);
    this.#sums = new Float64Array(wanted.means ? width : 0);
    this.#variances = new Float64Array(wanted.variances ? width : 0);
    if (wanted.gram) this.#gram = outside(() => zeros([width, width], "f64"));
  }

  /** Adds the inputs of whole sequences: x f32 [sequences * length, C], one sequence after the other. */
  add(x: Tensor, sequences: number): void {
    if (this.#made) throw new Error("taps: inputs came after the statistics were taken");
    const rows = x.size / this.width;
    const { norms, means, variances } = this.#wanted;
    // Nothing is allocated in engine memory while this view is in use.
    const view = x.f32;
    if (norms) addSquares(view, this.width, this.#squares);
    if (means) addRows(view, this.width, this.#sums);
    if (variances) {
      const size = x.size / sequences;
      for (let s = 0; s < sequences; s++) {
        addVariances(view.subarray(s * size, (s + 1) * size), this.width, this.#variances);
      }
    }
    if (this.#gram) accumulateGram({ ptr: this.#gram.ptr, rows: this.width, columns: this.width }, x.ptr, rows);
    this.#tokens += rows;
    this.#sequences += sequences;
  }

  /** The same object at every call, so that linears with one input can share what is made from it. */
  statistics(): InputStatistics {
    const { norms, means, variances } = this.#wanted;
    this.#made ??= {
      width: this.width,
      tokens: this.#tokens,
      sequences: this.#sequences,
      ...(norms && { norms: this.#squares.map(Math.sqrt) }),
      ...(means && { means: this.#sums.map((s) => s / this.#tokens) }),
      ...(variances && { variances: this.#variances.map((s) => s / this.#sequences) }),
      ...(this.#gram && { gram: this.#gram }),
    };
    return this.#made;
  }

  dispose(): void {
    this.#gram?.dispose();
  }
}

function addSquares(x: Float32Array, width: number, into: Float64Array): void {
  for (let at = 0; at < x.length; at += width) {
    for (let j = 0; j < width; j++) {
      const v = x[at + j];
      into[j] += v * v;
    }
  }
}

function addRows(x: Float32Array, width: number, into: Float64Array): void {
  for (let at = 0; at < x.length; at += width) for (let j = 0; j < width; j++) into[j] += x[at + j];
}

/** Adds the biased variance of each column of one sequence; about its mean, so that nothing cancels. */
function addVariances(x: Float32Array, width: number, into: Float64Array): void {
  const length = x.length / width;
  const mean = new Float64Array(width);
  addRows(x, width, mean);
  const squares = new Float64Array(width);
  for (let at = 0; at < x.length; at += width) {
    for (let j = 0; j < width; j++) {
      const d = x[at + j] - mean[j] / length;
      squares[j] += d * d;
    }
  }
  for (let j = 0; j < width; j++) into[j] += squares[j] / length;
}
