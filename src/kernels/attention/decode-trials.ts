/** Trials of `attention-decode-f32` against the f64 twin of attention. */

import type { Trial } from "../kernel.ts";
import { runSplit } from "./split.ts";
import { decodeScratchBytes } from "./tile.ts";
import { attentionTwin } from "./twin.ts";

const forward: Trial = {
  name: "append, then forward",
  run(draw, box) {
    const [K, G, E] = [draw.int(1, 3), draw.int(1, 5), 4 * draw.int(1, 20)];
    const H = K * G;
    const length = draw.int(1, 150);
    const capacity = length + draw.int(0, 3);
    const scale = 1 / Math.sqrt(E);
    const q = draw.floats(H * E);
    const k = draw.floats(length * K * E);
    const v = draw.floats(length * K * E);
    // Rows never written are poison: a read of them shows.
    const [kCache, vCache] = [k, v].map(() => box.put(new Float32Array(K * capacity * E).fill(Number.NaN)));
    const [kRows, vRows] = [box.put(k), box.put(v)];
    box.call("appendMany", kRows, vRows, kCache, vCache, 0, length - 1, capacity, K, E);
    const last = 4 * (length - 1) * K * E;
    box.call("append", kRows + last, vRows + last, kCache, vCache, length - 1, capacity, K, E);
    const out = box.put(new Float32Array(H * E).fill(Number.NaN));
    const scratch = box.room(decodeScratchBytes(length, H));
    const args = [box.put(q), kCache, vCache, out, scratch, length, capacity, H, K, E, scale];
    const split = runSplit(box, draw, K, "forward", args, [[out, H * E]]);
    const shape = { B: 1, T: 1, S: length, H, K, E, scale, causal: true, queryOffset: length - 1 };
    const want = attentionTwin(shape, q, k, v).out;
    // as in the prefill trials: roundings of unit size add like random walks
    const tolerance = 4 * 2 ** -24 * (Math.sqrt(E) + Math.sqrt(length));
    return [...split, { what: "out", got: box.f32(out, H * E), want, tolerance }];
  },
};

const append: Trial = {
  name: "append writes the rows and nothing else",
  run(draw, box) {
    const [K, E, count, position] = [draw.int(1, 4), 4 * draw.int(1, 6), draw.int(0, 6), draw.int(0, 5)];
    const capacity = position + count + draw.int(0, 3);
    const k = draw.floats(count * K * E);
    const v = draw.floats(count * K * E);
    const before = draw.floats(K * capacity * E);
    const [kCache, vCache] = [box.put(before), box.put(before)];
    box.call("appendMany", box.put(k), box.put(v), kCache, vCache, position, count, capacity, K, E);
    const want = (rows: Float32Array): Float32Array => {
      const cache = before.slice();
      for (let t = 0; t < count; t++) {
        for (let g = 0; g < K; g++) {
          const row = rows.subarray((t * K + g) * E, (t * K + g + 1) * E);
          cache.set(row, (g * capacity + position + t) * E);
        }
      }
      return cache;
    };
    return [
      { what: "keys", got: box.f32(kCache, before.length), want: want(k), tolerance: 0 },
      { what: "values", got: box.f32(vCache, before.length), want: want(v), tolerance: 0 },
    ];
  },
};

export const decodeTrials: readonly Trial[] = [forward, append];
