/**
 * Runs experiments: cells side by side in child processes, each kept when it is done, so that a run that was killed at
 * any moment goes on at the cell where it stopped; then metrics, claims and the record. Node only.
 *
 * Three modes: `full` measures on test data and makes a record, `dev` measures on validation data, `quick` is a smoke
 * run of seconds whose figures mean nothing (no verdict, nothing kept).
 */
import { availableParallelism, cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { LacunaError } from "../core/errors.ts";
import { findData } from "../data/find.node.ts";
import { packageVersion } from "../runtime/machine.node.ts";
import { type CatalogueEntry, paperName } from "./catalogue/index.ts";
import type { Cell, Experiment, Figures, PaperRecord } from "./contract.ts";
import { type Estimate, estimate, type Share } from "./estimate.ts";
import { builtHashes, type Hashes, hashesOf, moduleHashes, sourceFolder } from "./hash.node.ts";
import { judge, verdictOf } from "./judge.ts";
import { type Finished, openKept, workFolder } from "./kept.node.ts";
import { entryOf, loadExperiment, type Source } from "./load.ts";
import { openPool, type Pool } from "./pool.node.ts";
import { withAnalysis } from "./records.node.ts";
import { cellName, cellsOf, inCell, runCell } from "./run-cell.ts";

export type Mode = "full" | "dev" | "quick";

export interface ReproduceOptions {
  /** default "full" */
  readonly mode?: Mode;
  /** cells side by side; default: the cores; 0: in this process, one after the other */
  readonly jobs?: number;
  /** folder of the kept cells; default: in the user's cache */
  readonly work?: string;
  /** forget kept cells first */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ReproduceProgress) => void;
  /** called as soon as a paper is done, while others still run */
  readonly onRecord?: (record: PaperRecord) => void | Promise<void>;
}

export interface ReproduceProgress extends Estimate {
  readonly cells: number;
  readonly finished: number;
  /** names of the cells that run now, with their paper */
  readonly running: readonly string[];
}

/** What became of one paper: a record, or the first error of its cells. */
export interface Outcome {
  readonly source: Source;
  readonly record?: PaperRecord;
  readonly error?: unknown;
}

/** One paper of a run. */
interface Job {
  readonly source: Source;
  readonly experiment: Experiment;
  readonly entry: CatalogueEntry;
  readonly hashes: Hashes;
  readonly seeds: readonly number[];
  readonly skipped?: string;
  readonly finished: ReadonlyMap<string, Finished>;
  keep(name: string, cell: Finished): Promise<void>;
  readonly tasks: Task[];
  error?: unknown;
}

interface Task {
  readonly job: Job;
  readonly cell: Cell;
  readonly name: string;
  /** the seed in whose list of cells it is found */
  readonly seed: number;
  readonly share: Share;
}

const splitOf = (mode: Mode): "validation" | "test" => (mode === "full" ? "test" : "validation");

/** The hashes of what is about to run. */
export function currentHashes(source: Source, experiment: Experiment): Hashes {
  if (typeof source === "string") return moduleHashes(fileURLToPath(source), packageVersion());
  if (sourceFolder === null) return builtHashes(source);
  return hashesOf(experiment, `${sourceFolder}/papers/${paperName(entryOf(source))}.ts`, sourceFolder);
}

async function plan(source: Source, mode: Mode, options: ReproduceOptions): Promise<Job> {
  const experiment = await loadExperiment(source);
  const entry = entryOf(experiment.paper);
  const hashes = currentHashes(source, experiment);
  const seeds = mode === "quick" ? experiment.quickSeeds : experiment.seeds;
  const missing = experiment.data.map((id) => findData(id).missing).filter((m) => m !== null);
  const base = { source, experiment, entry, hashes, seeds, tasks: [] };
  if (missing.length > 0) {
    return { ...base, skipped: missing.join(", "), finished: new Map(), keep: async () => {} };
  }
  const key = { paper: entry.paper, hash: hashes.cells, split: splitOf(mode), fresh: options.fresh };
  const kept = mode === "quick" ? keptInMemory() : await openKept(options.work ?? workFolder(), key);
  const job: Job = { ...base, finished: kept.finished, keep: kept.keep };
  for (const seed of seeds) {
    for (const cell of cellsOf(experiment, [seed]).values()) {
      const name = cellName(cell);
      if (job.tasks.some((t) => t.name === name)) continue;
      const before = job.finished.get(name);
      const share: Share = {
        paper: entry.paper,
        gflop: cell.gflop,
        alone: cell.alone === true,
        done: before ? 1 : 0,
        seconds: before?.seconds ?? 0,
      };
      job.tasks.push({ job, cell, name, seed, share });
    }
  }
  return job;
}

function keptInMemory(): { finished: ReadonlyMap<string, Finished>; keep(n: string, c: Finished): Promise<void> } {
  const finished = new Map<string, Finished>();
  return { finished, keep: async (name, cell) => void finished.set(name, cell) };
}

/** Metrics of each seed, from the figures of cells. */
export function metricsOf(
  experiment: Experiment,
  seeds: readonly number[],
  figuresOf: (name: string) => Figures | undefined,
): Figures[] {
  return seeds.map((seed) => {
    const cells = experiment.cells(seed);
    return experiment.metrics(seed, (key) => {
      const cell = cells.find((c) => c.key === key);
      const figures = cell && figuresOf(cellName(cell));
      if (figures) return figures;
      throw new LacunaError({
        about: `metrics of paper ${experiment.paper}, seed ${seed}`,
        expected: `keys of its cells: ${cells.map((c) => c.key).join(", ")}`,
        got: key,
        hint: "Mend `metrics` of the experiment.",
      });
    });
  });
}

