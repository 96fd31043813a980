/**
 * Dense weights times one token over the engine's memory: from panels of outputs, over the inputs that are active, and for
 * the outputs that are wanted.
 *
 * `panel` and `byinput` are copies of a stored weight in its own type. Panels are one stream of memory, which is up to
 * twice as fast as rows in place where weights come from beyond the second-level cache, and equal within it; `byinput`
 * is for vectors most of whose entries are zero, and gives the bits of `panel` on the whole vector (finite weights).
 * Results do not depend on the number of threads. It knows nothing of tensors.
 */

import { OUTPUTS, outputBlocks, packedElements } from "../../kernels/dense/by-output.ts";
import { compactF32 } from "../../kernels/dense/compact.ts";
import { bytesOf, type ElementType } from "../../kernels/dense/element.ts";
import { gemvBf16, gemvF16, gemvF32 } from "../../kernels/dense/gemv.ts";
import { gemvByInputBf16, gemvByInputF16, gemvByInputF32 } from "../../kernels/dense/gemv-byinput.ts";
import { gemvPanelBf16, gemvPanelF16, gemvPanelF32 } from "../../kernels/dense/gemv-panel.ts";
import type { Kernel } from "../../kernels/kernel.ts";
import { call, memory, scratch } from "../engine.ts";
import { boundSplit, split } from "./split.ts";

export type VectorLayout = "panel" | "byinput";

/** A row-major weight [out, in] in engine memory. */
export interface StoredWeight {
  readonly ptr: number;
  readonly type: ElementType;
}

/** A copy of a weight for products with one token. */
export interface VectorMatrix {
  readonly layout: VectorLayout;
  readonly type: ElementType;
  readonly out: number;
  readonly in: number;
  readonly ptr: number;
  readonly bytes: number;
  /** gives the memory back; the matrix must not be used afterwards */
  free(): void;
}

/** Inputs that take part: indices (i32) and values (f32) in engine memory. */
export interface ActiveInputs {
  readonly list: number;
  readonly values: number;
  readonly count: number;
}

const ROWS: Readonly<Record<ElementType, Kernel>> = { f32: gemvF32, bf16: gemvBf16, f16: gemvF16 };
const KERNELS: Readonly<Record<VectorLayout, Readonly<Record<ElementType, Kernel>>>> = {
  panel: { f32: gemvPanelF32, bf16: gemvPanelBf16, f16: gemvPanelF16 },
  byinput: { f32: gemvByInputF32, bf16: gemvByInputBf16, f16: gemvByInputF16 },
};

/** Work over units that are cheap to hand out one by one, with the thread floor of other products with one vector. */
export const overUnits = (kernel: Kernel, fn: string, args: readonly number[], total: number, flops: number): void =>
  split("spmv", kernel, fn, args, total, 1, flops);

/** Copies a stored weight. Outputs are padded to 32 with zeros. */
export function vectorMatrix(w: StoredWeight, out: number, width: number, layout: VectorLayout): VectorMatrix {
  const bytes = packedElements(out, width) * bytesOf(w.type);
  const ptr = memory.alloc(bytes);
  overUnits(KERNELS[layout][w.type], "pack", [w.ptr, width, out, width, ptr], outputBlocks(out), 4 * out * width);
  return { layout, type: w.type, out, in: width, ptr, bytes, free: () => memory.free(ptr) };
}

const panelArguments = (x: number, tokens: number, w: VectorMatrix, y: number): number[] => [
  w.ptr,
  x,
  w.in,
  w.in,
  y,
  w.out,
  w.out,
  tokens,
];

/** Y[tokens, out] = X[tokens, in] · W^T for a matrix of layout `panel`; row-major f32, meant for one token or very few. */
export function panelForward(x: number, tokens: number, w: VectorMatrix, y: number): void {
  const args = panelArguments(x, tokens, w, y);
  overUnits(KERNELS.panel[w.type], "rows", args, outputBlocks(w.out), 2 * tokens * w.out * w.in);
}

/** `panelForward` of one token, settled beforehand. */
export function boundPanel(x: number, w: VectorMatrix, y: number): () => void {
  const args = panelArguments(x, 1, w, y);
  return boundSplit("spmv", KERNELS.panel[w.type], "rows", args, outputBlocks(w.out), 1, 2 * w.out * w.in);
}

/**
 * Lends the active entries of x[n]: those that are not 0 and whose size is not below the threshold, one for all or one for
 * each entry (f32 [n] in engine memory).
 */
export function withActive<R>(
  x: number,
  n: number,
  threshold: number | { readonly each: number },
  body: (active: ActiveInputs) => R,
): R {
  return scratch(8 * n, (list) => {
    const values = list + 4 * n;
    const count =
      typeof threshold === "number"
        ? call(compactF32, "compact", x, threshold, n, list, values)
        : call(compactF32, "compactEach", x, threshold.each, n, list, values);
    return body({ list, values, count });
  });
}

/** Lends the entries of x that a list (i32 in engine memory) names. */
export function withListed<R>(x: number, list: number, count: number, body: (active: ActiveInputs) => R): R {
  return scratch(4 * count, (values) => {
    call(compactF32, "gather", x, list, count, values);
    return body({ list, values, count });
  });
}

/** y[out] = the active inputs' columns of W, weighted, for a matrix of layout `byinput`. */
export function activeForward({ list, values, count }: ActiveInputs, w: VectorMatrix, y: number): void {
  const blocks = outputBlocks(w.out);
  scratch(4 * OUTPUTS * blocks, (sums) => {
    overUnits(
      KERNELS.byinput[w.type],
      "active",
      [w.ptr, list, values, count, sums, y, w.out],
      blocks,
      2 * count * w.out,
    );
  });
}

/** y[i] = W[list[i]] · x for the listed outputs of a row-major weight [.., in]; list i32 in engine memory. */
export function listedForward(x: number, w: StoredWeight, width: number, list: number, count: number, y: number): void {
  const kernel = ROWS[w.type];
  const product = (from: number): void =>
    overUnits(kernel, "listed", [w.ptr, width, from, width, list, y], count, 2 * count * width);
  if (w.type === "f32") product(x);
  else {
    scratch(4 * width, (prepared) => {
      call(kernel, "prepare", x, width, width, 1, prepared);
      product(prepared);
    });
  }
}
