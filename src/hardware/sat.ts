/**
 * A systolic array for dense and N:M products, after SAT (Fang et al. 2023, arXiv 2309.13015): its parameters, and closed
 * forms of the cycles that a product takes. `array.ts` steps the same array cycle by cycle, and takes as many.
 *
 * P x P elements do one multiply-add a cycle each; an addition takes L cycles until its sum can be added to. In N:M mode an
 * element gets a kept weight with its index and the M activations of the group, and picks one, so that K shrinks to K N/M.
 * Beside the array stand WUVE, which steps the optimiser element by element, and SORE, which finds the N largest of M.
 *
 * The paper's names and mechanisms, not its RTL: no buffers of limited size, no norms, activations or pooling, one product
 * at a time. What is printed here is a model, not a measurement.
 */
import { demand } from "../core/errors.ts";

export interface Sat {
  /** P, elements along each side of the array */
  readonly side: number;
  /** Hz */
  readonly clock: number;
  /** L, cycles of an addition */
  readonly adderLatency: number;
  /** I, independent outputs that an element works on in turn; 1: none, and every addition waits for the one before */
  readonly interleave: number;
  /** bytes a cycle from and to memory */
  readonly bandwidth: number;
  /** of weights, activations and gradients in memory */
  readonly valueBytes: number;
  /** parameters that WUVE steps a cycle */
  readonly wuveLanes: number;
  /** groups of M that SORE sorts a cycle */
  readonly soreLanes: number;
}

/** The configuration of the experiments: 2 P^2 f = 409.6 GFLOP/s, 12.8 GB/s, 16-bit values. */
export const SAT: Sat = {
  side: 32,
  clock: 200e6,
  adderLatency: 4,
  interleave: 4,
  bandwidth: 64,
  valueBytes: 2,
  wuveLanes: 32,
  soreLanes: 32,
};

/** FLOP/s of dense products when every element is busy. */
export const peak = (sat: Sat): number => 2 * sat.side ** 2 * sat.clock;

/** N kept of M along the axis that a product sums over. */
export type Kept = readonly [n: number, m: number];

/** (R x K)(K x C); with `kept`, the second operand is N:M along K. */
export interface ArrayProduct {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly kept?: Kept;
}

/** K N/M: what is left of K. Throws `LacunaError` when M does not divide K. */
export function keptInner({ inner, kept: [n, m] = [1, 1] }: ArrayProduct): number {
  demand(n >= 1 && n <= m && inner % m === 0, () => ({
    about: "product on the array",
    expected: `1 <= N <= M, and a K that M divides, for ${n}:${m}`,
    got: `K = ${inner}`,
    hint: "Run this product dense.",
  }));
  return (inner / m) * n;
}

/** Multiply-adds of the kept weights. */
export const productMacs = (p: ArrayProduct): number => p.rows * keptInner(p) * p.columns;

export type Dataflow = "OS" | "WS";

/** Cycles of products that run one after the other. */
export interface ArrayCycles {
  /** in which elements are given work, or wait for their adder */
  readonly issue: number;
  /** filling and draining */
  readonly skew: number;
  /** loading weights before the first product, and reading results out of the elements */
  readonly moving: number;
  readonly total: number;
}

const cycles = (issue: number, skew: number, moving: number): ArrayCycles => ({
  issue,
  skew,
  moving,
  total: issue + skew + moving,
});

/**
 * Output stationary: an element keeps its sum, so a tile is P x P outputs. A pass takes i <= I tiles at once: each of the
 * K N/M steps lasts max(i, L) cycles, the array fills and drains in 2 P - 2, and each tile is read out in P.
 */
export function outputStationary(products: readonly ArrayProduct[], sat: Sat): ArrayCycles {
  const { side, adderLatency, interleave } = sat;
  let [issue, skew, moving] = [0, 0, 0];
  for (const p of products) {
    const tiles = Math.ceil(p.rows / side) * Math.ceil(p.columns / side);
    const [full, rest] = [Math.floor(tiles / interleave), tiles % interleave];
    const slots = full * Math.max(interleave, adderLatency) + (rest > 0 ? Math.max(rest, adderLatency) : 0);
    issue += keptInner(p) * slots;
    skew += (full + (rest > 0 ? 1 : 0)) * (2 * side - 2);
    moving += tiles * side;
  }
  return cycles(issue, skew, moving);
}

/**
 * Weight stationary: P x P kept weights stay, R rows stream past, sums run down through P adders and are added up over the
 * tiles of K in buffers. A tile takes R + 2 P - 2 + P L; its weights, P cycles, load behind the tile before.
 */
export function weightStationary(products: readonly ArrayProduct[], sat: Sat): ArrayCycles {
  const { side, adderLatency } = sat;
  let [issue, skew] = [0, 0];
  for (const p of products) {
    const tiles = Math.ceil(keptInner(p) / side) * Math.ceil(p.columns / side);
    issue += tiles * p.rows;
    skew += tiles * (2 * side - 2 + side * adderLatency);
  }
  return cycles(issue, skew, products.length > 0 ? side : 0);
}

export const arrayCycles = (flow: Dataflow, products: readonly ArrayProduct[], sat: Sat): ArrayCycles =>
  flow === "OS" ? outputStationary(products, sat) : weightStationary(products, sat);

/** Share of the array's multiply-adds that are done. */
export const utilisation = (macs: number, taken: number, sat: Sat): number => macs / (taken * sat.side ** 2);

/** Bytes of a weight's kept values with their indices, ceil(log2 M) bits each. */
export function compactBytes(weights: number, [n, m]: Kept, { valueBytes }: Sat): number {
  return ((weights / m) * n * (8 * valueBytes + Math.ceil(Math.log2(m)))) / 8;
}