async function recordOf(job: Job, mode: Mode, jobs: number): Promise<PaperRecord> {
  const { experiment, entry, seeds, finished, skipped } = job;
  const names = job.tasks.map((t) => t.name);
  const cells = names.map((name) => [name, finished.get(name) as Finished] as const);
  const claims = skipped
    ? []
    : judge(
        experiment.claims,
        seeds,
        metricsOf(experiment, seeds, (name) => finished.get(name)?.figures),
      );
  const record: PaperRecord = {
    paper: entry.paper,
    method: entry.method,
    version: packageVersion(),
    hash: job.hashes.record,
    date: new Date().toISOString(),
    machine: `${cpus()[0]?.model.trim() ?? "unknown"}, ${availableParallelism()} cores, ${process.platform} ${process.arch}, Node ${process.versions.node}`,
    split: splitOf(mode),
    ...(mode === "quick" && { quick: true as const }),
    seeds,
    seconds: cells.reduce((sum, [, c]) => sum + c.seconds, 0),
    jobs,
    minutesPromised: experiment.minutes,
    peakBytes: Math.max(0, ...cells.map(([, c]) => c.peakBytes)),
    ...(skipped !== undefined && { skipped }),
    cells: Object.fromEntries(cells.map(([name, c]) => [name, c.figures])),
    claims,
    verdict: mode === "quick" || skipped !== undefined ? null : verdictOf(claims),
  };
  return mode === "full" && skipped === undefined ? withAnalysis(record, entry) : record;
}

/** Runs a cell in this process, in the place of a child. */
async function runHere(task: Task, mode: Mode, signal: AbortSignal, progress: (done: number) => void) {
  const start = performance.now();
  const figures = await runCell(task.cell, { quick: mode === "quick", split: splitOf(mode), progress, signal });
  const seconds = (performance.now() - start) / 1000;
  return { figures, seconds, peakBytes: process.resourceUsage().maxRSS * 1024 };
}

/**
 * Reproduces papers. A failing cell ends its own paper only: the other papers go on, and its outcome holds the error.
 * Throws when aborted; what was finished by then is kept.
 */
export async function reproduce(sources: readonly Source[], options: ReproduceOptions = {}): Promise<Outcome[]> {
  const { mode = "full", jobs = availableParallelism(), onProgress, onRecord } = options;
  const signal = options.signal ?? new AbortController().signal;
  const all: Job[] = [];
  for (const source of sources) all.push(await plan(source, mode, options));
  const tasks = all.flatMap((job) => job.tasks);
  const shares = tasks.map((t) => t.share);
  const side = Math.max(jobs, 1);
  const records = new Map<Job, PaperRecord>();
  const running = new Map<Task, Promise<void>>();
  // within a paper the longest first, so that none is left over at the end; cells that run alone come last of all
  const waiting = all
    .flatMap((job) => job.tasks.filter((t) => !job.finished.has(t.name)).sort((a, b) => b.cell.gflop - a.cell.gflop))
    .sort((a, b) => Number(a.share.alone) - Number(b.share.alone));
  let pool: Pool | null = null;

  const report = (): void => {
    if (!onProgress) return;
    const finished = tasks.filter((t) => t.job.finished.has(t.name)).length;
    const names = [...running.keys()].map((t) => `${t.job.entry.paper} ${t.name}`);
    onProgress({ ...estimate(shares, side), cells: tasks.length, finished, running: names });
  };

  const finish = async (job: Job): Promise<void> => {
    if (job.error !== undefined || records.has(job)) return;
    if (job.tasks.some((t) => !job.finished.has(t.name))) return;
    try {
      const record = await recordOf(job, mode, jobs);
      records.set(job, record);
      await onRecord?.(record);
    } catch (error) {
      job.error = error;
    }
  };

  const run = async (task: Task): Promise<void> => {
    const { job, share, name, seed } = task;
    const start = performance.now();
    const progress = (done: number): void => {
      share.done = Math.min(Math.max(done, 0), 0.999);
      share.seconds = (performance.now() - start) / 1000;
      report();
    };
    try {
      const order = { source: job.source, seed, name, quick: mode === "quick", split: splitOf(mode) } as const;
      const cell =
        jobs === 0 ? await runHere(task, mode, signal, progress) : await (pool ??= openPool()).run(order, progress);
      signal.throwIfAborted();
      await job.keep(name, cell);
      share.done = 1;
      share.seconds = cell.seconds;
    } catch (error) {
      job.error ??= inCell(name, error);
    } finally {
      running.delete(task);
      report();
    }
    await finish(job);
  };

  const next = (): Task | undefined => {
    while (waiting.length > 0 && waiting[0].job.error !== undefined) waiting.shift();
    const task = waiting[0];
    if (!task || running.size >= side) return undefined;
    const blocked = task.share.alone || [...running.keys()].some((t) => t.share.alone);
    return blocked && running.size > 0 ? undefined : waiting.shift();
  };

  const stop = (): void => pool?.stop();
  signal.addEventListener("abort", stop);
  try {
    for (const job of all) await finish(job);
    for (;;) {
      signal.throwIfAborted();
      for (let task = next(); task; task = next()) running.set(task, run(task));
      if (running.size === 0) break;
      await Promise.race(running.values());
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
    await Promise.allSettled(running.values());
  }
  return all.map((job) => ({ source: job.source, record: records.get(job), error: job.error }));
}
