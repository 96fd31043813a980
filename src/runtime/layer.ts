/**
 * A linear layer at run time: one form of its weight for a few tokens (decode), one for many (prefill).
 *
 * Forms: `stored` (dense as in the file, read in place), `expanded` (dense, row-major f32), `packed` (dense f32 in the
 * panels of the matrix product), `panel` (dense in the stored type, in panels of outputs for one token), and the sparse
 * layouts of `kernels/sparse/layouts.ts`. When both uses have the same form they share its memory, and forms that nobody
 * uses are not held. Which form is best is decided in `choose.ts`; this file
 * builds and runs what it is told and counts the bytes. Nothing here has gradients.
 */
import { gemm, linearForward, type PackedB, prepack } from "../core/compute/gemm.ts";
import { boundVector, type SparseMatrix, sparseForward, sparseMatrix } from "../core/compute/sparse.ts";
import { boundPanel, panelForward, vectorMatrix } from "../core/compute/vector.ts";
import { call, memory, parallel } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { outside } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import type { ElementType } from "../kernels/dense/element.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import { LAYOUT_NAMES, LAYOUTS, type LayoutName } from "../kernels/sparse/layouts.ts";
import { toF32 } from "../models/llama/load.ts";
import type { Linear } from "../nn/linear.ts";

export const DENSE_FORMS = ["stored", "expanded", "packed", "panel"] as const;
/** The layouts that have kernels. */
export const SPARSE_FORMS = LAYOUT_NAMES;
export type DenseForm = (typeof DENSE_FORMS)[number];
export type SparseForm = LayoutName;
export type Form = DenseForm | SparseForm;

export const isSparse = (form: Form): form is SparseForm => (SPARSE_FORMS as readonly Form[]).includes(form);

/** Whether a form is N:M and needs a quota. */
export const isQuotaForm = (form: Form): boolean => isSparse(form) && LAYOUTS[form].index === "steps";

/** N and M of the pattern that the N:M forms need. */
export interface Quota {
  readonly n: number;
  readonly m: number;
}

export interface UseChoice {
  readonly form: Form;
  /** why, in words */
  readonly reason: string;
  /** measured speed against the best dense form, where it was measured */
  readonly ratio?: number;
}

export interface LayerChoice {
  /** up to `FEW` tokens at a time */
  readonly decode: UseChoice;
  /** more */
  readonly prefill: UseChoice;
  /** for the N:M forms */
  readonly quota?: Quota;
}

export interface LayerBytes {
  /** in the file */
  readonly file: number;
  /** in engine memory, all forms and the bias */
  readonly resident: number;
  /** read from memory to compute one token */
  readonly perToken: number;
}

/** Most tokens that run in the form chosen for decode; about so many the sparse kernels take one by one. */
export const FEW = 4;

/** A weight in one form. */
export interface Product {
  readonly bytes: number;
  readonly bytesPerToken: number;
  /** y[tokens, out] = x[tokens, in] W^T, both row-major f32 in engine memory */
  forward(x: number, tokens: number, y: number): void;
  /** `forward` of one token from x to y, settled beforehand where that saves time */
  bind?(x: number, y: number): () => void;
  free(): void;
}

const weightType = (t: Tensor): ElementType => {
  const type = t.dtype;
  if (type === "f32" || type === "bf16" || type === "f16") return type;
  throw new Error(`layer: weights of type ${type}`);
};

function denseProduct(weight: Tensor, free: () => void): Product {
  const [out, width] = weight.shape;
  const { ptr } = weight;
  const type = weightType(weight);
  return {
    bytes: weight.bytes,
    bytesPerToken: weight.bytes,
    forward: (x, tokens, y) => linearForward(x, tokens, { ptr, type }, out, width, y),
    free,
  };
}

function packedProduct(weight: Tensor): Product {
  const [out, width] = weight.shape;
  const b: PackedB = prepack({ ptr: weight.ptr, type: weightType(weight), rowStride: 1, colStride: width }, width, out);
  return {
    bytes: b.bytes,
    bytesPerToken: b.bytes,
    forward: (x, tokens, y) =>
      gemm({ m: tokens, n: out, k: width, a: { ptr: x, type: "f32", rowStride: width, colStride: 1 }, b, c: y }),
    free: b.free,
  };
}

function panelProduct(weight: Tensor): Product {
  const [out, width] = weight.shape;
  const w = vectorMatrix({ ptr: weight.ptr, type: weightType(weight) }, out, width, "panel");
  return {
    bytes: w.bytes,
    bytesPerToken: w.bytes,
    forward: (x, tokens, y) => panelForward(x, tokens, w, y),
    bind: (x, y) => boundPanel(x, w, y),
    free: w.free,
  };
}

export function sparseProduct(matrix: SparseMatrix): Product {
  return {
    bytes: matrix.bytes,
    bytesPerToken: matrix.bytesPerToken,
    forward: (x, tokens, y) => sparseForward(x, tokens, matrix, y),
    bind: (x, y) => boundVector(x, matrix, y),
    free: matrix.free,
  };
}

