/**
 * `fit`: trains a network on labelled examples, epoch by epoch, with the methods that hooks bring.
 *
 * The order of an epoch is a function of (seed, epoch), noise one of (seed, layer, step). Hooks may remove examples, which
 * takes effect in the next epoch. For anything but examples with labels, give `trainLoop` a loss of your own.
 */

import { scope } from "../core/scope.ts";
import type { Tensor } from "../core/tensor.ts";
import {
  batchMaker,
  type EpochOptions,
  type ExampleBatch,
  type MakeOptions,
  shuffledBatches,
} from "../data/example-batches.ts";
import type { Examples } from "../data/examples.ts";
import type { Mode, Net } from "../nn/net.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import type { Optimiser } from "../nn/optimiser.ts";
import type { Hook, SparseTraining } from "../sparsity/hook.ts";
import { constant, type Ramp } from "../sparsity/schedule.ts";
import { type Site, sitesOf } from "../sparsity/site.ts";
import { SPARSE_FROM, storeSparse } from "../sparsity/store.ts";
import { type StepReport, trainLoop } from "./loop.ts";

/** Where batches come from: `batchMaker` of a set of `count` examples, or anything like it. */
export interface Source<B extends { readonly ids: Int32Array } = ExampleBatch> {
  readonly count: number;
  make(places: Int32Array, epoch: number): B;
}

/** Batches of a set, as `fit` asks for them. */
export const sourceOf = (e: Examples, options: MakeOptions = {}): Source => ({
  count: e.count,
  make: batchMaker(e, options),
});

export interface EpochReport {
  /** epochs done */
  readonly epoch: number;
  readonly step: number;
  /** mean over the epoch's steps */
  readonly loss: number;
}

