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

export interface LinearOptions {
  /** the weight that dX is taken with, where it is another one; f32 */
  readonly backward?: Tensor;
  /** is told of each product that runs */
  readonly ran?: (product: "forward" | "dX" | "dW") => void;
}

export function linear(x: Tensor, weight: Tensor, { backward = weight, ran }: LinearOptions = {}): Tensor {
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
  ran?.("forward");
  const rule = (dy: Tensor, [wantX, wantW]: readonly boolean[]): readonly (Tensor | null)[] => {
    let dx: Tensor | null = null;
    let dw: Tensor | null = null;
    if (wantX) {
      dx = new Tensor(x.shape);
      const b = { ...rows(backward.ptr, width), type: backward === weight ? type : ("f32" as const) };
      gemm({ m: tokens, n: width, k: out, a: rows(dy.ptr, out), b, c: dx.ptr });
      ran?.("dX");
    }
    if (wantW) {
      dw = new Tensor(weight.shape);
      gemm({ m: out, n: width, k: tokens, a: columns(dy.ptr, out), b: rows(x.ptr, width), c: dw.ptr });
      ran?.("dW");
    }
    return [dx, dw];
  };
  return record("linear", [x, weight], y, rule, backward === weight ? [] : [backward]);
}
