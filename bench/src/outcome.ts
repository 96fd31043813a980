/**
 * What a suite hands back: ratios, rates and counts; and the one place where they become text or JSON.
 *
 * A ratio without its spread is refused here, before it can be printed or recorded. Nothing here measures.
 */
import type { Spread, Timing } from "../../src/runtime/timing.ts";

/**
 * How many times faster `what` is than `over`: median and quartiles of the quotients taken inside of each round. A few rows
 * hold a share instead (the sparsity at which a layout breaks even, the layers that a forecast meets), as `what` says.
 */
export interface Row {
  readonly id: string;
  readonly what: string;
  readonly shape: string;
  /** zeros / elements over the prunable weights; 0 = dense */
  readonly sparsity: number;
  /** threads of what is rated; the other side's are part of `over` where they differ */
  readonly threads: number;
  readonly over: string;
  readonly ratio: number;
  /** lower and upper quartile */
  readonly low: number;
  readonly high: number;
  readonly repeats: number;
  /**
   * what the ratio has to reach, and what it should; null where nothing was promised. An aim below `atLeast` says that less
   * is better: `atLeast` is then the most it may be.
   */
  readonly atLeast: number | null;
  readonly aim: number | null;
}

/** A rate by the clock, with quartiles. It holds for this machine at this hour; only ratios travel. */
export interface Rate {
  readonly id: string;
  readonly what: string;
  readonly shape: string;
  readonly threads: number;
  readonly unit: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly repeats: number;
}

/** A number that was counted, not timed: bytes, a loss. */
export interface Count {
  readonly id: string;
  readonly what: string;
  readonly unit: string;
  readonly value: number;
}

/** An engine other than the one that runs the bench. */
export interface Engine {
  readonly node: string;
  readonly v8: string;
  readonly fused: boolean;
}

export interface Outcome {
  /** what it was measured on, where that is not the process that records it */
  readonly engine?: Engine;
  readonly rows: readonly Row[];
  readonly rates: readonly Rate[];
  readonly counts: readonly Count[];
  /** what a reader must know: a peer that could not run, a check that was made */
  readonly notes: readonly string[];
}

/** Quartiles of fewer rounds than this say nothing. */
export const FEWEST_REPEATS = 3;

/** Throws unless the value has a spread around it that was really measured. */
export function checkSpread(id: string, value: number, low: number, high: number, repeats: number): void {
  const finite = [value, low, high].every(Number.isFinite);
  if (!finite || !(low >= 0 && value > 0) || !(low <= value && value <= high)) {
    throw new Error(`bench: ${id} = ${value} has no spread around it (${low} to ${high})`);
  }
  if (!(repeats >= FEWEST_REPEATS)) {
    throw new Error(`bench: ${id} comes from ${repeats} rounds; a spread needs ${FEWEST_REPEATS}`);
  }
}

export type RowFields = Omit<Row, "ratio" | "low" | "high" | "repeats" | "sparsity" | "atLeast" | "aim"> &
  Partial<Pick<Row, "sparsity" | "atLeast" | "aim">>;

/** How many times faster variant `fast` of one interleaved run is than `base`. */
export function ratioRow(timing: Timing, fast: string, base: string, fields: RowFields): Row {
  return rowOf(timing.ratio(fast, base), fields);
}

/** A row of a value that was made from several variants, with its spread. */
export function rowOf(
  { median, low, high, repeats }: Pick<Spread, "median" | "low" | "high" | "repeats">,
  fields: RowFields,
): Row {
  checkSpread(fields.id, median, low, high, repeats);
  return {
    id: fields.id,
    what: fields.what,
    shape: fields.shape,
    sparsity: fields.sparsity ?? 0,
    threads: fields.threads,
    over: fields.over,
    ratio: median,
    low,
    high,
    repeats,
    atLeast: fields.atLeast ?? null,
    aim: fields.aim ?? null,
  };
}

/** Less is better in this row. */
export const lessIsBetter = ({ atLeast, aim }: Pick<Row, "atLeast" | "aim">): boolean =>
  atLeast !== null && aim !== null && aim < atLeast;

