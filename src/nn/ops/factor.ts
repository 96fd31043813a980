/**
 * A weight [out, in] as operations with many products of it see it: a recurrence multiplies with it at every step. The
 * dense form packs once for all steps; sparse forms give the same three products.
 */
import { FEW_TOKENS, gemm, linearForward, type PackedB, prepack } from "../../core/compute/gemm.ts";
import { Tensor } from "../../core/tensor.ts";

export type Ran = (product: "forward" | "dX" | "dW", rows: number) => void;

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
    gradient: (parts) => {
      const dw = new Tensor([out, width]);
      parts.forEach(({ dy, x, rows }, i) => {
        ran?.("dW", rows);
        gemm({ m: out, n: width, k: rows, a: turned(dy, out), b: plain(x, width), c: dw.ptr, accumulate: i > 0 });
      });
      return dw;
    },
    rest: () => {
      ahead?.free();
      back?.free();
      ahead = back = null;
    },
  };
}
