/** Trials of `attention-prefill-f32` against its f64 twin. */

import type { Draw, Trial } from "../kernel.ts";
import { runSplit } from "./split.ts";
import { backwardScratchBytes, prefillScratchBytes } from "./tile.ts";
import { type AttentionShape, attentionBackwardTwin, attentionTwin } from "./twin.ts";

const F32_EPS = 2 ** -24;

type Use = "rows" | "cache" | "training";

function drawShape(draw: Draw, use: Use): AttentionShape {
  const T = draw.int(1, 37);
  const queryOffset = use === "cache" ? draw.int(0, 21) : 0;
  const causal = use === "cache" || draw.int(0, 3) > 0;
  const K = draw.int(1, 3);
  const E = 4 * draw.int(1, 9);
  return {
    B: use === "cache" ? 1 : draw.int(1, 2),
    T,
    // without a mask the keys may come from elsewhere, fewer or more than the queries
    S: use === "rows" && !causal ? draw.int(1, 45) : queryOffset + T,
    H: K * draw.int(1, 3),
    K,
    E,
    scale: 1 / Math.sqrt(E),
    causal,
    queryOffset,
  };
}

/**
 * Values are of about unit size, so scaled scores and outputs are, too. Errors of sums of E and of S roundings grow
 * like random walks, hence the roots; with the factor 4 the largest error of 300 draws was a third of this.
 */
const forwardTolerance = ({ S, E }: AttentionShape): number => 4 * F32_EPS * (Math.sqrt(E) + Math.sqrt(S));

const forward: Trial = {
  name: "forward over rows",
  run(draw, box) {
    const shape = drawShape(draw, "rows");
    const { B, T, S, H, K, E, scale, causal } = shape;
    const q = draw.floats(B * T * H * E);
    const k = draw.floats(B * S * K * E);
    const v = draw.floats(B * S * K * E);
    const out = box.room(4 * q.length);
    const lse = box.room(4 * B * H * T);
    const scratch = box.room(B * H * prefillScratchBytes(S, E));
    const args = [box.put(q), box.put(k), box.put(v), out, lse, scratch, T, S, H, K, E, K * E, E, 0, scale];
    const split = runSplit(
      box,
      draw,
      B * H,
      "forward",
      [...args, Number(causal)],
      [
        [out, q.length],
        [lse, B * H * T],
      ],
    );
    const want = attentionTwin(shape, q, k, v);
    const tolerance = forwardTolerance(shape);
    return [
      ...split,
      { what: "out", got: box.f32(out, q.length), want: want.out, tolerance },
      { what: "lse", got: box.f32(lse, B * H * T), want: want.lse, tolerance },
    ];
  },
};

const cached: Trial = {
  name: "forward over a cache, in chunks with the bits of the whole",
  run(draw, box) {
    const shape = drawShape(draw, "cache");
    const { S, H, K, E, scale } = shape;
    const capacity = S + draw.int(0, 5);
    const q = draw.floats(S * H * E);
    const rows = { k: draw.floats(S * K * E), v: draw.floats(S * K * E) };
    const cache = (x: Float32Array): Float32Array => {
      const y = new Float32Array(K * capacity * E);
      for (let s = 0; s < S; s++) {
        for (let g = 0; g < K; g++) y.set(x.subarray((s * K + g) * E, (s * K + g + 1) * E), (g * capacity + s) * E);
      }
      return y;
    };
    const [qAt, kAt, vAt] = [box.put(q), box.put(cache(rows.k)), box.put(cache(rows.v))];
    const whole = box.room(4 * q.length);
    const parts = box.room(4 * q.length);
    const scratch = box.room(H * prefillScratchBytes(S, E));
    const run = (out: number, start: number, T: number): void => {
      const skip = 4 * start * H * E;
      const args = [qAt + skip, kAt, vAt, out + skip, 0, scratch, T, start + T, H, K, E, E, capacity * E, start, scale];
      box.call("forward", ...args, 1, 0, H);
    };
    run(whole, 0, S);
    const first = shape.queryOffset;
    if (first > 0) run(parts, 0, first);
    run(parts, first, S - first);
    const all = { ...shape, T: S, queryOffset: 0 };
    const want = attentionTwin(all, q, rows.k, rows.v).out;
    return [
      { what: "whole", got: box.f32(whole, q.length), want, tolerance: forwardTolerance(shape) },
      { what: "chunks", got: box.f32(parts, q.length), want: box.f32(whole, q.length), tolerance: 0 },
    ];
  },
};

const backward: Trial = {
  name: "backward",
  run(draw, box) {
    const shape = drawShape(draw, "training");
    const { B, T, H, K, E, scale, causal } = shape;
    const q = draw.floats(B * T * H * E);
    const dout = draw.floats(B * T * H * E);
    const k = draw.floats(B * T * K * E);
    const v = draw.floats(B * T * K * E);
    const { out, lse } = attentionTwin(shape, q, k, v);
    const inputs = [q, k, v, Float32Array.from(out), dout, Float32Array.from(lse)].map((x) => box.put(x));
    // Poisoned, because they must be overwritten.
    const poisoned = (n: number): number => box.put(new Float32Array(n).fill(Number.NaN));
    const delta = poisoned(B * H * T);
    const [dq, dk, dv] = [q, k, v].map((x) => poisoned(x.length));
    const scratch = box.room(B * K * backwardScratchBytes(T, E));
    const args = [...inputs, delta, dq, dk, dv, scratch, T, H, K, E, scale, Number(causal)];
    const split = runSplit(box, draw, B * K, "backward", args, [
      [delta, B * H * T],
      [dq, q.length],
      [dk, k.length],
      [dv, v.length],
    ]);
    const want = attentionBackwardTwin(shape, q, k, v, dout);
    // dP is a sum of E products, sqrt(E) in size, and carries the errors of the probabilities along; dk and dv sum
    // over the H/K heads of the group.
    const tolerance = forwardTolerance(shape) * Math.sqrt(E) * Math.sqrt(H / K);
    return [
      ...split,
      { what: "delta", got: box.f32(delta, want.delta.length), want: want.delta, tolerance },
      { what: "dq", got: box.f32(dq, q.length), want: want.dq, tolerance },
      { what: "dk", got: box.f32(dk, k.length), want: want.dk, tolerance },
      { what: "dv", got: box.f32(dv, v.length), want: want.dv, tolerance },
    ];
  },
};

export const prefillTrials: readonly Trial[] = [forward, cached, backward];
