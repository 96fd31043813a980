/**
 * QuickSelection (Atashgahi et al. 2022, arXiv 2012.00560): unsupervised feature selection. A denoising autoencoder with
 * one hidden layer starts sparse, SET rewires it after each epoch but the last, and the inputs whose connections have the
 * largest summed size are the features. Layers run from CSR; nothing of the size of a dense weight takes part in a step.
 *
 * As in the authors' code: noise drawn once, sigmoid, dropout without rescaling (at test activations are multiplied by
 * 1 - p), half the squared error summed over features, W <- W + v - decay W with decay apart from the rate. Other than
 * there: connections are drawn in exact counts instead of with collisions, the hidden gradient passes the dropout mask,
 * and strengths are read after the last epoch without the connections of the last exchange, where the code keeps the
 * weights that were left in that exchange. Weights are [out, in]: strength is a sum over columns of the first one.
 */
import { parallel } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { batchMaker, type ExampleBatch } from "../../data/example-batches.ts";
import { type Examples, widthOf } from "../../data/examples.ts";
import { fillNormal } from "../../data/noise.ts";
import { affineOf, standardiser } from "../../data/normalise.ts";
import { pointwise } from "../../kernels/pointwise/index.ts";
import { normal } from "../../nn/init.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { sequential } from "../../nn/layers/sequential.ts";
import { disposeNet, type Net } from "../../nn/net.ts";
import { sigmoid } from "../../nn/ops/activation.ts";
import { dropout as drop } from "../../nn/ops/dropout.ts";
import { GRAIN, scale } from "../../nn/ops/elementwise.ts";
import { meanSquaredError } from "../../nn/ops/loss-element.ts";
import { type Parameter, Sgd } from "../../nn/optimiser.ts";
import { er } from "../../sparsity/budget-shapes.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import type { RewireMeter } from "../../sparsity/rewire.ts";
import { constant } from "../../sparsity/schedule.ts";
import { keepBest } from "../../sparsity/select.ts";
import { type EpochReport, fit, type Source } from "../../train/fit.ts";
import { set } from "./set.ts";

export interface QuickSelectionOptions {
  readonly seed: number;
  /** default 10, the paper's fast setting; it also uses 100 */
  readonly epochs?: number;
  /** neurons of the hidden layer; default 1000 */
  readonly hidden?: number;
  /** connections of a layer = epsilon (features + hidden); default 13. Infinity: a dense autoencoder */
  readonly epsilon?: number;
  /** share of the connections exchanged after an epoch; default 0.2. 0: fixed sparse training */
  readonly zeta?: number;
  /** deviation of the noise on standardised inputs; default 0.2 */
  readonly noise?: number;
  /** of hidden neurons; default 0.2 */
  readonly dropout?: number;
  readonly batch?: number;
  readonly rate?: number;
  readonly momentum?: number;
  readonly decay?: number;
  /** of the reconstruction; default none; the paper takes `tanh` for Madelon */
  readonly output?: (x: Tensor) => Tensor;
  /** default "csr"; "masked": the same training over dense weights */
  readonly storage?: "csr" | "masked";
  readonly onEpoch?: (report: EpochReport) => void | Promise<void>;
  readonly onStep?: (done: number) => void;
  readonly signal?: AbortSignal;
}

export const QUICK_SELECTION = {
  epochs: 10,
  hidden: 1000,
  epsilon: 13,
  zeta: 0.2,
  noise: 0.2,
  dropout: 0.2,
  batch: 100,
  rate: 0.01,
  momentum: 0.9,
  decay: 1e-5,
  storage: "csr",
} as const;

/** What the trained network says of each feature; all [D]. Larger = more important. */
export interface Ranking {
  /** sum of |w| from a feature to the hidden layer: the paper's criterion */
  readonly strength: Float64Array;
  /** number of those connections */
  readonly degree: Float64Array;
  /** sum of |w| from the hidden layer to the reconstruction of a feature */
  readonly outStrength: Float64Array;
}

