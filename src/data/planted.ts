/**
 * Tables in which it is known which features matter: latent signals copied with noise into groups of columns, among
 * columns of pure noise. A selector that works finds the copies.
 */
import { demand } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { fillNormal } from "./noise.ts";

export interface PlantedOptions {
  /** rows; default 2,000 */
  readonly rows?: number;
  /** latent signals; default 10 */
  readonly signals?: number;
  /** columns that copy each; default 5 */
  readonly copies?: number;
  /** deviation of the noise on a copy; the signals have 1; default 0.3 */
  readonly noise?: number;
  /** columns of pure noise of deviation 1; default 150 */
  readonly distractors?: number;
  readonly seed: number;
}

export interface Planted {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] */
  readonly x: Float32Array;
  /** [columns]: the signal that a column copies, or -1 */
  readonly signalOf: Int32Array;
  /** the columns that copy one, rising */
  readonly planted: Int32Array;
}

/** Draws the table; where the planted columns stand is drawn too. */
export function plantedFeatures(options: PlantedOptions): Planted {
  const { rows = 2000, signals = 10, copies = 5, noise = 0.3, distractors = 150, seed } = options;
  demand([rows, signals, copies, distractors].every((n) => Number.isInteger(n) && n >= 0) && noise >= 0, () => ({
    about: "planted features",
    expected: "whole numbers of rows, signals, copies and distractors, and noise of at least 0",
    got: `${rows}, ${signals}, ${copies}, ${distractors}, ${noise}`,
    hint: "Check the sizes.",
  }));
  const columns = signals * copies + distractors;
  const signalOf = new Int32Array(columns).fill(-1);
  const places = stream(seed, "planted/places").permutation(columns);
  for (let k = 0; k < signals * copies; k++) signalOf[places[k]] = Math.floor(k / copies);
  const x = new Float32Array(rows * columns);
  fillNormal(x, seed, "planted/noise");
  const latent = new Float32Array(rows * signals);
  fillNormal(latent, seed, "planted/signals");
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) {
      if (signalOf[j] >= 0) x[at] = latent[i * signals + signalOf[j]] + noise * x[at];
    }
  }
  const planted = Int32Array.from({ length: columns }, (_, j) => j).filter((j) => signalOf[j] >= 0);
  return { rows, columns, x, signalOf, planted };
}
