/**
 * A child process that runs cells, one after the other, on one thread, as its parent asks. It has no say in anything:
 * figures go to the parent, which keeps them. When the parent is gone, even killed, the child ends at once.
 */
import { Worker } from "node:worker_threads";
import { initSync } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import type { Experiment } from "./contract.ts";
import { loadExperiment } from "./load.ts";
import type { Answer, Order } from "./pool.node.ts";
import { cellsOf, runCell } from "./run-cell.ts";

/** A cell computes without pause, so a thread of its own looks whether the parent is still there. */
const WATCH = `const { ppid } = process;
setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 250);`;

const tell = (answer: Answer): void => {
  process.send?.(answer);
};

const loaded = new Map<string | number, Experiment>();

async function obey(order: Order): Promise<void> {
  const { source, seed, name, quick, split } = order;
  let toldAt = 0;
  const progress = (done: number): void => {
    const now = performance.now();
    if (now - toldAt < 250) return;
    toldAt = now;
    tell({ kind: "progress", done });
  };
  try {
    const experiment = loaded.get(source) ?? (await loadExperiment(source));
    loaded.set(source, experiment);
    const cell = cellsOf(experiment, [seed]).get(name);
    if (!cell) throw new Error(`no cell ${name} for seed ${seed}`);
    const start = performance.now();
    const figures = await runCell(cell, { quick, split, progress, signal: new AbortController().signal });
    const seconds = (performance.now() - start) / 1000;
    tell({ kind: "finished", cell: { figures, seconds, peakBytes: process.resourceUsage().maxRSS * 1024 } });
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    tell({ kind: "failed", message, stack, ...(error instanceof LacunaError && { complaint: error.complaint }) });
  }
}

new Worker(WATCH, { eval: true }).unref();
process.on("SIGINT", () => {}); // Ctrl-C reaches the whole group; the parent decides
process.on("disconnect", () => process.exit(0));
process.on("message", (order: Order) => void obey(order));
initSync({ threads: 1 });
tell({ kind: "ready" });
