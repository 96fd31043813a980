/**
 * Losses over logits [T, V]: cross-entropy with integer targets (-1 = not counted), and distillation by KL divergence.
 *
 * Means are over the counted rows, summed in f64 in a fixed order. Backward passes write into one new tensor.
 */

import { memory, parallel, scratch } from "../../core/engine.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import { crossEntropyKernel, distillKernel } from "../../kernels/loss/index.ts";
import { reduce } from "../../kernels/pointwise/index.ts";

const ROWS = 16;

/** Sum of an f32 tensor in f64, over fixed chunks. */
export function total(x: Tensor): number {
  const chunk = 1024;
  const chunks = Math.ceil(x.size / chunk);
  return scratch(8 * Math.max(1, chunks), (p) => {
    parallel(reduce, "partialSum", [x.ptr, p, x.size, chunk], chunks, 16);
    return memory.f64(p, chunks).reduce((a, b) => a + b, 0);
  });
}

/** Sum of squares of an f32 tensor in f64, over fixed chunks. */
export function totalSquares(x: Tensor): number {
  const chunk = 1024;
  const chunks = Math.ceil(x.size / chunk);
  return scratch(8 * Math.max(1, chunks), (p) => {
    parallel(reduce, "partialSumSq", [x.ptr, p, x.size, chunk], chunks, 16);
    return memory.f64(p, chunks).reduce((a, b) => a + b, 0);
  });
}

function scalar(value: number): Tensor {
  const t = new Tensor([1]);
  t.f32[0] = value;
  return t;
}

/** Negative log-likelihood of each row, f32 [T]; 0 where the target is -1. No gradient. */
export function tokenLosses(logits: Tensor, targets: Tensor): Tensor {
  return rowLosses(logits, targets).losses;
}

function rowLosses(logits: Tensor, targets: Tensor): { losses: Tensor; lse: Tensor } {
  const [rows, cols] = logits.shape;
  const wrong = targets.i32.find((t) => t >= cols);
  demand(logits.shape.length === 2 && targets.size === rows && wrong === undefined, () => ({
    about: "cross-entropy",
    expected: `logits [N, C] and N targets below C, -1 where a row does not count`,
    got:
      wrong === undefined ? `[${logits.shape.join(", ")}] and ${targets.size} targets` : `a target ${wrong} of ${cols}`,
    hint: "Check labels against the number of classes.",
  }));
  const losses = new Tensor([rows]);
  const lse = new Tensor([rows]);
  parallel(crossEntropyKernel, "forward", [logits.ptr, targets.ptr, losses.ptr, lse.ptr, cols], rows, ROWS);
  return { losses, lse };
}

/** Mean negative log-likelihood over the rows whose target is not -1. */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const cols = logits.shape[1];
  const rows = targets.size;
  const { losses, lse } = rowLosses(logits, targets);
  const counted = Math.max(
    1,
    targets.i32.reduce((n, t) => n + (t >= 0 ? 1 : 0), 0),
  );
  const loss = scalar(total(losses) / counted);
  return record(
    "crossEntropy",
    [logits],
    loss,
    (dy) => {
      const dx = new Tensor(logits.shape);
      parallel(
        crossEntropyKernel,
        "backward",
        [logits.ptr, targets.ptr, lse.ptr, dy.item() / counted, dx.ptr, cols],
        rows,
        ROWS,
      );
      return [dx];
    },
    [targets, lse],
  );
}

/**
 * Mean over rows of KL(teacher || student) between softmaxes at a temperature, times temperature squared so that its
 * gradient keeps its size (Hinton et al. 2015). No gradient flows to the teacher.
 */
export function distillation(student: Tensor, teacher: Tensor, temperature = 1): Tensor {
  const [rows, cols] = student.shape;
  const inverse = 1 / temperature;
  const losses = new Tensor([rows]);
  const lseS = new Tensor([rows]);
  const lseT = new Tensor([rows]);
  parallel(
    distillKernel,
    "forward",
    [student.ptr, teacher.ptr, losses.ptr, lseS.ptr, lseT.ptr, cols, inverse],
    rows,
    ROWS,
  );
  const weight = (temperature * temperature) / Math.max(1, rows);
  const loss = scalar(total(losses) * weight);
  return record(
    "distillation",
    [student],
    loss,
    (dy) => {
      const dx = new Tensor(student.shape);
      parallel(
        distillKernel,
        "backward",
        [student.ptr, teacher.ptr, lseS.ptr, lseT.ptr, dy.item() * weight, dx.ptr, cols, inverse, 0],
        rows,
        ROWS,
      );
      return [dx];
    },
    [teacher, lseS, lseT],
  );
}
