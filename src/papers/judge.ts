/**
 * From metrics to claims to a verdict. Pure: no clock, no files, no randomness.
 *
 * A claim is judged by the mean over the seeds of a metric that was paired within each seed. A claim that leans on
 * others (`needs`) counts only when those are shown: a method that beats a broken baseline has shown nothing.
 */
import { LacunaError } from "../core/errors.ts";
import type { Claim, ClaimResult, Experiment, Figures, Op, Verdict } from "./contract.ts";

const holds = (op: Op, value: number, threshold: number, tolerance: number): boolean =>
  op === ">=" ? value >= threshold : op === "<=" ? value <= threshold : Math.abs(value - threshold) <= tolerance;

/** Throws unless the experiment's declaration makes sense; `about` names the experiment in the error. */
export function checkExperiment(experiment: Experiment, about: string): void {
  const { claims, seeds, quickSeeds } = experiment;
  const fail = (what: string, expected: string, got: string): never => {
    throw new LacunaError({ about: `${about}, ${what}`, expected, got, hint: "Mend the experiment's declaration." });
  };
  if (seeds.length === 0) fail("seeds", "at least one", "none");
  if (quickSeeds.length === 0) fail("quickSeeds", "at least one", "none");
  for (const [what, list] of Object.entries({ seeds, quickSeeds, claims: claims.map((c) => c.id) })) {
    if (new Set<number | string>(list).size < list.length) fail(what, "each once", list.join(", "));
  }
  if (!claims.some((c) => c.main)) fail("claims", "at least one main claim", "none");
  for (const c of claims) {
    const where = `claim ${c.id}`;
    if (!Number.isFinite(c.threshold)) fail(where, "a finite threshold", String(c.threshold));
    if (c.tolerance !== undefined && (c.op !== "==" || !(c.tolerance >= 0))) {
      fail(where, 'a tolerance from 0 up, and only with "=="', `${c.op} with tolerance ${c.tolerance}`);
    }
    for (const id of c.needs ?? []) {
      const needed = claims.find((other) => other.id === id);
      if (!needed) fail(where, "needs that are claims of this experiment", id);
      else if (!["floor", "activity", "exact"].includes(needed.kind))
        fail(where, "needs that are floor, activity or exact claims", `${id}, of kind ${needed.kind}`);
      else if (needed.needs?.length) fail(where, "needs that stand by themselves", `${id}, which has needs of its own`);
    }
  }
}

/** The metric of a claim, seed by seed. Throws for one that is missing or not finite. */
function perSeedOf(claim: Claim, seeds: readonly number[], metrics: readonly Figures[]): number[] {
  return metrics.map((m, i) => {
    const value = m[claim.metric];
    // Records are JSON, which has no -0.
    if (typeof value === "number" && Number.isFinite(value)) return value === 0 ? 0 : value;
    throw new LacunaError({
      about: `claim ${claim.id}, metric ${claim.metric}, seed ${seeds[i]}`,
      expected: "a finite number",
      got: value === undefined ? `none; there are ${Object.keys(m).join(", ") || "no metrics"}` : String(value),
      hint: "The run diverged, or the experiment's metrics do not cover its claims.",
    });
  });
}

/** Judges claims by the metrics of each seed (`metrics[i]` belongs to `seeds[i]`). */
export function judge(claims: readonly Claim[], seeds: readonly number[], metrics: readonly Figures[]): ClaimResult[] {
  const measured = claims.map((claim) => {
    const perSeed = perSeedOf(claim, seeds, metrics);
    const value = perSeed.reduce((sum, v) => sum + v, 0) / perSeed.length;
    const holding = (v: number): boolean => holds(claim.op, v, claim.threshold, claim.tolerance ?? 0);
    const agreeing = perSeed.filter(holding).length;
    return {
      ...claim,
      perSeed,
      value,
      low: Math.min(...perSeed),
      high: Math.max(...perSeed),
      alone: holding(value),
      fragile: agreeing > 0 && agreeing < perSeed.length,
    };
  });
  return measured.map(({ alone, ...claim }) => {
    const unmet = (claim.needs ?? []).filter((id) => !measured.find((other) => other.id === id)?.alone);
    return { ...claim, shown: alone && unmet.length === 0, ...(unmet.length > 0 && { unmet }) };
  });
}

/** All main claims shown, some, or none. */
export function verdictOf(claims: readonly ClaimResult[]): Verdict {
  const main = claims.filter((c) => c.main);
  const shown = main.filter((c) => c.shown).length;
  return shown === main.length ? "shown" : shown > 0 ? "partly" : "not shown";
}

/** Whether a record with these claims owes its reader an analysis. */
export const owesAnalysis = (claims: readonly ClaimResult[]): boolean => claims.some((c) => c.main && !c.shown);
