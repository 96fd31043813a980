/**
 * Attention of one token over a long cache, one thread, caches from beyond the last-level cache: the sixteenth of the
 * tokens that labels rank highest (Double Sparsity, 4 of 64 channels), over attention to all of them.
 *
 * What is timed is everything a step does: ranks from the label cache, the exact choice, attention over the chosen rows.
 * Caches, labels included, are several of a kind that take turns with sixteen queries. Both sides are compared with f64
 * attention over the same rows first. Speed only: which tokens matter in a trained model is not looked at here.
 */
import {
  attendChosen,
  attendListed,
  type CacheShape,
  type Caches,
  chooseRows,
  type Labels,
  type Lists,
  labelKeys,
} from "../../../src/core/compute/attention.ts";
import { call, fusion, initSync, memory, shutdown } from "../../../src/core/engine.ts";
import { attentionDecode, decodeScratchBytes } from "../../../src/kernels/attention/index.ts";
import { listedTwin } from "../../../src/kernels/attention/twin.ts";
import { interleave, rotate, type Variant } from "../../../src/runtime/timing.ts";
import { merge, type Outcome, rateOf, ratioRow } from "../outcome.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

interface Case {
  readonly tokens: number;
  readonly H: number;
  readonly K: number;
  readonly L: number;
  readonly atLeast?: number;
  readonly aim?: number;
}

const E = 64;
const CHANNELS = 4;
const SHARE = 16;
const QUERIES = 16;
/** Bytes of caches that take turns, and so many of them at least. */
const COLD = 160 * 2 ** 20;
const FEWEST = 3;

const CASES: readonly Case[] = [
  { tokens: 65536, H: 1, K: 1, L: 1, atLeast: 3, aim: 4.5 },
  { tokens: 16384, H: 1, K: 1, L: 1 },
  { tokens: 4096, H: 1, K: 1, L: 1 },
  // grouped queries: one list for the heads that share a KV head, or one for each head
  { tokens: 65536, H: 4, K: 1, L: 1 },
  { tokens: 65536, H: 4, K: 1, L: 4 },
];

/** Writes numbers in (-1, 1) that no two rows share. */
function fill(ptr: number, count: number, seed: number): void {
  const values = memory.f32(ptr, count);
  let s = seed | 1;
  for (let i = 0; i < count; i++) {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    values[i] = (s >>> 0) / 2 ** 31 - 1;
  }
}

interface Layer extends Caches {
  readonly labels: Labels;
}

function layer(s: CacheShape, channels: number, seed: number): Layer {
  const rows = s.K * s.capacity * s.E;
  const [keys, values] = [memory.alloc(4 * rows), memory.alloc(4 * rows)];
  fill(keys, rows, seed);
  fill(values, rows, seed + 1);
  const labels = { C: CHANNELS, labels: memory.alloc(4 * s.L * CHANNELS * s.capacity), channels };
  // With one KV head a cache is laid out as keys are given, [tokens, E].
  labelKeys(s, labels, keys, 0, s.capacity);
  return { keys, values, labels };
}

/** Throws unless out is attention of q over the rows of each list. */
function check(
  name: string,
  s: CacheShape,
  at: Layer,
  q: number,
  out: number,
  lists: readonly (readonly number[])[],
): void {
  const rows = s.K * s.capacity * s.E;
  const shape = { ...s, scale: 1 / Math.sqrt(s.E) };
  const want = listedTwin(
    shape,
    memory.f32(q, s.H * s.E),
    memory.f32(at.keys, rows),
    memory.f32(at.values, rows),
    lists,
  );
  memory.f32(out, s.H * s.E).forEach((x, i) => {
    // averages of numbers below 1 over many rows, in f32
    if (!(Math.abs(x - want[i]) < 1e-5)) throw new Error(`bench: ${name} gives ${x} for ${want[i]}`);
  });
}

