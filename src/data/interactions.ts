/**
 * Who took what: users x items as sorted lists by user, random splits within each user, popularity, and the triples of
 * pairwise ranking losses (BPR, Rendle et al. 2009). Times and ratings play no part: every interaction is a positive.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import type { Splits } from "./examples.ts";

export interface Interactions {
  readonly users: number;
  readonly items: number;
  /** [users + 1]: user u's items lie at starts[u] .. starts[u + 1] */
  readonly starts: Int32Array;
  /** rising within a user, none twice */
  readonly columns: Int32Array;
}

/** Collects pairs; a pair that comes twice counts once. */
export function interactions(
  users: number,
  items: number,
  from: ArrayLike<number>,
  to: ArrayLike<number>,
): Interactions {
  demand(from.length === to.length, () => ({
    about: "interactions",
    expected: `${from.length} items, one for each user in the list`,
    got: String(to.length),
    hint: "Give pairs.",
  }));
  const lists: number[][] = Array.from({ length: users }, () => []);
  for (let i = 0; i < from.length; i++) {
    const [u, v] = [from[i], to[i]];
    if (!(u >= 0 && u < users && v >= 0 && v < items)) {
      throw new LacunaError({
        about: `interaction ${i}`,
        expected: `a user below ${users} and an item below ${items}`,
        got: `user ${u}, item ${v}`,
        hint: "Count users and items from 0.",
      });
    }
    lists[u].push(v);
  }
  return fromLists(
    items,
    lists.map((l) => [...new Set(l)].sort((a, b) => a - b)),
  );
}

function fromLists(items: number, lists: readonly (readonly number[])[]): Interactions {
  const starts = new Int32Array(lists.length + 1);
  lists.forEach((l, u) => {
    starts[u + 1] = starts[u] + l.length;
  });
  const columns = new Int32Array(starts[lists.length]);
  lists.forEach((l, u) => {
    columns.set(l, starts[u]);
  });
  return { users: lists.length, items, starts, columns };
}

/** Items of one user, rising; a view. */
export const itemsOf = (r: Interactions, user: number): Int32Array =>
  r.columns.subarray(r.starts[user], r.starts[user + 1]);

/** Whether the user took the item. */
export function took(r: Interactions, user: number, item: number): boolean {
  let [low, high] = [r.starts[user], r.starts[user + 1]];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (r.columns[middle] < item) low = middle + 1;
    else high = middle;
  }
  return low < r.starts[user + 1] && r.columns[low] === item;
}

/** All pairs as two lists, by user: rows and columns of a bipartite graph. */
export function pairsOf(r: Interactions): { from: Int32Array; to: Int32Array } {
  const from = new Int32Array(r.columns.length);
  for (let u = 0; u < r.users; u++) from.fill(u, r.starts[u], r.starts[u + 1]);
  return { from, to: r.columns.slice() };
}

/** How many users took each item. */
export function popularity(r: Interactions): Int32Array {
  const counts = new Int32Array(r.items);
  for (const item of r.columns) counts[item]++;
  return counts;
}

export interface UserSplitOptions {
  readonly seed: number;
  /** share of a user's interactions that is tested; default 0.2 */
  readonly test?: number;
  /** share of the others that is held out for validation; default 0.1 */
  readonly validation?: number;
}

/** A random split within each user; counts are rounded down, so a user with few interactions keeps them for training. */
export function splitByUser(all: Interactions, options: UserSplitOptions): Splits<Interactions> {
  const { seed, test = 0.2, validation = 0.1 } = options;
  demand(test >= 0 && test < 1 && validation >= 0 && validation < 1, () => ({
    about: "split of interactions",
    expected: "shares from 0 to below 1",
    got: `test ${test}, validation ${validation}`,
    hint: "Leave something to train on.",
  }));
  const draws = stream(seed, "split/interactions");
  const parts: number[][][] = [[], [], []];
  for (let u = 0; u < all.users; u++) {
    const items = itemsOf(all, u);
    const tested = Math.floor(test * items.length + 1e-6);
    const held = tested + Math.floor(validation * (items.length - tested) + 1e-6);
    const of: number[][] = [[], [], []];
    draws.permutation(items.length, u).forEach((place, rank) => {
      of[rank < tested ? 2 : rank < held ? 1 : 0].push(items[place]);
    });
    of.forEach((list, p) => {
      parts[p].push(list.sort((a, b) => a - b));
    });
  }
  const [train, held, tested] = parts.map((lists) => fromLists(all.items, lists));
  return { train, validation: held, test: tested };
}

export interface Triples {
  readonly users: Int32Array;
  readonly positives: Int32Array;
  readonly negatives: Int32Array;
}

export interface TripleOptions {
  /** triples of one step */
  readonly batch: number;
  readonly seed: number;
}

/** Blocks of four draws kept for one triple: the first for user and positive, the rest for the negative. */
const BLOCKS = 64;

/**
 * BPR's training triples: `at(step)` draws random users among those with items, a random item of each, and a random
 * item that the user did not take. A function of (interactions, options, step) alone.
 */
export function tripleStream(r: Interactions, options: TripleOptions): { at(step: number): Triples } {
  const active = Int32Array.from({ length: r.users }, (_, u) => u).filter((u) => r.starts[u + 1] > r.starts[u]);
  const full = active.find((u) => r.starts[u + 1] - r.starts[u] === r.items);
  demand(active.length > 0 && full === undefined, () => ({
    about: "triples of interactions",
    expected: "users with some, but not all items",
    got: full === undefined ? "no interactions" : `user ${full} with all ${r.items}`,
    hint: "There is nothing to rank.",
  }));
  const draws = stream(options.seed, "triples");
  const scaled = (word: number, n: number): number => Math.floor((word * n) / 4294967296);
  return {
    at(step) {
      const { batch } = options;
      const [users, positives, negatives] = [new Int32Array(batch), new Int32Array(batch), new Int32Array(batch)];
      for (let b = 0; b < batch; b++) {
        const base = (step * batch + b) * BLOCKS;
        const [a, p] = draws.words(base);
        const u = active[scaled(a, active.length)];
        const items = itemsOf(r, u);
        users[b] = u;
        positives[b] = items[scaled(p, items.length)];
        let negative = -1;
        for (let k = 1; k < BLOCKS && negative < 0; k++) {
          negative =
            draws
              .words(base + k)
              .map((w) => scaled(w, r.items))
              .find((item) => !took(r, u, item)) ?? -1;
        }
        // 252 misses in a row: the user took nearly all, and the first item left is as good as any
        for (let item = 0; negative < 0; item++) if (!took(r, u, item)) negative = item;
        negatives[b] = negative;
      }
      return { users, positives, negatives };
    },
  };
}