/** An f32 copy of a weight's values outside of engine memory. */
export function valuesOf(weight: Tensor): Float32Array {
  if (weight.dtype === "f32") return weight.toArray();
  const wide = outside(() => toF32(weight));
  const values = wide.toArray();
  wide.dispose();
  return values;
}

/** Builds one form of a stored weight [out, in]. `stored` only borrows the weight; all others are copies. */
export function buildForm(weight: Tensor, form: Form, quota: Quota = { n: 2, m: 4 }): Product {
  switch (form) {
    case "stored":
      return denseProduct(weight, () => {});
    case "expanded": {
      if (weight.dtype === "f32") return denseProduct(weight, () => {});
      const wide = outside(() => toF32(weight));
      return denseProduct(wide, () => wide.dispose());
    }
    case "packed":
      return packedProduct(weight);
    case "panel":
      return panelProduct(weight);
    default:
      return sparseProduct(
        sparseMatrix(valuesOf(weight), weight.shape[0], weight.shape[1], form, isQuotaForm(form) ? quota : {}),
      );
  }
}

export interface LayerParts {
  /** Hugging Face name, e.g. `model.layers.0.self_attn.q_proj` */
  readonly name: string;
  /** the layer owns it from now on, unless `keepWeight` */
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly choice: LayerChoice;
  readonly fileBytes: number;
  /** the weight belongs to somebody else as well (a tied embedding) */
  readonly keepWeight?: boolean;
}

export class RunLayer implements Linear {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly choice: LayerChoice;
  readonly bytes: LayerBytes;
  readonly #few: Product;
  readonly #many: Product;
  readonly #bias: Tensor | null;
  /** the weight as stored, while a form reads it in place */
  readonly #stored: Tensor | null;

  constructor({ name, weight, bias, choice, fileBytes, keepWeight }: LayerParts) {
    const [out, width] = weight.shape;
    this.name = name;
    this.out = out;
    this.in = width;
    this.choice = choice;
    this.#bias = bias;
    // f32 weights are their own expansion.
    const formOf = (form: Form): Form => (form === "expanded" && weight.dtype === "f32" ? "stored" : form);
    const few = formOf(choice.decode.form);
    const many = formOf(choice.prefill.form);
    this.#few = buildForm(weight, few, choice.quota);
    try {
      this.#many = many === few ? this.#few : buildForm(weight, many, choice.quota);
    } catch (error) {
      this.#few.free();
      throw error;
    }
    const inPlace = few === "stored" || many === "stored";
    this.#stored = inPlace && !keepWeight ? weight : null;
    if (!inPlace && !keepWeight) weight.dispose();
    const biasBytes = bias?.bytes ?? 0;
    // A tied weight is counted where it lives, in the embedding.
    const own = (p: Product, form: Form): number => (form === "stored" && keepWeight ? 0 : p.bytes);
    this.bytes = {
      file: fileBytes,
      resident: own(this.#few, few) + (many === few ? 0 : own(this.#many, many)) + biasBytes,
      perToken: this.#few.bytesPerToken + biasBytes,
    };
  }

  /** y[tokens, out] = x[tokens, in] W^T + bias, by address; x and y do not overlap. */
  forward(x: number, tokens: number, y: number): void {
    (tokens <= FEW ? this.#few : this.#many).forward(x, tokens, y);
    if (!this.#bias || tokens === 0) return;
    const args = [y, this.#bias.ptr, y, this.out];
    if (tokens <= FEW) call(pointwise, "addRow", ...args, 0, tokens);
    else parallel(pointwise, "addRow", args, tokens, Math.max(1, Math.ceil((1 << 14) / this.out)));
  }

  /** `forward` of one token from x to y, to be called again and again; fused or not as at the time of binding. */
  bind(x: number, y: number): () => void {
    return (!this.#bias && this.#few.bind?.(x, y)) || (() => this.forward(x, 1, y));
  }

  apply(x: Tensor): Tensor {
    if (x.shape.at(-1) !== this.in) {
      throw new LacunaError({
        about: this.name,
        expected: `inputs of width ${this.in}`,
        got: `[${x.shape.join(", ")}]`,
        hint: "Check the layer's input width.",
      });
    }
    const y = new Tensor([...x.shape.slice(0, -1), this.out]);
    this.forward(x.ptr, x.size / this.in, y.ptr);
    return y;
  }

  dispose(): void {
    this.#few.free();
    if (this.#many !== this.#few) this.#many.free();
    this.#stored?.dispose();
    this.#bias?.dispose();
  }
}

/** Zeros of a stored weight, counted on its bits: +0 and -0. */
export function countZeros(weight: Tensor): number {
  const { ptr, size, dtype } = weight;
  let zeros = 0;
  if (dtype === "f32") {
    const words = memory.i32(ptr, size);
    for (let i = 0; i < size; i++) if ((words[i] & 0x7fffffff) === 0) zeros++;
  } else {
    const words = memory.u16(ptr, size);
    for (let i = 0; i < size; i++) if ((words[i] & 0x7fff) === 0) zeros++;
  }
  return zeros;
}
