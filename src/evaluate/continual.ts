/**
 * Continual learning from the matrix R: R[i][j] is the accuracy on task j after training on task i, for T tasks.
 *
 * ACC and BWT as in Lopez-Paz and Ranzato 2017, forgetting as in Chaudhry et al. 2018. FWT here is the mean accuracy on
 * tasks that are still to come, without a random network's subtracted.
 */
import { demand } from "../core/errors.ts";

/** Rows after each task, columns tasks. */
export type AccuracyMatrix = readonly (readonly number[])[];

export interface ContinualMetrics {
  /** mean accuracy on all tasks at the end */
  readonly acc: number;
  /** mean change of a task's accuracy from its own training to the end; negative where tasks are forgotten */
  readonly bwt: number;
  /** mean accuracy on tasks before their training; NaN with one task */
  readonly fwt: number;
  /** mean drop from a task's best accuracy before the last task to the end */
  readonly forgetting: number;
  /** after each task, the mean accuracy on the tasks so far */
  readonly incremental: readonly number[];
}

/**
 * Learns `count` tasks in turn and measures all of them after each: `learn(i)` trains on task i, `accuracy(j, i)` is that
 * on task j with what is known after task i, for j > i too.
 */
export async function accuracyMatrix(
  count: number,
  learn: (task: number) => Promise<void>,
  accuracy: (task: number, after: number) => number,
): Promise<AccuracyMatrix> {
  const rows: number[][] = [];
  for (let i = 0; i < count; i++) {
    await learn(i);
    rows.push(Array.from({ length: count }, (_, j) => accuracy(j, i)));
  }
  return rows;
}

const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;

/** Metrics of a square matrix. With one task BWT and forgetting are 0. */
export function continualMetrics(r: AccuracyMatrix): ContinualMetrics {
  const t = r.length;
  demand(t >= 1 && r.every((row) => row.length === t && row.every(Number.isFinite)), () => ({
    about: "accuracies of tasks",
    expected: "a square matrix of numbers",
    got: `${t} rows of ${r.map((row) => row.length).join(", ")}`,
    hint: "Evaluate every task after each one.",
  }));
  const last = r[t - 1];
  const earlier = Array.from({ length: t - 1 }, (_, j) => j);
  const ahead = earlier.flatMap((i) => r[i].slice(i + 1));
  return {
    acc: mean(last),
    bwt: t === 1 ? 0 : mean(earlier.map((j) => last[j] - r[j][j])),
    fwt: mean(ahead),
    forgetting: t === 1 ? 0 : mean(earlier.map((j) => Math.max(...earlier.map((i) => r[i][j])) - last[j])),
    incremental: r.map((row, i) => mean(row.slice(0, i + 1))),
  };
}