export interface FitOptions<B extends ExampleBatch = ExampleBatch> {
  readonly optimiser: Optimiser;
  /** its batches may carry more than inputs and labels, for a loss that wants more */
  readonly source: Source<B>;
  readonly epochs: number;
  readonly batch: number;
  readonly tail?: EpochOptions["tail"];
  /** learning rate, or a ramp of it */
  readonly rate: number | Ramp;
  /** of the order of examples, of noise, and of what hooks draw */
  readonly seed: number;
  /** default: mean cross-entropy of logits [B, C] and labels */
  readonly loss?: (output: Tensor, batch: B, mode: Mode) => Tensor;
  /** sparse training: its masks are set before the first step */
  readonly method?: SparseTraining;
  readonly hooks?: readonly Hook[];
  /** weights that methods and hooks work on; default: the method's, else all prunable ones */
  readonly sites?: readonly Site[];
  /**
   * How masked weights are stored: as CSR where that is faster and can be, so that a step costs what its non-zeros cost,
   * or dense beside their masks. Default "sparse", but "masked" when a hook reads gradients or updates element by element.
   */
  readonly storage?: "sparse" | "masked";
  /** number of the task in continual learning, for hooks and ramps */
  readonly task?: number;
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  readonly onEpoch?: (report: EpochReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

const labelLoss = (output: Tensor, { y }: ExampleBatch): Tensor => crossEntropy(output, y);

type EpochsOptions = Pick<FitOptions, "batch" | "seed" | "tail" | "epochs"> & {
  readonly source: { readonly count: number };
};

/** Epochs whose length may change when examples are removed. */
class Epochs {
  readonly #options: EpochsOptions;
  /** step at which each epoch begins */
  readonly #begins = [0];
  #places: Int32Array;
  #batches: readonly Int32Array[];
  #epoch = 0;

  constructor(options: EpochsOptions) {
    this.#options = options;
    this.#places = Int32Array.from({ length: options.source.count }, (_, i) => i);
    this.#batches = this.#shuffle();
  }

  #shuffle(): readonly Int32Array[] {
    const { batch, seed, tail = "keep" } = this.#options;
    return shuffledBatches(this.#places, this.#epoch, { batch, seed, tail });
  }

  /** Makes the epoch of a step the current one; steps come in order. */
  #reach(step: number): void {
    while (step >= this.#begins[this.#epoch] + this.#batches.length) {
      this.#begins.push(this.#begins[this.#epoch] + this.#batches.length);
      this.#epoch++;
      this.#batches = this.#shuffle();
    }
  }

  /** Places of a step's batch. */
  at(step: number): Int32Array {
    this.#reach(step);
    return this.#batches[step - this.#begins[this.#epoch]];
  }

  get current(): number {
    return this.#epoch;
  }

  /** Steps of the whole run, as far as can be known now. */
  get steps(): number {
    const { batch, epochs, tail } = this.#options;
    const later = tail === "drop" ? Math.floor(this.#places.length / batch) : Math.ceil(this.#places.length / batch);
    return this.#begins[this.#epoch] + this.#batches.length + later * (epochs - this.#epoch - 1);
  }

  epochAt(step: number): number {
    this.#reach(step - 1);
    return step >= this.#begins[this.#epoch] + this.#batches.length ? this.#epoch + 1 : this.#epoch;
  }

  endsAt(step: number): boolean {
    this.#reach(step - 1);
    return step === this.#begins[this.#epoch] + this.#batches.length;
  }

  remove(places: Int32Array): void {
    const gone = new Set(places);
    this.#places = this.#places.filter((p) => !gone.has(p));
  }
}

function answers(output: Tensor, labels: Tensor): Uint8Array {
  const classes = output.shape[1];
  const values = output.f32;
  return Uint8Array.from(labels.i32, (label, row) => {
    const at = row * classes;
    for (let c = 0; c < classes; c++) if (values[at + c] > values[at + label]) return 0;
    return 1;
  });
}

/**
 * Trains until `epochs` are done, from the optimiser's step count on. Hooks that remove or watch examples speak of their
 * places in the source. Throws the signal's reason when aborted, and `LacunaError` when the loss is no longer finite.
 */
export async function fit<B extends ExampleBatch = ExampleBatch>(net: Net, options: FitOptions<B>): Promise<void> {
  const { optimiser, source, seed, loss = labelLoss, method, rate } = options;
  const hooks = [...(method?.hooks ?? []), ...(options.hooks ?? [])];
  const sites = options.sites ?? method?.sites?.(net) ?? (hooks.length > 0 || method ? sitesOf(net) : []);
  const forward = (batch: B, mode: Mode): Tensor => net.forward(batch.x, mode);
  const epochs = new Epochs(options);
  let last: { places: Int32Array; correct?: Uint8Array } | undefined;
  let sum = 0;
  let count = 0;
  const watching = hooks.some((h) => h.seen);
  if (method?.begin && optimiser.steps === 0) {
    const places = epochs.at(0);
    const mode: Mode = { train: true, t: { step: 0, steps: epochs.steps }, seed };
    const inputShape = scope(() => source.make(places, 0).x.shape);
    const first = (): Tensor => {
      const batch = source.make(places, 0);
      return loss(forward(batch, mode), batch, mode);
    };
    method.begin({ net, sites, seed, inputShape, loss: first });
  }
  const wide = hooks.some((h) => h.grad || h.update);
  const storage = options.storage ?? (wide ? "masked" : "sparse");
  if (storage === "sparse") storeSparse(sites, SPARSE_FROM);
  await trainLoop(
    {
      optimiser,
      loss: (step, t) => {
        const places = epochs.at(step);
        const batch = source.make(places, epochs.current);
        const mode: Mode = { train: true, t, seed };
        const output = forward(batch, mode);
        last = { places, ...(watching && { correct: answers(output, batch.y) }) };
        return loss(output, batch, mode);
      },
      seen: () => ({ ids: last?.places as Int32Array, correct: last?.correct as Uint8Array }),
    },
    {
      rate: {
        at: typeof rate === "number" ? constant(rate) : rate,
        get steps() {
          return epochs.steps;
        },
      },
      epochs,
      task: options.task ?? 0,
      ...(hooks.length > 0 && {
        hooked: {
          net,
          hooks,
          seed,
          sites,
          storage,
          remove: (places: Int32Array) => epochs.remove(places),
        },
      }),
      ...(options.signal && { signal: options.signal }),
      afterStep: async (report) => {
        sum += report.loss;
        count++;
        await options.onStep?.(report);
        if (!epochs.endsAt(report.step)) return;
        const { step } = report;
        await options.onEpoch?.({ epoch: epochs.epochAt(step), step, loss: sum / count });
        sum = 0;
        count = 0;
      },
    },
  );
}
