/**
 * Classifiers on labelled examples: logits in batches, and what is read off them: accuracy, loss, confusion, which
 * examples are right. Metrics work on plain arrays; only `predict` runs a network.
 */
import { exp, ln } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { allPlaces, batchesInOrder, batchMaker } from "../data/example-batches.ts";
import type { Examples } from "../data/examples.ts";
import type { Normaliser } from "../data/normalise.ts";
import { EVALUATE, type Mode, type Net } from "../nn/net.ts";

export interface PredictOptions {
  readonly normaliser?: Normaliser | undefined;
  /** examples at once; default 250 */
  readonly batch?: number;
  /** rows [B, D] instead of images */
  readonly flat?: boolean;
  /** default: evaluation */
  readonly mode?: Mode;
}

/** Outputs [N, K] of a network whose forward pass gives [B, K]. No gradients; nothing stays in engine memory. */
export function predict(net: Pick<Net, "forward">, e: Examples, options: PredictOptions = {}): Float32Array {
  const { batch = 250, mode = EVALUATE, flat = false, normaliser } = options;
  const make = batchMaker(e, { normaliser, flat });
  let all = new Float32Array(0);
  let row = 0;
  for (const places of batchesInOrder(allPlaces(e), batch)) {
    scope(() =>
      noGrad(() => {
        const y = net.forward(make(places).x, mode);
        const columns = y.size / places.length;
        demand(y.shape.length === 2 && y.shape[0] === places.length, () => ({
          about: `prediction for ${e.name}`,
          expected: `[${places.length}, classes]`,
          got: `[${y.shape.join(", ")}]`,
          hint: "The network must give one row an example.",
        }));
        if (row === 0) all = new Float32Array(e.count * columns);
        all.set(y.f32, row * columns);
      }),
    );
    row += places.length;
  }
  return all;
}

/** Columns [from, to) that a prediction is taken from; default all. For the classes of one task. */
export interface Columns {
  readonly from?: number;
  readonly to?: number;
}

/** The columns of a row that count, as [first, last + 1]. */
function span(outputs: ArrayLike<number>, rows: number, columns: Columns): { k: number; from: number; to: number } {
  const k = rows === 0 ? 0 : outputs.length / rows;
  const { from = 0, to = k } = columns;
  demand(Number.isInteger(k) && from >= 0 && from < to && to <= k, () => ({
    about: "outputs of a classifier",
    expected: `${rows} rows of at least ${from + 1} columns`,
    got: `${outputs.length} values, columns ${from} to ${to}`,
    hint: "Give one row for each label.",
  }));
  return { k, from, to };
}

/** The column with the greatest output in each row, the first of equals. NaN is an error. */
export function argmax(outputs: ArrayLike<number>, rows: number, columns: Columns = {}): Int32Array {
  if (rows === 0) return new Int32Array(0);
  const { k, from, to } = span(outputs, rows, columns);
  return Int32Array.from({ length: rows }, (_, i) => {
    let best = from;
    for (let c = from; c < to; c++) {
      const value = outputs[i * k + c];
      demand(!Number.isNaN(value), () => ({
        about: "outputs of a classifier",
        expected: "numbers",
        got: `NaN for example ${i}, class ${c}`,
        hint: "Training diverged: lower the learning rate.",
      }));
      if (value > outputs[i * k + best]) best = c;
    }
    return best;
  });
}

/** 1 where the greatest output is the label's. */
export const correctness = (outputs: ArrayLike<number>, labels: ArrayLike<number>, columns: Columns = {}): Uint8Array =>
  Uint8Array.from(argmax(outputs, labels.length, columns), (c, i) => (c === labels[i] ? 1 : 0));

/** Share of examples whose greatest output is the label's, 0 to 1. */
export function accuracy(outputs: ArrayLike<number>, labels: ArrayLike<number>, columns: Columns = {}): number {
  return share(correctness(outputs, labels, columns));
}

const share = (correct: Uint8Array): number => correct.reduce((sum, c) => sum + c, 0) / correct.length;

/** Mean cross-entropy in nats of the softmax over the columns that count. */
export function meanLoss(logits: ArrayLike<number>, labels: ArrayLike<number>, columns: Columns = {}): number {
  const { k, from, to } = span(logits, labels.length, columns);
  let total = 0;
  for (let i = 0; i < labels.length; i++) {
    let most = Number.NEGATIVE_INFINITY;
    for (let c = from; c < to; c++) most = Math.max(most, logits[i * k + c]);
    let sum = 0;
    for (let c = from; c < to; c++) sum += exp(logits[i * k + c] - most);
    total += most + ln(sum) - logits[i * k + labels[i]];
  }
  return total / labels.length;
}

/** Softmax of each row of logits, f64. */
export function probabilities(logits: ArrayLike<number>, rows: number): Float64Array {
  const k = rows === 0 ? 0 : logits.length / rows;
  const out = new Float64Array(logits.length);
  for (let at = 0; at < out.length; at += k) {
    let most = Number.NEGATIVE_INFINITY;
    for (let c = at; c < at + k; c++) most = Math.max(most, logits[c]);
    let sum = 0;
    for (let c = at; c < at + k; c++) sum += out[c] = exp(logits[c] - most);
    for (let c = at; c < at + k; c++) out[c] /= sum;
  }
  return out;
}

/** Mean probabilities of several models for the same examples: the prediction of their ensemble. */
export function ensemble(logits: readonly ArrayLike<number>[], rows: number): Float64Array {
  const each = logits.map((l) => probabilities(l, rows));
  return each[0].map((_, i) => each.reduce((sum, p) => sum + p[i], 0) / each.length);
}

/** counts[label * classes + predicted]. */
export function confusion(predicted: ArrayLike<number>, labels: ArrayLike<number>, classes: number): Int32Array {
  const counts = new Int32Array(classes * classes);
  for (let i = 0; i < labels.length; i++) counts[labels[i] * classes + predicted[i]]++;
  return counts;
}

export interface Classification {
  readonly count: number;
  readonly accuracy: number;
  readonly loss: number;
  /** [N] 1 where right, in the order of the examples */
  readonly correct: Uint8Array;
  /** [N, K] */
  readonly logits: Float32Array;
}

/** Runs a classifier over examples. `columns` restricts predictions and loss to a task's own columns. */
export function classify(
  net: Pick<Net, "forward">,
  e: Examples,
  options: PredictOptions & { readonly columns?: Columns } = {},
): Classification {
  demand(e.count > 0, () => ({
    about: `accuracy on ${e.name}`,
    expected: "at least one example",
    got: "none",
    hint: "Choose another set.",
  }));
  const logits = predict(net, e, options);
  const correct = correctness(logits, e.y, options.columns);
  return { count: e.count, accuracy: share(correct), loss: meanLoss(logits, e.y, options.columns), correct, logits };
}
