/**
 * Convolution with weights that are stored sparse and train: gradients of the input, of the stored values only, and,
 * when somebody asks for it, of the whole weight (growth by gradient). Else nothing of the dense weight's size is made.
 */
import { convBackward } from "../../core/compute/conv.ts";
import { listedBackward, listedForward } from "../../core/compute/listed-conv.ts";
import { record } from "../../core/tape.ts";
import { type Shape, Tensor } from "../../core/tensor.ts";
import type { Entries } from "../../kernels/conv/geometry.ts";
import { type ConvOptions, channelSums, convShape } from "./conv.ts";

export interface SparseConvOptions extends Omit<ConvOptions, "backward" | "ran"> {
  /** told of each product as it runs; `whole`: the gradient of the whole weight */
  readonly ran?: (product: "forward" | "dX" | "dW", places: number, whole?: boolean) => void;
  /** gets the gradient of the whole weight; the tensor is gone afterwards */
  readonly onDenseGradient?: ((g: Tensor) => void) | undefined;
}

/**
 * x [B, C, H, W] -> [B, O, OH, OW] for a weight of shape [O, C / groups, kh, kw] of which `values` are stored at the
 * places that `index` names.
 */
export function sparseConv2d(
  x: Tensor,
  values: Tensor,
  index: Entries,
  weight: Shape,
  options: SparseConvOptions = {},
): Tensor {
  const { bias = null, ran, onDenseGradient } = options;
  const shape = convShape("sparse conv2d", x, weight, { ...options, ran: undefined });
  const [batch] = x.shape;
  const out = new Tensor([batch, shape.outs, shape.outHeight, shape.outWidth]);
  const places = batch * shape.outHeight * shape.outWidth;
  ran?.("forward", places);
  listedForward(shape, batch, x.ptr, index, values.ptr, bias ? bias.ptr : 0, out.ptr);
  return record("sparseConv2d", bias ? [x, values, bias] : [x, values], out, (dy, [wantX, wantW, wantBias]) => {
    const dx = wantX ? new Tensor(x.shape) : null;
    const dw = wantW ? new Tensor(values.shape) : null;
    const at = { x: x.ptr, dy: dy.ptr, w: values.ptr };
    if (dx) ran?.("dX", places);
    if (dw) ran?.("dW", places);
    if (dx || dw) listedBackward(shape, batch, { ...at, dx: dx?.ptr ?? 0, dw: dw?.ptr ?? 0 }, index);
    if (onDenseGradient) {
      const whole = new Tensor(weight);
      convBackward(shape, batch, { ...at, dx: 0, dw: whole.ptr });
      ran?.("dW", places, true);
      onDenseGradient(whole);
      whole.dispose();
    }
    return [dx, dw, wantBias ? channelSums(dy) : null];
  });
}
