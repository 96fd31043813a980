/**
 * y = x W^T with its gradients. x [T, in] f32, W [out, in] in f32, bf16 or f16 (gradients only for f32).
 *
 * The bias is a separate operation (`addRow`). Sparse weights have a form of their own in `runtime/`.
 */
import { gemm, linearForward } from "../../core/compute/gemm.ts";
import { LacunaError } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";

const rows = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: width, colStride: 1 });
const columns = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: 1, colStride: width });

export function linear(x: Tensor, weight: Tensor): Tensor {
  const [out, width] = weight.shape;
  const tokens = x.size / width;
  if (x.shape.at(-1) !== width || weight.shape.length !== 2) {
    throw new LacunaError({
      about: "linear",
      expected: `inputs of width ${width} for a weight [${weight.shape.join(", ")}]`,
      got: `[${x.shape.join(", ")}]`,
      hint: "Check the layer's input width.",
    });
  }
  const type = weight.dtype;
  if (type !== "f32" && type !== "bf16" && type !== "f16") throw new Error(`linear: weights of type ${type}`);
  const y = new Tensor([...x.shape.slice(0, -1), out]);
  linearForward(x.ptr, tokens, { ptr: weight.ptr, type }, out, width, y.ptr);
  return record("linear", [x, weight], y, (dy, [wantX, wantW]) => {
    let dx: Tensor | null = null;
    let dw: Tensor | null = null;
    if (wantX) {
      dx = new Tensor(x.shape);
      gemm({ m: tokens, n: width, k: out, a: rows(dy.ptr, out), b: { ...rows(weight.ptr, width), type }, c: dx.ptr });
    }
    if (wantW) {
      dw = new Tensor(weight.shape);
      gemm({ m: out, n: width, k: tokens, a: columns(dy.ptr, out), b: rows(x.ptr, width), c: dw.ptr });
    }
    return [dx, dw];
  });
}
