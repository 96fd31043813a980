/**
 * y = x W^T, with a bias and a ReLU in place where they follow, and its gradients. x [T, in] f32, W [out, in] in f32, bf16 or
 * f16 (gradients only for f32). Weights that train in a sparse form have `sparse-linear.ts`; those that do not, `runtime/`.
 */
import { FEW_TOKENS, gemm, linearForward } from "../../core/compute/gemm.ts";
import { parallel, scratch } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { GRAIN, sumRows } from "./elementwise.ts";

const rows = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: width, colStride: 1 });
const columns = (ptr: number, width: number) => ({ ptr, type: "f32" as const, rowStride: 1, colStride: width });

/** What a linear operation does to its own output, in place. */
export interface LinearEnd {
  /** [out] */
  readonly bias?: Tensor | undefined;
  /** max(y, 0) at the end */
  readonly relu?: boolean;
}

export interface LinearOptions extends LinearEnd {
  /** the weight that dX is taken with, where it is another one; f32 */
  readonly backward?: Tensor;
  /** makes what dX is taken of from dy; dW sees dy itself */
  readonly pruneGradient?: (dy: Tensor) => Tensor;
  /** is told of each product that runs */
  readonly ran?: (product: "forward" | "dX" | "dW") => void;
}

/** y = y + bias, then max(y, 0), for the wanted ones. */
export function endLinear(y: Tensor, { bias, relu }: LinearEnd): void {
  if (bias) {
    const grain = Math.max(1, Math.ceil(GRAIN / bias.size));
    parallel(pointwise, "addRow", [y.ptr, bias.ptr, y.ptr, bias.size], y.size / bias.size, grain);
  }
  if (relu) parallel(pointwise, "relu", [y.ptr, y.ptr], y.size, GRAIN);
}

/** From the gradient of the end to that of the product; `dBias` is made if wanted. */
export function startBackward(
  dy: Tensor,
  y: Tensor,
  { bias, relu }: LinearEnd,
  wantBias: boolean,
): { readonly dz: Tensor; readonly dBias: Tensor | null } {
  let dz = dy;
  if (relu) {
    dz = new Tensor(dy.shape);
    parallel(pointwise, "reluBackward", [y.ptr, dy.ptr, dz.ptr], dz.size, GRAIN);
  }
  return { dz, dBias: bias && wantBias ? sumRows(dz, bias.size) : null };
}

/** Few outputs for many tokens: y^T = W x^T reads x in place, as the product of few tokens reads a weight. */
function narrowForward(x: Tensor, weight: Tensor, tokens: number, y: Tensor): void {
  const [out, width] = weight.shape;
  scratch(4 * out * tokens, (turned) => {
    gemm({ m: out, n: tokens, k: width, a: rows(weight.ptr, width), b: columns(x.ptr, width), c: turned });
    parallel(pointwise, "transpose", [turned, y.ptr, out, tokens], tokens, 1024);
  });
}

export function linear(x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  const { backward = weight, ran, bias, pruneGradient } = options;
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
  if (type === "f32" && out <= FEW_TOKENS && tokens >= 4 * FEW_TOKENS) narrowForward(x, weight, tokens, y);
  else linearForward(x.ptr, tokens, { ptr: weight.ptr, type }, out, width, y.ptr);
  endLinear(y, options);
  ran?.("forward");
  const rule = (dy: Tensor, [wantX, wantW, wantBias]: readonly boolean[]): readonly (Tensor | null)[] => {
    let dx: Tensor | null = null;
    let dw: Tensor | null = null;
    const { dz, dBias } = startBackward(dy, y, options, wantBias);
    if (wantX) {
      dx = new Tensor(x.shape);
      const b = { ...rows(backward.ptr, width), type: backward === weight ? type : ("f32" as const) };
      gemm({ m: tokens, n: width, k: out, a: rows((pruneGradient?.(dz) ?? dz).ptr, out), b, c: dx.ptr });
      ran?.("dX");
    }
    if (wantW) {
      dw = new Tensor(weight.shape);
      gemm({ m: out, n: width, k: tokens, a: columns(dz.ptr, out), b: rows(x.ptr, width), c: dw.ptr });
      ran?.("dW");
    }
    return bias ? [dx, dw, dBias] : [dx, dw];
  };
  return record("linear", bias ? [x, weight, bias] : [x, weight], y, rule, backward === weight ? [] : [backward]);
}
