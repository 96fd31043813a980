/** Plain f64 twin of a whole network: every layer's output, without planes, threads or tricks. */
import { convTwin } from "../../kernels/convnet/twin.ts";
import { ACTIVATION_BOUNDS, type ConvNet, outputSizes } from "./net.ts";

/** Outputs of all layers for an image [channels, height, width]; the last one are the logits. */
export function netTwin({ shape, weights }: ConvNet, image: ArrayLike<number>): Float64Array[] {
  const sizes = outputSizes(shape);
  const outputs: Float64Array[] = [];
  shape.layers.forEach((layer, i) => {
    const before = i === 0 ? shape.input : sizes[i - 1];
    const x = i === 0 ? Float64Array.from(image) : outputs[i - 1];
    const pixels = before.height * before.width;
    if (layer.kind === "pool") {
      outputs.push(
        Float64Array.from({ length: before.channels }, (_, c) => {
          let sum = 0;
          for (let p = 0; p < pixels; p++) sum += x[c * pixels + p];
          return sum / pixels;
        }),
      );
      return;
    }
    const [lo, hi] = ACTIVATION_BOUNDS["activation" in layer ? layer.activation : "none"];
    const deep = layer.kind === "depthwise";
    const conv = {
      in: before.channels,
      out: sizes[i].channels,
      height: before.height,
      width: before.width,
      size: layer.kind === "conv" ? 3 : deep ? layer.size : 1,
      stride: layer.kind === "conv" || deep ? layer.stride : 1,
      groups: deep ? layer.channels : 1,
    };
    const { values } = convTwin(conv, x, pixels, weights[i].weight, weights[i].bias, lo, hi);
    if (layer.kind === "pointwise" && layer.residual !== undefined) {
      const added = outputs[layer.residual];
      for (let k = 0; k < values.length; k++) values[k] += added[k];
    }
    outputs.push(values);
  });
  return outputs;
}