export interface Selection extends Ranking {
  /** the strength before training */
  readonly initial: Float64Array;
  /** connections of both layers, and of the dense autoencoder */
  readonly connections: number;
  readonly denseConnections: number;
  /** engine memory of both weights: values, momentum, indices */
  readonly bytes: number;
  readonly meter: RewireMeter;
  /** mean of half the squared error of an example, epoch by epoch */
  readonly losses: readonly number[];
}

/** Sums of |w| over the outputs of a weight [out, in], for each input. */
export function inputStrength(weight: ArrayLike<number>, inputs: number): Float64Array {
  const sums = new Float64Array(inputs);
  for (let i = 0; i < weight.length; i++) sums[i % inputs] += Math.abs(weight[i]);
  return sums;
}

/** Sums of |w| over the inputs of a weight [out, in], for each output. */
export function outputStrength(weight: ArrayLike<number>, inputs: number): Float64Array {
  const sums = new Float64Array(weight.length / inputs);
  for (let i = 0; i < weight.length; i++) sums[Math.floor(i / inputs)] += Math.abs(weight[i]);
  return sums;
}

/** Places of the k greatest scores, rising; equal scores: the lower place first. */
export function strongest(scores: Float64Array, k: number): Int32Array {
  demand(Number.isInteger(k) && k >= 1 && k <= scores.length, () => ({
    about: "selection of features",
    expected: `1 to ${scores.length} features`,
    got: String(k),
    hint: "A selection cannot be larger than the table is wide.",
  }));
  const bits = keepBest(scores, k);
  return Int32Array.from({ length: scores.length }, (_, i) => i).filter((i) => bits[i] === 1);
}

export interface DenoisingOptions {
  readonly seed: number;
  readonly dropout: number;
  readonly output?: ((x: Tensor) => Tensor) | undefined;
}

/** [B, D] -> [B, D] over weights `encode` [hidden, D] and `decode` [D, hidden], drawn with deviation 0.1. */
export function denoisingAutoencoder(features: number, hidden: number, options: DenoisingOptions): Net {
  const { seed, dropout: p, output } = options;
  const init = normal(0.1);
  return sequential(
    linearLayer("encode", features, hidden, { seed, init }),
    sigmoid,
    // rescaled dropout times 1 - p: the plain mask in training, activations times 1 - p at test
    (a, mode) => (p === 0 ? a : scale(drop(a, p, "hidden", mode), 1 - p)),
    linearLayer("decode", hidden, features, { seed, init }),
    ...(output ? [output] : []),
  );
}

/** Half the squared error, summed over features, mean over examples; its gradient is (y - x) / B. */
export const reconstructionLoss = (output: Tensor, clean: Tensor): Tensor =>
  scale(meanSquaredError(output, clean), output.size / output.shape[0] / 2);

/** Takes the share `decay` of every value. */
export const shrink = ({ value }: Parameter, decay: number): void =>
  parallel(pointwise, "scale", [value.ptr, 1 - decay, value.ptr], value.size, GRAIN);

/** Shrinks before the optimiser's step: W + v - decay W, biases too. */
export const plainDecay = (decay: number): Hook => ({
  id: "decay apart from the rate",
  grad: (p) => shrink(p, decay),
});

export interface DenoisingBatch extends ExampleBatch {
  /** f32 [B, D] without the noise */
  readonly clean: Tensor;
}

/** Standardised rows, with noise of their own that stays the same in all epochs. */
export function denoisingSource(e: Examples, noise: number, seed: number): Source<DenoisingBatch> {
  const width = widthOf(e);
  const normaliser = standardiser(e, "feature");
  const make = batchMaker(e, { normaliser, flat: true });
  const noisy = new Float32Array(e.count * width);
  if (noise > 0) fillNormal(noisy, seed, "quickselection/noise");
  const { factor, shift } = affineOf(e, normaliser);
  for (let at = 0; at < noisy.length; at += width)
    for (let i = 0; i < width; i++) noisy[at + i] = e.x[at + i] * factor[i] + shift[i] + noise * noisy[at + i];
  return {
    count: e.count,
    make(places) {
      const { x: clean, ...rest } = make(places);
      const rows = new Float32Array(places.length * width);
      places.forEach((p, row) => {
        rows.set(noisy.subarray(p * width, (p + 1) * width), row * width);
      });
      return { ...rest, clean, x: tensor(rows, [places.length, width]) };
    },
  };
}

