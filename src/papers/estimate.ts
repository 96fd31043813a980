/**
 * How far a run of cells is and how long it will take, from each cell's estimated work and the speed measured so far.
 * Pure: time comes in as seconds that cells took.
 */

/** 10^9 operations a second of one thread until something was measured. */
const UNMEASURED = 20;

/** What is known of one cell. */
export interface Share {
  /** cells of one paper run at one speed */
  readonly paper: number;
  readonly gflop: number;
  readonly alone: boolean;
  /** in [0, 1] */
  done: number;
  /** so far */
  seconds: number;
}

export interface Estimate {
  /** in [0, 1] */
  readonly done: number;
  readonly secondsLeft: number;
}

/** Seconds a cell needs for 10^9 operations, measured over `shares`; undefined where nothing has been done yet. */
function pace(shares: readonly Share[]): number | undefined {
  const work = shares.reduce((sum, s) => sum + s.gflop * s.done, 0);
  const seconds = shares.reduce((sum, s) => sum + s.seconds, 0);
  return work > 0 && seconds > 0 ? seconds / work : undefined;
}

/**
 * The state of a run on `jobs` processes. The rest takes at least as long as its longest cell, and cells that run alone
 * are not shared out.
 */
export function estimate(shares: readonly Share[], jobs: number): Estimate {
  const overall = pace(shares) ?? 1 / UNMEASURED;
  const papers = new Map<number, number>();
  for (const { paper } of shares) {
    if (!papers.has(paper)) papers.set(paper, pace(shares.filter((s) => s.paper === paper)) ?? overall);
  }
  const rest = (s: Share): number => s.gflop * (1 - s.done) * (papers.get(s.paper) ?? overall);
  const together = shares.filter((s) => !s.alone).map(rest);
  const sum = (list: readonly number[]): number => list.reduce((total, x) => total + x, 0);
  const secondsLeft = Math.max(sum(together) / jobs, ...together, 0) + sum(shares.filter((s) => s.alone).map(rest));
  const spent = sum(shares.map((s) => s.gflop * s.done * (papers.get(s.paper) ?? overall)));
  const all = spent + sum(shares.map(rest));
  return { done: all > 0 ? spent / all : 1, secondsLeft };
}
