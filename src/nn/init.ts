/**
 * Initialisers: value of a weight as a function of its flat index, so that nothing depends on the order of drawing and
 * an initial value can be asked for again. Shapes are [out, in, ...]; the fan in is all but the first axis.
 */

import type { Stream } from "../core/random.ts";
import type { Shape } from "../core/tensor.ts";

export type Initialiser = (shape: Shape, stream: Stream) => (index: number) => number;

const fanIn = (shape: Shape): number => shape.slice(1).reduce((a, b) => a * b, 1);
const fanOut = (shape: Shape): number => shape[0] * shape.slice(2).reduce((a, b) => a * b, 1);

/** Four draws share one block of the generator; the last block is remembered, as indices come in order. */
function blockwise(per: number, make: (block: number) => ArrayLike<number>): (i: number) => number {
  let held = -1;
  let values: ArrayLike<number> = [];
  return (i) => {
    const block = Math.floor(i / per);
    if (block !== held) {
      values = make(block);
      held = block;
    }
    return values[i % per];
  };
}

/** Uniform in [-bound, bound). */
export const uniform =
  (bound: number): Initialiser =>
  (_, stream) =>
    blockwise(4, (b) => stream.words(b).map((w) => (w / 2147483648 - 1) * bound));

/** Normal with mean 0 and deviation `std`. */
export const normal =
  (std: number): Initialiser =>
  (_, stream) => {
    return (i) => std * stream.normal(i);
  };

export const constant =
  (value: number): Initialiser =>
  () =>
  () =>
    value;

/** He et al. 2015: deviation sqrt(2 / fan in), normal. */
export const heNormal: Initialiser = (shape, stream) => normal(Math.sqrt(2 / fanIn(shape)))(shape, stream);

/** He et al. 2015, uniform of the same deviation: bound sqrt(6 / fan in). */
export const heUniform: Initialiser = (shape, stream) => uniform(Math.sqrt(6 / fanIn(shape)))(shape, stream);

/** Glorot and Bengio 2010: bound sqrt(6 / (fan in + fan out)). */
export const xavierUniform: Initialiser = (shape, stream) =>
  uniform(Math.sqrt(6 / (fanIn(shape) + fanOut(shape))))(shape, stream);

/** LeCun et al. 1998: bound 1 / sqrt(fan in), PyTorch's default for linear layers and convolutions. */
export const fanInUniform: Initialiser = (shape, stream) => uniform(1 / Math.sqrt(fanIn(shape)))(shape, stream);