/** Share of zeros at which a layer of `features` x `hidden` has epsilon (features + hidden) connections, rounded down. */
export function sparsityFor(epsilon: number, features: number, hidden: number): number {
  const all = features * hidden;
  return 1 - Math.min(all, Math.floor(epsilon * (features + hidden) + 1e-6)) / all;
}

/** Random sparse layers, exchanged by SET after each epoch; `storage` is taken up once the masks are there. */
export function sparseMethod(
  sparsity: number,
  zeta: number,
  storage: "csr" | "masked",
): SparseTraining & { readonly meter: RewireMeter } {
  const base = set({ sparsity, budget: er, fraction: constant(zeta), fill: { normal: 0.1 } });
  return {
    ...base,
    id: "quickselection",
    begin(b) {
      if (sparsity === 0) return;
      base.begin?.(b);
      for (const { param } of b.sites) param.as(storage);
    },
    hooks: sparsity === 0 || zeta === 0 ? [] : base.hooks,
  };
}

/**
 * Trains the autoencoder on the values of `e` (labels play no part) and ranks its features. A function of (values,
 * options) alone. Throws the signal's reason when aborted, and `LacunaError` when training diverges.
 */
export async function quickSelection(e: Examples, options: QuickSelectionOptions): Promise<Selection> {
  const o = { ...QUICK_SELECTION, ...options };
  const width = widthOf(e);
  demand(o.epsilon > 0 && o.zeta >= 0 && o.zeta < 1 && o.hidden >= 1 && o.epochs >= 1, () => ({
    about: "QuickSelection",
    expected: "epsilon above 0, zeta in [0, 1), at least one hidden neuron and one epoch",
    got: `${o.epsilon}, ${o.zeta}, ${o.hidden}, ${o.epochs}`,
    hint: "The paper takes 13, 0.2, 1000, and 10 or 100 epochs.",
  }));
  const sparsity = sparsityFor(o.epsilon, width, o.hidden);
  const net = denoisingAutoencoder(width, o.hidden, o);
  const [encode, , decode] = net.params;
  const method = sparseMethod(sparsity, o.zeta, o.storage);
  let initial: Float64Array | undefined;
  let now: Uint8Array | undefined;
  /** connections of the first layer that the last exchange left */
  let old: Uint8Array | undefined;
  const watch: Hook = {
    id: "connections that the last exchange left",
    step({ t }) {
      if (!t.epochEnd || t.step === t.steps) return;
      const bits = encode.bits();
      old = bits.map((b, i) => b & (now as Uint8Array)[i]);
      now = bits;
    },
  };
  const losses: number[] = [];
  const optimiser = new Sgd(net.params, { momentum: o.momentum });
  try {
    // biome-ignore lint/suspicious/noFocusedTests: it trains
    await fit(net, {
      optimiser,
      source: denoisingSource(e, o.noise, o.seed),
      epochs: o.epochs,
      batch: o.batch,
      rate: o.rate,
      seed: o.seed,
      loss: (output, batch) => reconstructionLoss(output, batch.clean),
      method: {
        ...method,
        begin(b) {
          method.begin?.(b);
          initial = inputStrength(encode.dense(), width);
          now = encode.bits();
        },
      },
      hooks: [plainDecay(o.decay), watch],
      onStep: ({ step, steps }) => o.onStep?.(step / steps),
      onEpoch: async (report) => {
        losses.push(report.loss);
        await o.onEpoch?.(report);
      },
      ...(o.signal && { signal: o.signal }),
    });
    const trained = encode.dense();
    const counted = (old ?? encode.bits()) as Uint8Array;
    const kept = trained.map((w, i) => (counted[i] === 1 ? w : 0));
    return {
      strength: inputStrength(kept, width),
      degree: inputStrength(counted, width),
      outStrength: outputStrength(decode.dense(), o.hidden),
      initial: initial as Float64Array,
      connections: encode.kept + decode.kept,
      denseConnections: encode.numel + decode.numel,
      bytes: encode.bytes + decode.bytes,
      meter: method.meter,
      losses,
    };
  } finally {
    optimiser.dispose();
    disposeNet(net);
  }
}
