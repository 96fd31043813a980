/**
 * Sequences of tasks for continual learning: the classes of a set in groups ("split"), or all classes under other
 * orders of the pixels ("permuted"). Labels stay those of the whole set.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { type Examples, mapSplits, ofClasses, type Splits, widthOf } from "./examples.ts";

export interface Task extends Splits {
  /** the labels that occur */
  readonly classes: readonly number[];
}

/** One task for each group of classes, as [[0, 1], [2, 3], ...]. */
export function splitTasks(splits: Splits, groups: readonly (readonly number[])[]): Task[] {
  const all = groups.flat();
  const { classes: count, name } = splits.train;
  demand(new Set(all).size === all.length && all.every((c) => Number.isInteger(c) && c >= 0 && c < count), () => ({
    about: `tasks of ${name}`,
    expected: `groups of classes from 0 to ${count - 1}, none twice`,
    got: JSON.stringify(groups),
    hint: "Give each class to one task.",
  }));
  return groups.map((classes) => ({ classes, ...mapSplits(splits, (part) => ofClasses(part, classes)) }));
}

/** Groups of `size` classes in order: 0..size-1, and so on. */
export const classGroups = (classes: number, size: number): number[][] =>
  Array.from({ length: Math.floor(classes / size) }, (_, t) => Array.from({ length: size }, (_, i) => t * size + i));

function reorder(e: Examples, order: Int32Array): Examples {
  const w = widthOf(e);
  const x = e.x instanceof Uint8Array ? new Uint8Array(e.x.length) : new Float32Array(e.x.length);
  for (let at = 0; at < x.length; at += w) for (let i = 0; i < w; i++) x[at + i] = e.x[at + order[i]];
  return { ...e, x };
}

/** `count` tasks with all classes; the pixels of each but the first are in an order of its own, drawn by seed. */
export function permutedTasks(splits: Splits, count: number, seed: number): Task[] {
  const draws = stream(seed, "tasks/permuted");
  const classes = Array.from({ length: splits.train.classes }, (_, c) => c);
  return Array.from({ length: count }, (_, t) => {
    if (t === 0) return { classes, ...splits };
    const order = draws.permutation(widthOf(splits.train), t);
    return { classes, ...mapSplits(splits, (part) => reorder(part, order)) };
  });
}
