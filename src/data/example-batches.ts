/**
 * Batches of examples: the order of an epoch as a function of (ids, seed, epoch), and tensors made from places.
 *
 * There is no iterator with state: a training loop that knows its epoch and step can be resumed anywhere. Examples may
 * be left out between epochs by handing in fewer places.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { Tensor, tensor } from "../core/tensor.ts";
import { type Augmentation, drawFor } from "./augment.ts";
import { type Examples, widthOf } from "./examples.ts";
import { affineOf, type Normaliser } from "./normalise.ts";

export interface EpochOptions {
  /** B */
  readonly batch: number;
  readonly seed: number;
  /** what becomes of a last batch that is not full; default "keep" */
  readonly tail?: "keep" | "drop";
}

/** The places 0..count-1. */
export const allPlaces = (e: Pick<Examples, "count">): Int32Array => Int32Array.from({ length: e.count }, (_, i) => i);

/** Batches of one epoch: `places` shuffled, then cut. The order depends on (places, seed, epoch) alone. */
export function shuffledBatches(places: Int32Array, epoch: number, options: EpochOptions): Int32Array[] {
  const order = stream(options.seed, "epochs").permutation(places.length, epoch);
  return batchesInOrder(
    order.map((o) => places[o]),
    options.batch,
    options.tail,
  );
}

/** Batches without shuffling, for evaluation. */
export function batchesInOrder(places: Int32Array, batch: number, tail: "keep" | "drop" = "keep"): Int32Array[] {
  demand(Number.isInteger(batch) && batch >= 1, () => ({
    about: "batch",
    expected: "a whole number of at least 1",
    got: String(batch),
    hint: "Set the batch size.",
  }));
  const all: Int32Array[] = [];
  const end = tail === "drop" ? places.length - (places.length % batch) : places.length;
  for (let at = 0; at < end; at += batch) all.push(places.subarray(at, Math.min(end, at + batch)));
  return all;
}

export interface MakeOptions {
  readonly normaliser?: Normaliser | undefined;
  /** applied in turn, before standardisation */
  readonly augment?: readonly Augmentation[];
  /** of augmentation */
  readonly seed?: number;
  readonly epoch?: number;
  /** rows [B, D] instead of [B, ...shape] */
  readonly flat?: boolean;
}

export interface ExampleBatch {
  /** f32 [B, ...shape] or [B, D] */
  readonly x: Tensor;
  /** i32 [B], labels */
  readonly y: Tensor;
  /** [B], where each stands in the source file */
  readonly ids: Int32Array;
}

/** A maker of batches of `e`: prepares the standardisation once. Tensors belong to the scope that is open. */
export function batchMaker(
  e: Examples,
  options: MakeOptions = {},
): (places: Int32Array, epoch?: number) => ExampleBatch {
  const w = widthOf(e);
  const { factor, shift } = affineOf(e, options.normaliser);
  const { augment = [], seed = 0, flat } = options;
  const values = new Float32Array(w);
  return (places, epoch = options.epoch ?? 0) => {
    const x = new Tensor(flat ? [places.length, w] : [places.length, ...e.shape]);
    const out = x.f32;
    const ids = new Int32Array(places.length);
    const labels = new Int32Array(places.length);
    places.forEach((p, row) => {
      demand(p >= 0 && p < e.count, () => ({
        about: `batch of ${e.name}`,
        expected: `places from 0 to ${e.count - 1}`,
        got: String(p),
        hint: "Use places in the set, not ids of the file.",
      }));
      ids[row] = e.ids[p];
      labels[row] = e.y[p];
      const [from, to] = [p * w, row * w];
      if (augment.length === 0) {
        for (let i = 0; i < w; i++) out[to + i] = e.x[from + i] * factor[i] + shift[i];
        return;
      }
      for (let i = 0; i < w; i++) values[i] = e.x[from + i] * e.scale;
      augment.forEach((a, k) => {
        a(values, e.shape, drawFor(seed, k, epoch, ids[row]));
      });
      for (let i = 0; i < w; i++) out[to + i] = (values[i] / e.scale) * factor[i] + shift[i];
    });
    return { x, y: tensor(labels), ids };
  };
}

/** One batch; `batchMaker` is faster for many. */
export const makeBatch = (e: Examples, places: Int32Array, options: MakeOptions = {}): ExampleBatch =>
  batchMaker(e, options)(places);
