/**
 * In-time over-parametrisation (Liu et al. 2021, arXiv 2102.02887): SET's or RigL's exchange with long intervals, going on
 * to the end from half of the weights down to 0.5 %, so that as many places as possible are tried (`meter.explored`).
 */
import { gradient, random } from "../../sparsity/criteria.ts";
import { type RiglOptions, rigl } from "./rigl.ts";
import type { Dynamic } from "./set.ts";

export interface ItopOptions extends Omit<RiglOptions, "growth"> {
  /** default random, as SET-ITOP */
  readonly growth?: "random" | "gradient";
}

/** Default interval: 1,500 steps with random growth, 4,000 with growth by gradient. */
export function itop({ growth = "random", ...options }: ItopOptions): Dynamic {
  const every = growth === "random" ? 1500 : 4000;
  const score = growth === "random" ? random : gradient;
  const made = rigl({
    every,
    fraction: [0.5, 0.005],
    until: 1,
    regrow: growth !== "random",
    ...options,
    growth: score,
  });
  return { ...made, id: `itop, ${growth}` };
}

/**
 * Expected share of `places` that random growth has ever tried: `kept` of them are active at any time, and `exchanged[i]`
 * of those make room, in update i, for as many drawn from the places that were inactive before it.
 */
export function expectedExploration(places: number, kept: number, exchanged: readonly number[]): number {
  let tried = kept;
  for (const k of exchanged) tried += (Math.min(k, places - kept) * (places - tried)) / (places - kept);
  return tried / places;
}
