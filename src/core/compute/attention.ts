/**
 * Attention of one token over chosen rows of a cache, over the engine's memory: ranked by labels and chosen here, or
 * listed by the caller.
 *
 * Caches are [K][capacity][E] f32, labels [L][C][capacity] (kernels/attention/sparse.ts). L lists serve H query heads of K
 * KV heads: L = H chooses for each head, L = K once for the heads that share a KV head, which reads a row once for all of
 * them. Results do not depend on the number of threads. It knows nothing of tensors or models.
 */
import { attentionSparse, sparseScratchBytes } from "../../kernels/attention/index.ts";
import { topF32, topScratchBytes } from "../../kernels/top/index.ts";
import { call, scratch } from "../engine.ts";
import { demand } from "../errors.ts";
import { overUnits } from "./vector.ts";

export interface CacheShape {
  /** query heads */
  readonly H: number;
  /** KV heads */
  readonly K: number;
  /** lists: a multiple of K that divides H */
  readonly L: number;
  /** width of a head, a multiple of 4 */
  readonly E: number;
  /** rows of the caches */
  readonly capacity: number;
}

/** Addresses of one layer's caches. */
export interface Caches {
  readonly keys: number;
  readonly values: number;
}

export interface Labels {
  /** channels kept for each list */
  readonly C: number;
  /** f32 [L][C][capacity] */
  readonly labels: number;
  /** i32 [L][C] */
  readonly channels: number;
}

/** Lists of rows in engine memory. */
export interface Lists {
  /** i32 [L][most] */
  readonly rows: number;
  /** i32 [L] */
  readonly counts: number;
  readonly most: number;
}

export function checkCacheShape({ H, K, L, E }: CacheShape): void {
  demand(E % 4 === 0 && L % K === 0 && H % L === 0, () => ({
    about: "sparse attention",
    expected: "a head width that 4 divides, lists that KV heads divide and that divide query heads",
    got: `width ${E}, ${H} heads, ${K} KV heads, ${L} lists`,
    hint: "Use one list for each query head or for each KV head.",
  }));
}

/** Labels of `count` tokens whose keys [count, K*E] stand from `position` on. */
export function labelKeys(s: CacheShape, l: Labels, keys: number, position: number, count: number): void {
  call(attentionSparse, "label", keys, l.labels, l.channels, position, count, s.capacity, s.K, s.L, l.C, s.E);
}

/** out[H*E] = attention of q[H*E] over the listed rows; an empty list gives 0. `scale` defaults to 1 / sqrt(E). */
export function attendListed(
  s: CacheShape,
  { keys, values }: Caches,
  { rows, counts, most }: Lists,
  q: number,
  out: number,
  scale: number = 1 / Math.sqrt(s.E),
): void {
  scratch(sparseScratchBytes(most, s.H), (room) => {
    const args = [q, keys, values, rows, counts, most, out, room, s.capacity, s.H, s.K, s.L, s.E, scale];
    overUnits(attentionSparse, "attend", args, s.L, 4 * most * s.H * s.E);
  });
}

/**
 * Chooses, for each list, the `keep` of the first `length` rows whose labels rank highest with q[H*E]; of equal ranks the
 * earlier row. `to` gets the lists, rising; its `most` must be at least min(keep, length).
 */
export function chooseRows(s: CacheShape, l: Labels, q: number, length: number, keep: number, to: Lists): void {
  const stride = 4 * Math.ceil(length / 4) + l.C;
  const scoreBytes = 4 * s.L * stride;
  scratch(scoreBytes + s.L * topScratchBytes(length), (scores) => {
    const args = [q, l.labels, l.channels, scores, stride, length, s.capacity, s.H, s.L, l.C, s.E];
    overUnits(attentionSparse, "rank", args, s.L, 2 * s.L * l.C * length);
    const top = [scores, stride, length, keep, to.rows, to.most, to.counts, scores + scoreBytes];
    // two nanoseconds a score are the work of some sixty operations
    overUnits(topF32, "rows", top, s.L, 64 * s.L * length);
  });
}

/** Attention of one token over the `keep` rows that its labels choose. */
export function attendChosen(
  s: CacheShape,
  caches: Caches,
  l: Labels,
  q: number,
  length: number,
  keep: number,
  out: number,
  scale?: number,
): void {
  const most = Math.min(keep, length);
  scratch(4 * s.L * (most + 1), (rows) => {
    const lists = { rows, counts: rows + 4 * s.L * most, most };
    chooseRows(s, l, q, length, keep, lists);
    attendListed(s, caches, lists, q, out, scale);
  });
}
