/**
 * Training on a sequence of tasks with replay, class-incremental: DER++ (Buzzega et al. 2020, arXiv 2004.07211) and ER.
 *
 * loss = cross-entropy of the task's batch over the classes of its task (the other logits as minus infinity)
 * + alpha (mean squared difference of a draw's logits from those it was stored with) + beta (cross-entropy of another draw,
 * over all classes). Draws are as large as the batch; the first task has none. After each step the batch is shown to the
 * buffer. ER is alpha = 0. As in the code of SparCL, of which it is the host.
 */

import { tensor } from "../../core/tensor.ts";
import { batchMaker, type ExampleBatch, type MakeOptions } from "../../data/example-batches.ts";
import type { Examples } from "../../data/examples.ts";
import type { ReplayBuffer } from "../../data/replay-buffer.ts";
import { correctness } from "../../evaluate/classify.ts";
import type { Mode, Net } from "../../nn/net.ts";
import { add, scale } from "../../nn/ops/elementwise.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { meanSquaredError } from "../../nn/ops/loss-element.ts";
import { groupCrossEntropy } from "../../nn/ops/loss-group.ts";
import type { Hook } from "../../sparsity/hook.ts";
import type { FitOptions, Source } from "../../train/fit.ts";

export interface ReplayOptions {
  /** none: training on without replay */
  readonly buffer?: ReplayBuffer;
  /** task of each class */
  readonly groups: Int32Array;
  /** of the stored logits; default 0.1 */
  readonly alpha?: number;
  /** of the stored labels; default 0.5 */
  readonly beta?: number;
  readonly make?: MakeOptions;
}

export interface PlacedBatch extends ExampleBatch {
  /** places in the task's examples */
  readonly places: Int32Array;
}

/** What `fit` needs for one task: `fit(net, { ...replay(net, train, options), task, ... })`. */
export interface ReplayTraining {
  readonly source: Source<PlacedBatch>;
  readonly loss: NonNullable<FitOptions<PlacedBatch>["loss"]>;
  readonly hooks: readonly Hook[];
  /** places of the last batch, and which of them were right among the classes of their task */
  readonly last: { readonly places: Int32Array; readonly correct: Uint8Array } | undefined;
}

/** Labels of one task as the columns that count. */
function columnsOf(groups: Int32Array, label: number): { from: number; to: number } {
  const from = groups.indexOf(groups[label]);
  return { from, to: groups.lastIndexOf(groups[label]) + 1 };
}

/** Trains on the examples of one task; classes of a task are next to each other. */
export function replay(net: Net, e: Examples, options: ReplayOptions): ReplayTraining {
  const { buffer, groups, alpha = 0.1, beta = 0.5, make = {} } = options;
  const own = batchMaker(e, make);
  let last: { places: Int32Array; correct: Uint8Array; outputs: Float32Array } | undefined;
  const redraw = (n: number) => {
    const stored = (buffer as ReplayBuffer).examples;
    const places = (buffer as ReplayBuffer).draw(n);
    return { places, ...batchMaker(stored, make)(places) };
  };
  return {
    source: { count: e.count, make: (places, epoch) => ({ ...own(places, epoch), places }) },
    loss(output, { y, places }, mode: Mode) {
      const labels = y.i32.slice();
      const outputs = output.toArray();
      last = { places, outputs, correct: correctness(outputs, labels, columnsOf(groups, labels[0])) };
      let loss = groupCrossEntropy(output, y, groups);
      if (!buffer || (mode.t.task ?? 0) === 0) return loss;
      if (alpha > 0) {
        const drawn = redraw(places.length);
        const before = tensor(buffer.outputs(drawn.places), [drawn.places.length, groups.length]);
        loss = add(loss, scale(meanSquaredError(net.forward(drawn.x, mode), before), alpha));
      }
      if (beta > 0) {
        const drawn = redraw(places.length);
        loss = add(loss, scale(crossEntropy(net.forward(drawn.x, mode), drawn.y), beta));
      }
      return loss;
    },
    hooks: [
      {
        id: "replay",
        step() {
          if (last) buffer?.add(e, last.places, last.outputs);
        },
      },
    ],
    get last() {
      return last;
    },
  };
}
