import { afterAll, expect, test } from "vitest";
import { listedTwin, rankTwin } from "../../kernels/attention/twin.ts";
import { topPlain } from "../../kernels/top/index.ts";
import { initSync, memory, shutdown } from "../engine.ts";
import { stream } from "../random.ts";
import { attendChosen, attendListed, type CacheShape, checkCacheShape, chooseRows, labelKeys } from "./attention.ts";

afterAll(shutdown);

const known = new Map<string, Float32Array>();

function drawn(count: number, seed: number): Float32Array {
  const draws = stream(seed, "attention");
  const name = `${count} ${seed}`;
  const values = known.get(name) ?? Float32Array.from({ length: count }, (_, i) => 2 * draws.uniform(i) - 1);
  known.set(name, values);
  return values;
}

function put(values: Float32Array | Int32Array): number {
  const ptr = memory.alloc(values.byteLength);
  memory.u8(ptr, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return ptr;
}

/** Keys and values of `length` tokens, in caches and, for the labels, token by token. */
function setUp(s: CacheShape, length: number, C: number) {
  const { H, K, L, E, capacity } = s;
  const rows = { k: drawn(length * K * E, 1), v: drawn(length * K * E, 2) };
  const cache = (from: Float32Array): Float32Array => {
    const to = new Float32Array(K * capacity * E).fill(Number.NaN);
    for (let t = 0; t < length; t++) {
      for (let g = 0; g < K; g++) to.set(from.subarray((t * K + g) * E, (t * K + g + 1) * E), (g * capacity + t) * E);
    }
    return to;
  };
  const [k, v] = [cache(rows.k), cache(rows.v)];
  const q = drawn(H * E, 3);
  const channels = Int32Array.from({ length: L * C }, (_, i) => (5 * i + 1) % E);
  const labels = { C, labels: put(new Float32Array(L * C * capacity).fill(Number.NaN)), channels: put(channels) };
  const keys = put(rows.k);
  labelKeys(s, labels, keys, 0, length - 7);
  labelKeys(s, labels, keys + 4 * (length - 7) * K * E, length - 7, 7);
  return { q, k, v, channels, labels, caches: { keys: put(k), values: put(v) }, qs: put(q) };
}

const scale = (s: CacheShape): number => 1 / Math.sqrt(s.E);

test("the rows that labels choose are the twin's, and attention over them is exact", () => {
  initSync({ threads: 1 });
  for (const [H, K, L] of [
    [6, 2, 2],
    [6, 2, 6],
    [4, 1, 2],
  ]) {
    const s: CacheShape = { H, K, L, E: 16, capacity: 2310 };
    const [length, keep, C] = [2300, 150, 4];
    const { q, k, v, channels, labels, caches, qs } = setUp(s, length, C);
    const lists = { rows: memory.alloc(4 * L * keep), counts: memory.alloc(4 * L), most: keep };
    chooseRows(s, labels, qs, length, keep, lists);
    expect([...memory.i32(lists.counts, L)]).toEqual(Array(L).fill(keep));
    const scores = rankTwin(s, q, k, channels, length);
    const chosen = Array.from({ length: L }, (_, l) => [...memory.i32(lists.rows + 4 * l * keep, keep)]);
    chosen.forEach((rows, l) => {
      const own = scores.subarray(l * length, (l + 1) * length);
      const want = topPlain(own, keep);
      // f32 ranks within 1e-5 of the last one chosen may be the other way round
      const last = Math.min(...want.map((t) => own[t]));
      for (const t of rows) expect(own[t]).toBeGreaterThan(last - 1e-5);
      expect(rows.filter((t) => want.includes(t)).length).toBeGreaterThanOrEqual(keep - 2);
    });
    const out = memory.alloc(4 * H * s.E);
    attendListed(s, caches, lists, qs, out);
    const want = listedTwin({ ...s, scale: scale(s) }, q, k, v, chosen);
    const got = memory.f32(out, H * s.E).slice();
    got.forEach((x, i) => {
      expect(Math.abs(x - want[i])).toBeLessThan(1e-5);
    });
    attendChosen(s, caches, labels, qs, length, keep, out);
    expect(memory.f32(out, H * s.E)).toEqual(got);
  }
});

test("with all channels and all rows it is full attention", () => {
  initSync({ threads: 1 });
  const s: CacheShape = { H: 4, K: 2, L: 4, E: 8, capacity: 64 };
  const { q, k, v, labels, caches, qs } = setUp(s, 50, 8);
  const out = memory.alloc(4 * s.H * s.E);
  attendChosen(s, caches, labels, qs, 50, 1000, out);
  const all = Array.from({ length: s.L }, () => Array.from({ length: 50 }, (_, t) => t));
  const want = listedTwin({ ...s, scale: scale(s) }, q, k, v, all);
  memory.f32(out, s.H * s.E).forEach((x, i) => {
    expect(Math.abs(x - want[i])).toBeLessThan(1e-5);
  });
});

test("gives the same bits for any number of threads", () => {
  const s: CacheShape = { H: 8, K: 4, L: 8, E: 16, capacity: 4000 };
  const results: string[] = [];
  for (const threads of [1, 2, 3]) {
    initSync({ threads });
    const { labels, caches, qs } = setUp(s, 4000, 16);
    const out = memory.alloc(4 * s.H * s.E);
    attendChosen(s, caches, labels, qs, 4000, 2000, out);
    results.push(Buffer.from(memory.u8(out, 4 * s.H * s.E)).toString("base64"));
  }
  expect(new Set(results).size).toBe(1);
});

test("shapes that lists do not fit are refused", () => {
  const s = { H: 6, K: 2, L: 2, E: 16, capacity: 8 };
  checkCacheShape(s);
  for (const wrong of [{ L: 3 }, { L: 4 }, { E: 6 }])
    expect(() => checkCacheShape({ ...s, ...wrong })).toThrow(/lists/);
});