async function one(c: Case, quick: boolean): Promise<Outcome> {
  const { tokens, H, K, L } = c;
  const s: CacheShape = { H, K, L, E, capacity: tokens };
  const keep = tokens / SHARE;
  const scale = 1 / Math.sqrt(E);
  const channels = memory.alloc(4 * L * CHANNELS);
  memory.i32(channels, L * CHANNELS).set(Array.from({ length: L * CHANNELS }, (_, i) => (17 * i) % E));
  const copies = Math.max(FEWEST, Math.ceil(COLD / (2 * 4 * K * tokens * E)));
  const layers = Array.from({ length: copies }, (_, i) => layer(s, channels, 2 * i + 1));
  const queries = memory.alloc(4 * QUERIES * H * E);
  fill(queries, QUERIES * H * E, 999);
  const out = memory.alloc(4 * H * E);
  const room = memory.alloc(decodeScratchBytes(tokens, H));
  const lists: Lists = { rows: memory.alloc(4 * L * keep), counts: memory.alloc(4 * L), most: keep };
  const query = (i: number): number => queries + 4 * H * E * (i % QUERIES);
  const full = (i: number): void => {
    const at = layers[i % copies];
    const args = [query(i), at.keys, at.values, out, room, tokens, tokens, H, K, E, scale];
    call(attentionDecode, "forward", ...args, 0, K);
  };
  const chosen = (i: number): void => {
    const at = layers[i % copies];
    attendChosen(s, at, at.labels, query(i), tokens, keep, out);
  };
  const choose = (i: number): void => chooseRows(s, layers[i % copies].labels, query(i), tokens, keep, lists);

  fusion(true, () => full(1));
  const all = Array.from({ length: tokens }, (_, t) => t);
  check("full attention", s, layers[1], query(1), out, Array(L).fill(all));
  fusion(true, () => choose(1));
  const picked = Array.from({ length: L }, (_, l) => [...memory.i32(lists.rows + 4 * l * keep, keep)]);
  fusion(true, () => attendListed(s, layers[1], lists, query(1), out));
  check("attention over chosen rows", s, layers[1], query(1), out, picked);

  // rows of other queries, so that the gather alone is as cold as within the whole
  const gathers = Array.from({ length: QUERIES }, (_, i) => {
    const own: Lists = { rows: memory.alloc(4 * L * keep), counts: memory.alloc(4 * L), most: keep };
    fusion(true, () => chooseRows(s, layers[i % copies].labels, query(i), tokens, keep, own));
    return own;
  });
  const variant = (name: string, run: (i: number) => void): Variant => {
    const next = rotate(QUERIES * copies, run);
    return { name, run: () => fusion(true, next) };
  };
  const timing = await interleave(
    [
      variant("all tokens", full),
      variant("chosen tokens", chosen),
      variant("choosing", choose),
      variant("attention over chosen rows", (i) => {
        const at = layers[i % copies];
        attendListed(s, at, gathers[i % QUERIES], query(i), out);
      }),
    ],
    quick ? { rounds: 5, slice: 8 } : { rounds: 21, slice: 20, warmUp: 60 },
  );
  for (const at of layers) for (const ptr of [at.keys, at.values, at.labels.labels]) memory.free(ptr);
  for (const g of [lists, ...gathers]) for (const ptr of [g.rows, g.counts]) memory.free(ptr);
  for (const ptr of [channels, queries, out, room]) memory.free(ptr);

  const heads = H === 1 ? "one head" : `${H} heads of ${K} KV head, ${L === K ? "one list" : "a list each"}`;
  const shape = `${tokens} tokens, width ${E}, ${heads}`;
  const id = `attention/${tokens}/h${H}-k${K}-l${L}`;
  const row = (name: string, over: string, more: { readonly atLeast?: number; readonly aim?: number }) =>
    ratioRow(timing, name, over, {
      id: `${id}/${name.replace(/ /g, "-")}`,
      what: name === "chosen tokens" ? "sparse attention decode, 1/16 of the tokens" : `of which ${name}`,
      shape,
      sparsity: 1 - 1 / SHARE,
      threads: 1,
      over: "attention to all tokens, own",
      ...more,
    });
  return {
    rows: [
      row("chosen tokens", "all tokens", { atLeast: c.atLeast, aim: c.aim }),
      row("attention over chosen rows", "all tokens", {}),
      row("choosing", "all tokens", {}),
    ],
    rates: timing.variants.map((v) =>
      rateOf(timing, v.name, tokens / 1e6, {
        id: `${id}/rate/${v.name.replace(/ /g, "-")}`,
        what: v.name,
        shape,
        threads: 1,
        unit: "M tokens of context/s",
      }),
    ),
    counts: [],
    notes: [],
  };
}

export const attentionSuite: Suite = {
  name: "attention",
  shows: "attention of one token over chosen rows of a long cache, over all rows, caches cold, one thread",
  peers: [],
  oneCore: true,
  async run({ quick, say }: SuiteOptions) {
    initSync({ threads: 1 });
    const outcomes: Outcome[] = [];
    for (const c of quick ? CASES.slice(0, 1) : CASES) {
      say(`${c.tokens} tokens, ${c.H} heads, ${c.K} KV heads, ${c.L} lists`);
      outcomes.push(await one(c, quick));
    }
    shutdown();
    return merge(outcomes);
  },
};
