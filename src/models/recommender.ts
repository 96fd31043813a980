/**
 * What recommenders have in common: a table of users and one of items, scores that are dot products of their rows, and
 * the BPR loss over triples (Rendle et al. 2009). A model differs in how it makes the tables from its embeddings.
 */
import { demand } from "../core/errors.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { normal } from "../nn/init.ts";
import type { Mode, Net } from "../nn/net.ts";
import { add, scale } from "../nn/ops/elementwise.ts";
import { embedding } from "../nn/ops/embedding.ts";
import { linear } from "../nn/ops/linear.ts";
import { rankingLoss, sumSquares } from "../nn/ops/loss-element.ts";
import { rowDots } from "../nn/ops/rows.ts";
import { effective, type Off, Param } from "../nn/param.ts";

export interface RecommenderOptions {
  readonly users: number;
  readonly items: number;
  /** width of an embedding */
  readonly width: number;
  readonly seed: number;
  /** deviation of fresh embeddings; default 0.1 */
  readonly spread?: number;
  readonly off?: Off;
}

export interface Tables {
  /** [users, F] */
  readonly users: Tensor;
  /** [items, F] */
  readonly items: Tensor;
}

/** Parameters: `users.weight` [users, F] and `items.weight` [items, F]. */
export interface Recommender extends Net {
  readonly users: number;
  readonly items: number;
  /** the embeddings as they are trained, masked where they are */
  own(mode: Mode): Tables;
  /** what scores are made of */
  tables(mode: Mode): Tables;
  /** pairs i32 [N, 2] of user and item -> scores [N] */
  forward(pairs: Tensor, mode: Mode): Tensor;
}

/** A recommender whose tables are `make` of its embeddings. */
export function recommender(options: RecommenderOptions, make: (own: Tables) => Tables): Recommender {
  const { users, items, width, seed, spread = 0.1, off = "zero" } = options;
  const table = (name: string, count: number): Param =>
    new Param(`${name}.weight`, [count, width], normal(spread), seed, { role: "embedding", off });
  const params = [table("users", users), table("items", items)];
  const own = (mode: Mode): Tables => {
    const [u, i] = params.map((p) => effective(p, mode.t).weight);
    return { users: u, items: i };
  };
  const tables = (mode: Mode): Tables => make(own(mode));
  return {
    params,
    users,
    items,
    own,
    tables,
    forward: (pairs, mode) => {
      demand(pairs.shape.length === 2 && pairs.shape[1] === 2, () => ({
        about: "pairs of user and item",
        expected: "[N, 2]",
        got: `[${pairs.shape.join(", ")}]`,
        hint: "Give a user and an item in each row.",
      }));
      const t = tables(mode);
      const column = (c: number): Tensor => tensor(pairs.i32.filter((_, i) => i % 2 === c));
      return rowDots(embedding(t.users, column(0)), embedding(t.items, column(1)));
    },
  };
}

/** Triples of a step: i32 of one length each; the negative is an item that the user did not take. */
export interface TripleBatch {
  readonly users: Int32Array;
  readonly positives: Int32Array;
  readonly negatives: Int32Array;
}

/**
 * Mean of -ln sigmoid(positive - negative), and `penalty` / 2 times the mean over triples of the squared norms of the
 * three embeddings as they are trained (not as they are propagated).
 */
export function bprLoss(model: Recommender, batch: TripleBatch, penalty: number, mode: Mode): Tensor {
  const ids = [batch.users, batch.positives, batch.negatives].map((x) => tensor(x));
  const rows = ({ users, items }: Tables): Tensor[] => ids.map((x, k) => embedding(k === 0 ? users : items, x));
  const [u, p, n] = rows(model.tables(mode));
  const loss = rankingLoss(rowDots(u, p), rowDots(u, n));
  if (penalty === 0) return loss;
  const squares = rows(model.own(mode)).map(sumSquares).reduce(add);
  return add(loss, scale(squares, penalty / (2 * batch.users.length)));
}

/** Scores of all items for these users, [N, items]: what a full ranking sorts. */
export function scoreItems(model: Recommender, users: ArrayLike<number>, mode: Mode): Tensor {
  const t = model.tables(mode);
  return linear(embedding(t.users, tensor(Int32Array.from(users))), t.items);
}
