/**
 * y = x W^T for a weight that is stored as CSR and trains: gradients of the input, of the stored values only, and, when
 * somebody asks for it, of the whole weight (growth by gradient). Nothing of the size of the dense weight is made else.
 */
import { gemm } from "../../core/compute/gemm.ts";
import { packActivations, packedBytes, type SparseTraining } from "../../core/compute/sparse-training.ts";
import { memory, scratch } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record, recording } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import type { GradientPlaces } from "../param.ts";
import { endLinear, type LinearEnd, startBackward } from "./linear.ts";

export interface SparseLinearOptions extends LinearEnd {
  /** is told of each product that runs; `whole`: the gradient of the whole weight */
  readonly ran?: (product: "forward" | "dX" | "dW", whole?: boolean) => void;
  /** gets the gradient of the whole weight [out, in]; the tensor is gone afterwards */
  readonly onDenseGradient?: ((g: Tensor) => void) | undefined;
  /** the stored values that get a gradient, of which alone it is computed; default all */
  readonly gradientPlaces?: GradientPlaces | undefined;
}

/** Gradient of the values at some places, 0 at the others. */
function partOfGradient(
  { index, to }: GradientPlaces,
  packed: number,
  packedDy: number,
  tokens: number,
  dw: Tensor,
): void {
  scratch(4 * index.stored, (part) => {
    index.weightGradient(packed, packedDy, tokens, part);
    const from = memory.f32(part, index.stored);
    const into = dw.f32.fill(0);
    for (let i = 0; i < to.length; i++) if (to[i] >= 0) into[to[i]] = from[i];
  });
}

/** x [.., in] -> [.., out]; `values` is the row stream of `index`. */
export function sparseLinear(
  x: Tensor,
  values: Tensor,
  index: SparseTraining,
  options: SparseLinearOptions = {},
): Tensor {
  const { out, in: width } = index;
  const tokens = x.size / width;
  demand(x.shape.at(-1) === width, () => ({
    about: "sparse linear",
    expected: `inputs of width ${width} for a weight [${out}, ${width}]`,
    got: `[${x.shape.join(", ")}]`,
    hint: "Check the layer's input width.",
  }));
  const y = new Tensor([...x.shape.slice(0, -1), out]);
  if (!recording()) {
    scratch(packedBytes(tokens, width), (packed) => {
      packActivations(x.ptr, tokens, width, packed);
      index.forward(packed, tokens, values.ptr, y.ptr);
    });
    endLinear(y, options);
    options.ran?.("forward");
    return y;
  }
  const packed = new Tensor([packedBytes(tokens, width) / 4]);
  packActivations(x.ptr, tokens, width, packed.ptr);
  index.forward(packed.ptr, tokens, values.ptr, y.ptr);
  endLinear(y, options);
  options.ran?.("forward");
  const { bias } = options;
  const rule = (dy: Tensor, [wantX, wantW, wantBias]: readonly boolean[]): readonly (Tensor | null)[] =>
    scratch(packedBytes(tokens, out), (packedDy) => {
      const { dz, dBias } = startBackward(dy, y, options, wantBias);
      packActivations(dz.ptr, tokens, out, packedDy);
      const dx = wantX ? new Tensor(x.shape) : null;
      const dw = wantW ? new Tensor(values.shape) : null;
      if (dx) {
        index.inputGradient(packedDy, tokens, values.ptr, dx.ptr);
        options.ran?.("dX");
      }
      if (dw) {
        if (options.gradientPlaces) partOfGradient(options.gradientPlaces, packed.ptr, packedDy, tokens, dw);
        else index.weightGradient(packed.ptr, packedDy, tokens, dw.ptr);
        options.ran?.("dW");
      }
      if (options.onDenseGradient) {
        const whole = new Tensor([out, width]);
        const a = { ptr: dz.ptr, type: "f32" as const, rowStride: 1, colStride: out };
        const b = { ptr: x.ptr, type: "f32" as const, rowStride: width, colStride: 1 };
        gemm({ m: out, n: width, k: tokens, a, b, c: whole.ptr });
        options.ran?.("dW", true);
        options.onDenseGradient(whole);
        whole.dispose();
      }
      return bias ? [dx, dw, dBias] : [dx, dw];
    });
  return record("sparseLinear", bias ? [x, values, bias] : [x, values], y, rule, [packed]);
}
