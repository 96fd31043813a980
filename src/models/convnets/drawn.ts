/** Seeded weights of a realistic scale, for speed and for tests: their outputs mean nothing. */
import { stream } from "../../core/random.ts";
import { type ConvNet, fanIn, type NetShape, weightCount } from "./net.ts";

/**
 * He-scaled weights: normal with variance 2 / fan-in, 1 / fan-in where no activation follows, so that activations keep
 * their size through the network; small biases. A number is a function of (seed, layer's name, index).
 */
export function drawNet(shape: NetShape, seed: number): ConvNet {
  const weights = shape.layers.map((layer) => {
    const count = weightCount(layer);
    const [draws, biases] = [stream(seed, `${layer.name}.weight`), stream(seed, `${layer.name}.bias`)];
    const linear = !("activation" in layer) || layer.activation === "none";
    const size = Math.sqrt((linear ? 1 : 2) / fanIn(layer));
    return {
      weight: Float32Array.from({ length: count.weight }, (_, i) => size * draws.normal(i)),
      bias: Float32Array.from({ length: count.bias }, (_, i) => 0.1 * biases.normal(i)),
    };
  });
  return { shape, weights };
}

/** A drawn image, [channels, height, width], of about unit size. */
export function drawImage({ input }: NetShape, seed: number): Float32Array {
  const draws = stream(seed, "image");
  return Float32Array.from({ length: input.channels * input.height * input.width }, (_, i) => 2 * draws.uniform(i) - 1);
}
