/**
 * A weight [out, in] as operations with many products of it see it: a recurrence multiplies with it at every step. The
 * dense form packs once for all steps; sparse forms give the same three products.
 */
import { FEW_TOKENS, gemm, linearForward, type PackedB, prepack } from "../../core/compute/gemm.ts";
import { packActivations, packedBytes, type SparseTraining } from "../../core/compute/sparse-training.ts";
import { parallel, scratch } from "../../core/engine.ts";
import { accumulate } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { GRAIN } from "./elementwise.ts";

/** Is told of each product that runs over some rows; `whole`: the gradient of the whole weight of a sparse one. */
export type Ran = (product: "forward" | "dX" | "dW", rows: number, whole?: boolean) => void;

/** Rows of a product: addresses of row-major f32 matrices. */
export interface Rows {
  /** [rows, out] */
  readonly dy: number;
  /** [rows, in] */
  readonly x: number;
  readonly rows: number;
}

export interface Factor {
  readonly out: number;
  readonly in: number;
  /** what the tape differentiates by, and what operations must keep until their backward pass */
  readonly value: Tensor;
  readonly saved: readonly Tensor[];
  /** y [rows, out] = x [rows, in] W^T, or += with `accumulate` */
  forward(x: number, rows: number, y: number, accumulate: boolean): void;
  /** dx [rows, in] = dy [rows, out] W */
  backward(dy: number, rows: number, dx: number): void;
  /** gradient of `value`: the sum over all parts of dy^T x */
  gradient(parts: readonly Rows[]): Tensor;
  /** lets go of packed copies; products afterwards pack anew */
  rest(): void;
}

const plain = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: width, colStride: 1 });
const turned = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: 1, colStride: width });

/** Sum over all parts of dy^T x, [out, width]. */
function denseGradient(out: number, width: number, parts: readonly Rows[], ran: (rows: number) => void): Tensor {
  const dw = new Tensor([out, width]);
  parts.forEach(({ dy, x, rows }, i) => {
    ran(rows);
    gemm({ m: out, n: width, k: rows, a: turned(dy, out), b: plain(x, width), c: dw.ptr, accumulate: i > 0 });
  });
  return dw;
}

/**
 * A dense f32 weight; `backward` is the weight that dx is taken with, where it is another one. Packed copies live from
 * the first product that wants them until `rest`.
 */
export function denseFactor(weight: Tensor, backward: Tensor = weight, ran?: Ran): Factor {
  const [out, width] = weight.shape;
  let ahead: PackedB | null = null;
  let back: PackedB | null = null;
  return {
    out,
    in: width,
    value: weight,
    saved: backward === weight ? [] : [backward],
    forward: (x, rows, y, accumulate) => {
      ran?.("forward", rows);
      if (rows <= FEW_TOKENS && !accumulate) {
        linearForward(x, rows, { ptr: weight.ptr, type: "f32" }, out, width, y);
        return;
      }
      ahead ??= prepack(turned(weight.ptr, width), width, out);
      gemm({ m: rows, n: out, k: width, a: plain(x, width), b: ahead, c: y, accumulate });
    },
    backward: (dy, rows, dx) => {
      ran?.("dX", rows);
      back ??= prepack(plain(backward.ptr, width), out, width);
      gemm({ m: rows, n: width, k: out, a: plain(dy, out), b: back, c: dx });
    },
    gradient: (parts) => denseGradient(out, width, parts, (rows) => ran?.("dW", rows)),
    rest: () => {
      ahead?.free();
      back?.free();
      ahead = back = null;
    },
  };
}

/**
 * A weight stored as CSR that trains: `values` is the row stream of `index`, and so is its gradient. `onDenseGradient`
 * gets the gradient of the whole weight [out, in], which is gone afterwards.
 */
export function csrFactor(
  values: Tensor,
  index: SparseTraining,
  ran?: Ran,
  onDenseGradient?: (g: Tensor) => void,
): Factor {
  const { out, in: width } = index;
  return {
    out,
    in: width,
    value: values,
    saved: [],
    forward: (x, rows, y, adding) => {
      ran?.("forward", rows);
      const packed = packedBytes(rows, width);
      scratch(packed + (adding ? 4 * rows * out : 0), (p) => {
        packActivations(x, rows, width, p);
        if (!adding) index.forward(p, rows, values.ptr, y);
        else {
          index.forward(p, rows, values.ptr, p + packed);
          parallel(pointwise, "add", [y, p + packed, y], rows * out, GRAIN);
        }
      });
    },
    backward: (dy, rows, dx) => {
      ran?.("dX", rows);
      scratch(packedBytes(rows, out), (p) => {
        packActivations(dy, rows, out, p);
        index.inputGradient(p, rows, values.ptr, dx);
      });
    },
    gradient: (parts) => {
      const dw = new Tensor(values.shape);
      parts.forEach(({ dy, x, rows }, i) => {
        ran?.("dW", rows);
        const ofX = packedBytes(rows, width);
        scratch(ofX + packedBytes(rows, out), (p) => {
          packActivations(x, rows, width, p);
          packActivations(dy, rows, out, p + ofX);
          const part = i === 0 ? dw : new Tensor(values.shape);
          index.weightGradient(p, p + ofX, rows, part.ptr);
          if (part === dw) return;
          accumulate(dw, part);
          part.dispose();
        });
      });
      if (onDenseGradient) {
        const whole = denseGradient(out, width, parts, (rows) => ran?.("dW", rows, true));
        onDenseGradient(whole);
        whole.dispose();
      }
      return dw;
    },
    rest: () => {},
  };
}
