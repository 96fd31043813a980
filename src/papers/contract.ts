/**
 * The contract of an experiment: what a paper's reproduction declares before it runs, and what its record holds after.
 *
 * Claims are data, fixed before the run; no number is computed here. An experiment is cut into cells (one training run,
 * say): a cell is what is resumed after a kill and what runs beside others. Metrics are made from cells, seed by seed,
 * so that differences between a method and its baseline are paired. `judge.ts` turns metrics into verdicts,
 * `reproduce.node.ts` runs cells. docs/adding-a-paper.md shows how the parts fit.
 */

import type { DataSetId } from "../data/catalogue.ts";

/** Named figures: what a cell returns, and the metrics of one seed. All must be finite. */
export type Figures = Readonly<Record<string, number>>;

export type Op = ">=" | "<=" | "==";

/**
 * What a claim is about.
 * - `effect`: the method beats something, by so much;
 * - `no-worse`: the method costs at most so much quality;
 * - `exact`: a count or a closed form;
 * - `cost`: FLOPs, bytes, seconds;
 * - `floor`: a baseline is good enough for a comparison with it to mean something;
 * - `activity`: the method did something at all (masks changed, rewiring explored).
 */
export type ClaimKind = "effect" | "no-worse" | "exact" | "cost" | "floor" | "activity";

export interface Claim {
  /** unique in its experiment, as "C1" */
  readonly id: string;
  /** one sentence that a reader can check against the number */
  readonly text: string;
  /** key of the metric, as returned by `Experiment.metrics` */
  readonly metric: string;
  readonly op: Op;
  readonly threshold: number;
  /** for "==": largest |value - threshold| that counts as equal; 0 if left out */
  readonly tolerance?: number;
  /** the verdict is made from main claims only */
  readonly main: boolean;
  readonly kind: ClaimKind;
  /** ids of floor and activity claims without which this one does not count */
  readonly needs?: readonly string[];
  /** where the threshold comes from */
  readonly basis: "measured" | "reasoned" | "estimated";
  /** the threshold that stood here before, why it was changed, and on what data (never test data) that was seen */
  readonly replaced?: { readonly was: number | string; readonly why: string; readonly on: string };
}

export interface CellContext {
  /** a smoke run: a few steps on a little data, well under a second a cell; the figures mean nothing */
  readonly quick: boolean;
  readonly seed: number;
  /** the data on which figures are measured; test data is read only when this says so */
  readonly split: "validation" | "test";
  /** tells how far the cell is, in [0, 1]; cheap, call it every step */
  progress(done: number): void;
  readonly signal: AbortSignal;
}

/** One unit of work: independent of all other cells, and the same figures on every run. */
export interface Cell {
  /** unique among the cells of its seed, as "rigl-0.9" */
  readonly key: string;
  /** seed of every draw in it; cells of several seeds with the same key and seed are one cell and run once */
  readonly seed: number;
  /** estimated work in 10^9 floating-point operations (2 a multiply-add), from which the time left is told */
  readonly gflop: number;
  /** measures time: runs while no other cell does */
  readonly alone?: boolean;
  run(context: CellContext): Promise<Figures>;
}

export interface Experiment {
  /** number in the catalogue */
  readonly paper: number;
  /** the module that holds the method, relative to src/, as "methods/weights/dsnot.ts" */
  readonly method: string;
  /** further modules, relative to src/, whose change makes a record stale: baselines, the training loop, the model */
  readonly uses: readonly string[];
  /** tests that hold the method to its oracles, relative to src/; the method's own test file if left out */
  readonly oracles?: readonly string[];
  /** data sets it cannot do without (`data/catalogue.ts`), as "mnist"; generated data needs no name */
  readonly data: readonly DataSetId[];
  readonly seeds: readonly number[];
  /** seeds of a smoke run; one is enough */
  readonly quickSeeds: readonly number[];
  /** minutes it is promised to take with two cells side by side */
  readonly minutes: number;
  readonly claims: readonly Claim[];
  cells(seed: number): readonly Cell[];
  /** one number a metric, for one seed; `get` gives the figures of the cell of that key and throws if there is none */
  metrics(seed: number, get: (key: string) => Figures): Figures;
}

export interface ClaimResult extends Claim {
  /** the metric, in the order of the record's seeds */
  readonly perSeed: readonly number[];
  /** mean over the seeds */
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** value op threshold, and all of `needs` shown */
  readonly shown: boolean;
  /** the seeds disagree: some alone would satisfy the inequality, some would not */
  readonly fragile: boolean;
  /** ids of `needs` that are not shown */
  readonly unmet?: readonly string[];
}

/** All main claims shown, some, or none. */
export type Verdict = "shown" | "partly" | "not shown";

export interface PaperRecord {
  readonly paper: number;
  /** its name in the catalogue */
  readonly method: string;
  /** package version */
  readonly version: string;
  /** content hash over the method, the experiment and what it uses (`hash.node.ts`) */
  readonly hash: string;
  /** ISO date and time of the end */
  readonly date: string;
  readonly machine: string;
  /** which data the figures were measured on */
  readonly split: "validation" | "test";
  /** a smoke run, whose figures mean nothing */
  readonly quick?: true;
  readonly seeds: readonly number[];
  /** time of all cells together, one thread each */
  readonly seconds: number;
  /** cells that ran side by side */
  readonly jobs: number;
  readonly minutesPromised: number;
  /** largest resident size of a process that ran a cell, the engine's memory included */
  readonly peakBytes: number;
  /** why nothing was run, e.g. data that is missing */
  readonly skipped?: string;
  /** figures of each cell, by "key#seed" */
  readonly cells: Readonly<Record<string, Figures>>;
  readonly claims: readonly ClaimResult[];
  /** null: a smoke run, or skipped */
  readonly verdict: Verdict | null;
  /** what was tried and what the numbers say; must be there when a main claim is not shown; null until it is written */
  readonly analysis?: string | null;
}
