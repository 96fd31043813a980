/**
 * Keeps this process, with all its threads and whatever it starts, on one core for a while.
 *
 * Two cores of a virtual machine can differ in speed for minutes, by a third and more, and each seat stays on the core that
 * it was put on: rounds in turns do not cancel that. Linux with `taskset`; elsewhere everything runs as it comes.
 */
import { execFileSync } from "node:child_process";

const taskset = (...args: string[]): string =>
  execFileSync("taskset", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });

/** Cores of a list as the kernel writes it: "0-2,5". */
export function coresOf(list: string): number[] {
  return list.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** Runs `body` on the last of the cores that the process may use; `pinned` says whether that could be done. */
export async function onOneCore<R>(body: () => Promise<R>): Promise<{ readonly value: R; readonly pinned: boolean }> {
  const pid = String(process.pid);
  let before: string;
  try {
    if (process.platform !== "linux") throw new Error("no taskset");
    before = taskset("-c", "-p", pid).trim().split(": ").at(-1) as string;
    taskset("-a", "-c", "-p", String(coresOf(before).at(-1)), pid);
  } catch {
    return { value: await body(), pinned: false };
  }
  try {
    return { value: await body(), pinned: true };
  } finally {
    taskset("-a", "-c", "-p", before, pid);
  }
}

/** What a record says of it. */
export const ON_ONE_CORE = "One thread: everything ran on one core";
export const ON_ANY_CORE =
  "Threads ran on whichever core the system chose: contestants may have had cores of unlike speed";
