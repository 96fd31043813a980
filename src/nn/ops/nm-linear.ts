/**
 * y = x W~^T for the N:M pruned W~ of a dense weight, packed in every call: the forward product takes N/M of the work, and
 * the gradient of the input too where it has groups of its own along the outputs (Fang et al. 2023, BDWP). The gradient of
 * the weight is whole and goes straight through to the dense weight.
 */
import { gemm } from "../../core/compute/gemm.ts";
import { nmProduct, nmPrune } from "../../core/compute/nm-training.ts";
import { scratch } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import type { PackedView } from "../param.ts";
import { endLinear, type LinearEnd, startBackward } from "./linear.ts";

export interface NmLinearOptions extends LinearEnd {
  /** is told of each product that runs, and whether by a packed stream */
  readonly ran?: (product: "forward" | "dX" | "dW", packed: boolean) => void;
  /** from the gradient of W~ to that of W; default: straight through */
  readonly grad?: (g: Tensor) => Tensor;
}

const f32 = { type: "f32" } as const;

/** x [.., in], weight [out, in] f32 -> [.., out]. */
export function nmLinear(x: Tensor, weight: Tensor, by: PackedView, options: NmLinearOptions = {}): Tensor {
  const [out, width] = weight.shape;
  const tokens = x.size / width;
  demand(x.shape.at(-1) === width && weight.shape.length === 2, () => ({
    about: "N:M linear",
    expected: `inputs of width ${width} for a weight [${weight.shape.join(", ")}]`,
    got: `[${x.shape.join(", ")}]`,
    hint: "Check the layer's input width.",
  }));
  const { bias, ran } = options;
  const y = new Tensor([...x.shape.slice(0, -1), out]);
  nmProduct(x.ptr, tokens, weight.ptr, weight.shape, by.forward, y.ptr);
  endLinear(y, options);
  ran?.("forward", true);
  const rule = (dy: Tensor, [wantX, wantW, wantBias]: readonly boolean[]): readonly (Tensor | null)[] => {
    const { dz, dBias } = startBackward(dy, y, options, wantBias);
    let dx: Tensor | null = null;
    let dw: Tensor | null = null;
    if (wantX) {
      const to = new Tensor(x.shape);
      if (by.backward) nmProduct(dz.ptr, tokens, weight.ptr, weight.shape, by.backward, to.ptr);
      else {
        scratch(weight.bytes, (pruned) => {
          nmPrune(weight.ptr, weight.ptr, 0, weight.shape, by.forward, pruned);
          const a = { ...f32, ptr: dz.ptr, rowStride: out, colStride: 1 };
          const b = { ...f32, ptr: pruned, rowStride: width, colStride: 1 };
          gemm({ m: tokens, n: width, k: out, a, b, c: to.ptr });
        });
      }
      ran?.("dX", by.backward !== undefined);
      dx = to;
    }
    if (wantW) {
      const g = new Tensor(weight.shape);
      const a = { ...f32, ptr: dz.ptr, rowStride: 1, colStride: out };
      const b = { ...f32, ptr: x.ptr, rowStride: width, colStride: 1 };
      gemm({ m: out, n: width, k: tokens, a, b, c: g.ptr });
      ran?.("dW", false);
      dw = options.grad ? options.grad(g) : g;
    }
    return bias ? [dx, dw, dBias] : [dx, dw];
  };
  return record("nmLinear", bias ? [x, weight, bias] : [x, weight], y, rule);
}
