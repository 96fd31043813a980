/**
 * Ranking of all items for each user, items already known left out: recall, NDCG, precision and hit rate among the first
 * K. Never over a sample of items. Users without anything to find are not counted. Equal scores: the lower item first.
 */
import { linearForward } from "../core/compute/gemm.ts";
import { ln } from "../core/elementary.ts";
import { demand } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { type Interactions, itemsOf, popularity } from "../data/interactions.ts";

/** Scores [B, items] of some users; read before the next call. */
export type Scorer = (users: Int32Array) => Float32Array;

export interface RankingOptions {
  readonly scores: Scorer;
  /** what a user is known to have: training items, and those of validation when testing */
  readonly known: readonly Interactions[];
  /** what is to be found */
  readonly wanted: Interactions;
  /** K; default 20 */
  readonly k?: number;
  /** users scored at once; default 256 */
  readonly batch?: number;
}

export interface Ranking {
  readonly k: number;
  /** users counted */
  readonly users: number;
  /** means over users: found / wanted, found / K, at least one found, discounted gain over the best possible */
  readonly recall: number;
  readonly precision: number;
  readonly hitRate: number;
  readonly ndcg: number;
}

/** The k items with the greatest scores, best first; -Infinity never comes in. Equal scores: lower item first. */
export function topItems(scores: ArrayLike<number>, k: number): Int32Array {
  const items = new Int32Array(k);
  const values = new Float64Array(k);
  let n = 0;
  for (let i = 0; i < scores.length; i++) {
    const s = scores[i];
    if (s === Number.NEGATIVE_INFINITY || (n === k && !(s > values[n - 1]))) continue;
    let at = n < k ? n++ : n - 1;
    for (; at > 0 && s > values[at - 1]; at--) {
      values[at] = values[at - 1];
      items[at] = items[at - 1];
    }
    values[at] = s;
    items[at] = i;
  }
  return items.subarray(0, n);
}

/** Ranks all items for all users that want some. A `LacunaError` for scores that are NaN. */
export function rank(options: RankingOptions): Ranking {
  const { scores, known, wanted, k = 20, batch = 256 } = options;
  const items = wanted.items;
  demand(Number.isInteger(k) && k >= 1 && known.every((r) => r.items === items && r.users === wanted.users), () => ({
    about: "ranking",
    expected: `K of at least 1, and ${wanted.users} users and ${items} items everywhere`,
    got: `K ${k}, ${known.map((r) => `${r.users} x ${r.items}`).join(", ")}`,
    hint: "The parts must come from one split.",
  }));
  const gain = Float64Array.from({ length: k }, (_, r) => Math.LN2 / ln(r + 2));
  const best = gain.map((_, r) => gain.subarray(0, r + 1).reduce((a, b) => a + b, 0));
  const users = Int32Array.from({ length: wanted.users }, (_, u) => u).filter((u) => itemsOf(wanted, u).length > 0);
  let [recall, precision, hits, ndcg] = [0, 0, 0, 0];
  for (let at = 0; at < users.length; at += batch) {
    const some = users.subarray(at, at + batch);
    const block = scores(some);
    demand(block.length === some.length * items, () => ({
      about: "scores",
      expected: `[${some.length}, ${items}]`,
      got: `${block.length} values`,
      hint: "Score every item.",
    }));
    some.forEach((u, row) => {
      const mine = block.slice(row * items, (row + 1) * items);
      const bad = mine.findIndex(Number.isNaN);
      demand(bad < 0, () => ({
        about: "scores",
        expected: "numbers",
        got: `NaN for user ${u}, item ${bad}`,
        hint: "Training diverged: lower the learning rate.",
      }));
      for (const r of known) for (const item of itemsOf(r, u)) mine[item] = Number.NEGATIVE_INFINITY;
      const goal = new Set(itemsOf(wanted, u));
      let [found, value] = [0, 0];
      topItems(mine, k).forEach((item, r) => {
        if (!goal.has(item)) return;
        found++;
        value += gain[r];
      });
      recall += found / goal.size;
      precision += found / k;
      hits += found > 0 ? 1 : 0;
      ndcg += value / best[Math.min(k, goal.size) - 1];
    });
  }
  const n = users.length;
  return { k, users: n, recall: recall / n, precision: precision / n, hitRate: hits / n, ndcg: ndcg / n };
}

/** Scores by how many users took each item in training: the baseline every recommender must beat. */
export function popularityScorer(train: Interactions): Scorer {
  const row = Float32Array.from(popularity(train));
  return (users) => {
    const out = new Float32Array(users.length * row.length);
    users.forEach((_, i) => {
      out.set(row, i * row.length);
    });
    return out;
  };
}

/** Scores by the product of embeddings: users f32 [U, F], items f32 [I, F]. */
export function dotScorer(users: Tensor, items: Tensor): Scorer {
  const f = users.shape[1];
  demand(users.shape.length === 2 && items.shape.length === 2 && items.shape[1] === f, () => ({
    about: "embeddings",
    expected: `users [U, F] and items [I, F]`,
    got: `[${users.shape.join(", ")}] and [${items.shape.join(", ")}]`,
    hint: "Both must have the same width.",
  }));
  return (some) =>
    scope(() => {
      const x = new Tensor([some.length, f]);
      const y = new Tensor([some.length, items.shape[0]]);
      const [from, to] = [users.f32, x.f32];
      some.forEach((u, i) => {
        to.set(from.subarray(u * f, (u + 1) * f), i * f);
      });
      linearForward(x.ptr, some.length, { ptr: items.ptr, type: "f32" }, items.shape[0], f, y.ptr);
      return y.toArray();
    });
}
