/** Claims and records in words, for the terminal and for docs/papers.md. */
import type { Claim, ClaimResult, Op, PaperRecord } from "./contract.ts";

const SIGNS: Readonly<Record<Op, string>> = { ">=": "≥", "<=": "≤", "==": "=" };

/** Four significant digits; counts in full. */
export const figure = (x: number): string =>
  Number.isInteger(x) && Math.abs(x) < 1e9 ? String(x) : String(Number(x.toPrecision(4)));

/** "≥ 0.5", "= 3 ± 0.1" */
export const boundText = (c: Claim): string =>
  `${SIGNS[c.op]} ${figure(c.threshold)}${c.tolerance ? ` ± ${figure(c.tolerance)}` : ""}`;

/** "0.62 (0.6 to 0.64)"; the range is left out where the seeds agree. */
export const valueText = (c: ClaimResult): string =>
  c.low === c.high ? figure(c.value) : `${figure(c.value)} (${figure(c.low)} to ${figure(c.high)})`;

export function shownText(c: ClaimResult): string {
  if (c.unmet) return `does not count without ${c.unmet.join(", ")}`;
  return `${c.shown ? "shown" : "not shown"}${c.fragile ? ", seeds disagree" : ""}`;
}

/** "effect, main" */
export const kindText = (c: Claim): string => (c.main ? `${c.kind}, main` : c.kind);

const minutes = (seconds: number): string =>
  seconds < 60 ? `${figure(Math.round(seconds))} s` : `${(seconds / 60).toFixed(1)} min`;

/** When, where and with what a record was made. */
export function madeText(r: PaperRecord): string {
  const work = `${minutes(r.seconds)} of one thread, promised ${figure(r.minutesPromised)} min on two`;
  const seeds = `${r.seeds.length === 1 ? "seed" : "seeds"} ${r.seeds.join(", ")}`;
  const megabytes = Math.round(r.peakBytes / 1e6);
  return `${r.date.slice(0, 10)}, Lacuna ${r.version}, ${r.machine}; ${seeds}; ${work}; at most ${megabytes} MB a process`;
}
