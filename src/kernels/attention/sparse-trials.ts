/** Trials of `attention-sparse-f32` against the f64 twins. */

import type { Draw, Trial } from "../kernel.ts";
import { runSplit } from "./split.ts";
import { sparseScratchBytes } from "./tile.ts";
import { listedTwin, rankTwin } from "./twin.ts";

/** Heads, KV heads and lists between the two. */
function drawHeads(draw: Draw) {
  const K = draw.int(1, 3);
  const perKv = draw.int(1, 2);
  const L = K * perKv;
  return { K, L, H: L * draw.int(1, 3) };
}

/** Rows [length, K*E] placed in a cache [K][capacity][E] whose other rows are NaN. */
function cached(rows: Float32Array, length: number, capacity: number, K: number, E: number): Float32Array {
  const cache = new Float32Array(K * capacity * E).fill(Number.NaN);
  for (let t = 0; t < length; t++) {
    for (let g = 0; g < K; g++) {
      cache.set(rows.subarray((t * K + g) * E, (t * K + g + 1) * E), (g * capacity + t) * E);
    }
  }
  return cache;
}

const attend: Trial = {
  name: "attention over listed rows",
  run(draw, box) {
    const { K, L, H } = drawHeads(draw);
    const E = 4 * draw.int(1, 20);
    const length = draw.int(1, 200);
    const capacity = length + draw.int(0, 3);
    const scale = 1 / Math.sqrt(E);
    const q = draw.floats(H * E);
    const k = cached(draw.floats(length * K * E), length, capacity, K, E);
    const v = cached(draw.floats(length * K * E), length, capacity, K, E);
    const most = draw.int(1, length);
    const lists = Array.from({ length: L }, () => {
      const lots = draw.floats(length);
      const count = draw.int(0, most);
      return [...lots.keys()].sort((a, b) => lots[a] - lots[b] || a - b).slice(0, count);
    });
    const named = new Int32Array(L * most).fill(-1);
    for (const [l, list] of lists.entries()) named.set(list, l * most);
    const out = box.put(new Float32Array(H * E).fill(Number.NaN));
    const args = [
      ...[q, k, v].map((values) => box.put(values)),
      box.put(named),
      box.put(Int32Array.from(lists, (list) => list.length)),
      ...[most, out, box.room(sparseScratchBytes(most, H)), capacity, H, K, L, E, scale],
    ];
    const split = runSplit(box, draw, L, "attend", args, [[out, H * E]]);
    const want = listedTwin({ H, K, L, E, capacity, scale }, q, k, v, lists);
    // as in the decode trials: roundings of unit size add like random walks
    const tolerance = 4 * 2 ** -24 * (Math.sqrt(E) + Math.sqrt(length));
    return [...split, { what: "out", got: box.f32(out, H * E), want, tolerance }];
  },
};

const rank: Trial = {
  name: "labels and ranks",
  run(draw, box) {
    const { K, L, H } = drawHeads(draw);
    const E = draw.int(1, 12);
    const C = draw.int(1, E);
    const before = draw.int(0, 20);
    const count = draw.int(1, 40);
    const length = before + count;
    const capacity = length + draw.int(0, 3);
    const q = draw.floats(H * E);
    const rows = draw.floats(length * K * E);
    const channels = Int32Array.from({ length: L * C }, () => draw.int(0, E - 1));
    const labels = box.put(new Float32Array(L * C * capacity).fill(Number.NaN));
    const chosen = box.put(channels);
    const keys = box.put(rows);
    box.call("label", keys, labels, chosen, 0, before, capacity, K, L, C, E);
    box.call("label", keys + 4 * before * K * E, labels, chosen, before, count, capacity, K, L, C, E);
    const stride = 4 * Math.ceil(length / 4) + C + draw.int(0, 3);
    const scores = box.put(new Float32Array(L * stride).fill(Number.NaN));
    const args = [box.put(q), labels, chosen, scores, stride, length, capacity, H, L, C, E];
    const split = runSplit(box, draw, L, "rank", args, [[scores, (L - 1) * stride + length]]);
    const want = rankTwin({ H, K, L, E, capacity }, q, cached(rows, length, capacity, K, E), channels, length);
    const at = (l: number): Float32Array => box.f32(scores + 4 * l * stride, length).slice();
    const got = Array.from({ length: L }, (_, l) => [...at(l)]).flat();
    // at most 3 heads x 12 channels of products below 1.7^2, each sum rounded: 36 half units of 36 * 2.9
    return [...split, { what: "scores", got, want, tolerance: 36 * 36 * 2.9 * 2 ** -24 }];
  },
};

export const sparseTrials: readonly Trial[] = [attend, rank];