/** Whether a row reached what was promised, and what was aimed at. */
export function reached(row: Row): { readonly gate: boolean; readonly aim: boolean } {
  const good = (bound: number | null): boolean =>
    bound !== null && (lessIsBetter(row) ? row.ratio <= bound : row.ratio >= bound);
  return { gate: good(row.atLeast), aim: good(row.aim) };
}

export type RateFields = Pick<Rate, "id" | "what" | "shape" | "threads" | "unit">;

/** Units a second of a variant whose one call does `amount` units. */
export function rateOf(timing: Timing, name: string, amount: number, fields: RateFields): Rate {
  const found = timing.variants.find((v) => v.name === name);
  if (!found) throw new Error(`bench: no variant ${name}`);
  const time: Spread = found.time;
  const perSecond = (ms: number): number => (1000 * amount) / ms;
  const rate: Rate = {
    ...fields,
    value: perSecond(time.median),
    low: perSecond(time.high),
    high: perSecond(time.low),
    repeats: time.repeats,
  };
  checkSpread(rate.id, rate.value, rate.low, rate.high, rate.repeats);
  return rate;
}

export function merge(outcomes: readonly Outcome[]): Outcome {
  return {
    rows: outcomes.flatMap((o) => o.rows),
    rates: outcomes.flatMap((o) => o.rates),
    counts: outcomes.flatMap((o) => o.counts),
    notes: outcomes.flatMap((o) => o.notes),
  };
}

const digits = (x: number): string => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const percent = (x: number): string => (x === 0 ? "dense" : `${(100 * x).toFixed(0)} %`);

function verdict(row: Row): string {
  if (row.atLeast === null) return "";
  const { gate, aim } = reached(row);
  const aimed = row.aim === null ? "" : `, aim ${row.aim}${aim ? " reached" : ""}`;
  return `${gate ? "reached" : "MISSED"}: at ${lessIsBetter(row) ? "most" : "least"} ${row.atLeast}${aimed}`;
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const all = [head, ...lines];
  const widths = head.map((_, c) => Math.max(...all.map((l) => l[c].length)));
  return all
    .map((l) =>
      l
        .map((cell, c) => cell.padEnd(widths[c]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const bytes = (n: number): string => `${(n / 2 ** 20).toFixed(1)} MiB`;

/** Tables for a terminal. Every ratio and rate stands beside its quartiles. */
export function print(o: Outcome): string {
  for (const r of o.rows) checkSpread(r.id, r.ratio, r.low, r.high, r.repeats);
  const parts: string[] = [];
  if (o.rows.length > 0) {
    const lines = o.rows.map((r) => [
      r.what,
      r.shape,
      percent(r.sparsity),
      String(r.threads),
      r.over,
      `${digits(r.ratio)} (${digits(r.low)} to ${digits(r.high)}, ${r.repeats} rounds)`,
      verdict(r),
    ]);
    parts.push(table(["what", "shape", "zeros", "threads", "over", "times faster (quartiles)", ""], lines));
  }
  if (o.rates.length > 0) {
    const lines = o.rates.map((r) => [
      r.what,
      r.shape,
      String(r.threads),
      `${digits(r.value)} ${r.unit} (${digits(r.low)} to ${digits(r.high)})`,
    ]);
    parts.push(table(["what", "shape", "threads", "rate (quartiles)"], lines));
  }
  if (o.counts.length > 0) {
    const lines = o.counts.map((c) => [c.what, c.unit === "bytes" ? bytes(c.value) : `${c.value} ${c.unit}`]);
    parts.push(table(["what", "count"], lines));
  }
  if (o.notes.length > 0) parts.push(o.notes.map((n) => `- ${n}`).join("\n"));
  return parts.join("\n\n");
}

/** The ratios alone, as one JSON array. */
export function printJson(o: Outcome): string {
  for (const r of o.rows) checkSpread(r.id, r.ratio, r.low, r.high, r.repeats);
  return JSON.stringify(o.rows, null, 2);
}
