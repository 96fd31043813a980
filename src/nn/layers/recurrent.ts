/**
 * LSTM layers over `Param`s, alone and stacked, and the one place where a recurrent weight's storage decides what runs.
 */
import type { Tensor } from "../../core/tensor.ts";
import { counter } from "../cost.ts";
import { type Initialiser, uniform } from "../init.ts";
import type { Mode } from "../net.ts";
import { csrFactor, denseFactor, type Factor, type Ran } from "../ops/factor.ts";
import { type CellState, type LstmResult, lstm } from "../ops/recurrent.ts";
import { effective, Param, type ParamOptions } from "../param.ts";

/** A weight in any storage as a recurrence multiplies with it, its products counted in `nn/cost.ts`. */
export function factorOf(weight: Param, mode: Mode): Factor {
  const ran: Ran = (product, rows, whole) => counter(weight, rows)(product, whole);
  if (weight.sparse) return csrFactor(weight.value, weight.sparse, ran, weight.onDenseGradient);
  const seen = effective(weight, mode.t);
  return denseFactor(seen.weight, seen.backward, ran);
}

export interface LstmLayer {
  readonly inputs: number;
  readonly units: number;
  readonly params: readonly Param[];
  /** x [T * B, D], time-major -> h of every step and the last state */
  run(x: Tensor, batch: number, mode: Mode, state?: CellState): LstmResult;
}

export interface LstmOptions extends Pick<ParamOptions, "off" | "uses"> {
  readonly seed: number;
  /** of both weights; default uniform in +-1 / sqrt(units) */
  readonly init?: Initialiser;
}

/** Biases 0, those of the forget gates 1 (Jozefowicz et al. 2015): a fresh cell remembers. */
const forgetful =
  (units: number): Initialiser =>
  () =>
  (i) =>
    i >= units && i < 2 * units ? 1 : 0;

/**
 * One layer of `units` cells with the parameters `<name>.input` [4H, D], `<name>.hidden` [4H, H] and `<name>.bias` [4H].
 * The two weights are pruned apart; all four gates of one lie in one tensor: input, forget, candidate, output.
 */
export function lstmLayer(name: string, inputs: number, units: number, options: LstmOptions): LstmLayer {
  const { seed, init = uniform(1 / Math.sqrt(units)), ...shared } = options;
  const rest: ParamOptions = { storages: ["csr"], ...shared };
  const input = new Param(`${name}.input`, [4 * units, inputs], init, seed, rest);
  const hidden = new Param(`${name}.hidden`, [4 * units, units], init, seed, rest);
  const bias = new Param(`${name}.bias`, [4 * units], forgetful(units), seed);
  return {
    inputs,
    units,
    params: [input, hidden, bias],
    run: (x, batch, mode, state) => {
      const weights = { input: factorOf(input, mode), hidden: factorOf(hidden, mode), bias: bias.value };
      return lstm(x, weights, batch, state);
    },
  };
}

export interface StackedResult {
  /** h of the top layer at every step, [T * B, H] */
  readonly output: Tensor;
  readonly last: readonly CellState[];
}

export interface LstmStack {
  readonly layers: readonly LstmLayer[];
  readonly params: readonly Param[];
  run(x: Tensor, batch: number, mode: Mode, state?: readonly CellState[]): StackedResult;
}

export interface StackOptions extends LstmOptions {
  /** what happens between layers and behind the last, a dropout for example; `layer` is the one that gave x */
  readonly between?: (x: Tensor, layer: number, mode: Mode) => Tensor;
}

/** Layers of `units` cells, each over the outputs of the one before; parameters `<name>.<layer>.*`. */
export function lstmStack(
  name: string,
  inputs: number,
  units: number,
  depth: number,
  options: StackOptions,
): LstmStack {
  const { between, ...rest } = options;
  const layers = Array.from({ length: depth }, (_, l) =>
    lstmLayer(`${name}.${l}`, l === 0 ? inputs : units, units, rest),
  );
  return {
    layers,
    params: layers.flatMap((l) => l.params),
    run: (x, batch, mode, state) => {
      const last: CellState[] = [];
      let y = x;
      layers.forEach((layer, l) => {
        const result = layer.run(y, batch, mode, state?.[l]);
        last.push(result.last);
        y = between ? between(result.output, l, mode) : result.output;
      });
      return { output: y, last };
    },
  };
}
