/**
 * Rotary position embedding and causal grouped-query attention, with gradients, on [B*T, heads * E] activations.
 */

import { parallel, scratch } from "../../core/engine.ts";
import { record } from "../../core/tape.ts";
import { Tensor } from "../../core/tensor.ts";
import {
  attentionPrefill,
  backwardScratchBytes,
  prefillScratchBytes,
  ropeKernel,
} from "../../kernels/attention/index.ts";

/** cos and sin of every position and pair, f32 [positions, E/2]. */
export interface RopeTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Rotates pairs (i, i + E/2) of each head by the angle of its token's position (Su et al. 2021; Llama's pairing). */
export function rope(x: Tensor, tables: RopeTables, positions: Tensor, heads: number): Tensor {
  const width = x.size / positions.size / heads;
  const y = new Tensor(x.shape);
  const run = (fn: string, from: Tensor, to: Tensor): void =>
    parallel(
      ropeKernel,
      fn,
      [from.ptr, to.ptr, tables.cos.ptr, tables.sin.ptr, positions.ptr, heads, width],
      positions.size,
      64,
    );
  run("apply", x, y);
  return record(
    "rope",
    [x],
    y,
    (dy) => {
      const dx = new Tensor(x.shape);
      run("applyInverse", dy, dx);
      return [dx];
    },
    [positions],
  );
}

export interface AttentionShape {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headWidth: number;
  readonly causal?: boolean;
}

/**
 * softmax(Q K^T / sqrt(E)) V per head; H / K query heads share a KV head (Ainslie et al. 2023).
 * q [B*T, H*E], k and v [B*T, K*E] -> [B*T, H*E].
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, s: AttentionShape): Tensor {
  const { batch: B, tokens: T, heads: H, kvHeads: K, headWidth: E } = s;
  const scale = 1 / Math.sqrt(E);
  const causal = s.causal === false ? 0 : 1;
  const y = new Tensor(q.shape);
  const lse = new Tensor([B * H * T]);
  const per = prefillScratchBytes(T, E);
  scratch(per * B * H, (room) =>
    parallel(
      attentionPrefill,
      "forward",
      [q.ptr, k.ptr, v.ptr, y.ptr, lse.ptr, room, T, T, H, K, E, K * E, E, 0, scale, causal],
      B * H,
      1,
    ),
  );
  return record(
    "attention",
    [q, k, v],
    y,
    (dy) => {
      const dq = new Tensor(q.shape);
      const dk = new Tensor(k.shape);
      const dv = new Tensor(v.shape);
      const delta = new Tensor([B * H * T]);
      const room = backwardScratchBytes(T, E);
      scratch(room * B * K, (p) =>
        parallel(
          attentionPrefill,
          "backward",
          [
            q.ptr,
            k.ptr,
            v.ptr,
            y.ptr,
            dy.ptr,
            lse.ptr,
            delta.ptr,
            dq.ptr,
            dk.ptr,
            dv.ptr,
            p,
            T,
            H,
            K,
            E,
            scale,
            causal,
          ],
          B * K,
          1,
        ),
      );
      return [dq, dk, dv];
    },
    [lse],
  );
}
