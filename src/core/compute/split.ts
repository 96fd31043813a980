/**
 * One thread or all of them: work below a floor stays on the caller's thread, where a fork and a join cost more than the
 * others save. The floors are read off the bench's suite `threads`, hot (call after call, as layers follow one another).
 * They decide time alone: kernels give the same bits split or
 * not.
 */
import type { Kernel } from "../../kernels/kernel.ts";
import { bound, call, parallel } from "../engine.ts";

/** Kinds of work with floors of their own. */
export type Work = "gemm" | "gemv" | "spmm" | "spmv";

/** Operations (two a multiply-add) of a call from which all threads are used. */
export const THREAD_FLOORS: Readonly<Record<Work, number>> = { gemm: 2e6, gemv: 1e6, spmm: 1e6, spmv: 3e5 };

let forced: number | undefined;

/** Inside, `operations` is the floor of every kind of work: 0 splits everything. For measurements of the floors. */
export function threadFloor<R>(operations: number, body: () => R): R {
  const before = forced;
  forced = operations;
  try {
    return body();
  } finally {
    forced = before;
  }
}

const worthAll = (work: Work, operations: number): boolean => operations >= (forced ?? THREAD_FLOORS[work]);

/** Runs `fn(...args, from, to)` over [0, total) on one thread or all, by the size of the call that it is a part of. */
export function split(
  work: Work,
  kernel: Kernel,
  fn: string,
  args: readonly number[],
  total: number,
  grain: number,
  operations: number,
): void {
  if (worthAll(work, operations)) parallel(kernel, fn, args, total, grain);
  else if (total > 0) call(kernel, fn, ...args, 0, total);
}

/** The same with everything settled now, as `bound` does it. */
export function boundSplit(
  ...[work, kernel, fn, args, total, grain, operations]: Parameters<typeof split>
): () => void {
  if (worthAll(work, operations)) return () => parallel(kernel, fn, args, total, grain);
  return total > 0 ? bound(kernel, fn, ...args, 0, total) : () => {};
}
