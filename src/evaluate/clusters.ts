/**
 * k-means (Lloyd, with k-means++ starts) and how well clusters match classes when each cluster is given the class that
 * suits it best: a judge of selected features that sees no labels. f64, a function of (examples, options) alone.
 */
import { demand } from "../core/errors.ts";
import { type Stream, stream } from "../core/random.ts";
import { type Examples, widthOf } from "../data/examples.ts";
import { assign } from "./assignment.ts";

export interface KMeansOptions {
  /** clusters; default the number of classes */
  readonly k?: number;
  /** runs from different starts, of which the one with the least spread is kept; default 1 */
  readonly runs?: number;
  /** most rounds of a run; default 100 */
  readonly rounds?: number;
  readonly seed: number;
}

export interface Clusters {
  /** [N] */
  readonly cluster: Int32Array;
  /** [k, D], in units of raw values */
  readonly centres: Float64Array;
  /** sum of squared distances to the own centre */
  readonly spread: number;
}

function squaredDistance(x: ArrayLike<number>, at: number, c: Float64Array, to: number, w: number): number {
  let sum = 0;
  for (let j = 0; j < w; j++) {
    const d = x[at + j] - c[to + j];
    sum += d * d;
  }
  return sum;
}

/** Starts far apart: each is drawn with the squared distance to the nearest start so far as weight. */
function starts(e: Examples, k: number, w: number, draws: Stream): Float64Array {
  const centres = new Float64Array(k * w);
  const near = new Float64Array(e.count).fill(Number.POSITIVE_INFINITY);
  let place = draws.below(0, e.count);
  for (let c = 0; c < k; c++) {
    for (let j = 0; j < w; j++) centres[c * w + j] = e.x[place * w + j];
    let total = 0;
    for (let i = 0; i < e.count; i++) {
      near[i] = Math.min(near[i], squaredDistance(e.x, i * w, centres, c * w, w));
      total += near[i];
    }
    let left = draws.uniform(c + 1) * total;
    place = 0;
    for (let i = 0; i < e.count && left >= 0; i++) {
      if (near[i] === 0) continue;
      place = i;
      left -= near[i];
    }
  }
  return centres;
}

function lloyd(e: Examples, k: number, w: number, centres: Float64Array, rounds: number): Clusters {
  const cluster = new Int32Array(e.count).fill(-1);
  let spread = 0;
  for (let round = 0; round <= rounds; round++) {
    let changed = false;
    spread = 0;
    for (let i = 0; i < e.count; i++) {
      let [best, least] = [0, Number.POSITIVE_INFINITY];
      for (let c = 0; c < k; c++) {
        const d = squaredDistance(e.x, i * w, centres, c * w, w);
        if (d < least) [best, least] = [c, d];
      }
      changed ||= cluster[i] !== best;
      cluster[i] = best;
      spread += least;
    }
    if (!changed || round === rounds) break;
    const [sums, counts] = [new Float64Array(k * w), new Int32Array(k)];
    for (let i = 0; i < e.count; i++) {
      counts[cluster[i]]++;
      for (let j = 0; j < w; j++) sums[cluster[i] * w + j] += e.x[i * w + j];
    }
    // an empty cluster keeps its centre
    for (let c = 0; c < k; c++) {
      if (counts[c] > 0) for (let j = c * w; j < (c + 1) * w; j++) centres[j] = sums[j] / counts[c];
    }
  }
  return { cluster, centres, spread };
}

/** Clusters of the examples. */
export function kMeans(e: Examples, options: KMeansOptions): Clusters {
  const { k = e.classes, runs = 1, rounds = 100, seed } = options;
  const w = widthOf(e);
  demand(k >= 1 && k <= e.count && runs >= 1 && rounds >= 1, () => ({
    about: "k-means",
    expected: `1 to ${e.count} clusters, and at least one run and round`,
    got: `${k} clusters, ${runs} runs, ${rounds} rounds`,
    hint: "Check the options.",
  }));
  const all = Array.from({ length: runs }, (_, r) =>
    lloyd(e, k, w, starts(e, k, w, stream(seed, `k-means/${r}`)), rounds),
  );
  return all.reduce((best, next) => (next.spread < best.spread ? next : best));
}

/** Share of examples in a cluster that was given their class, with clusters and classes matched one to one, at best. */
export function clusterAccuracy(cluster: ArrayLike<number>, labels: ArrayLike<number>, k: number): number {
  const cost = new Float64Array(k * k);
  for (let i = 0; i < labels.length; i++) {
    demand(cluster[i] < k && labels[i] < k, () => ({
      about: "cluster accuracy",
      expected: `clusters and labels below ${k}`,
      got: `cluster ${cluster[i]}, label ${labels[i]}`,
      hint: "Give the greater of the two numbers.",
    }));
    cost[cluster[i] * k + labels[i]]--;
  }
  const right = assign(cost, k).reduce((sum, label, c) => sum - cost[c * k + label], 0);
  return right / labels.length;
}
