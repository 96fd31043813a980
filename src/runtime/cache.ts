/**
 * Keys and values of the tokens seen so far, and attention over them: for many new tokens and for one.
 *
 * Per layer [K][capacity][E] in f32: the rows of one KV head lie together. Rotated keys are stored. The cache only
 * grows at its end; going back means forgetting the rows behind a position.
 */
import { call, parallel, scratch } from "../core/engine.ts";
import { outside } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import {
  attentionDecode,
  attentionPrefill,
  decodeScratchBytes,
  prefillScratchBytes,
} from "../kernels/attention/index.ts";
import type { Attend } from "../models/llama/block.ts";
import type { LlamaConfig } from "../models/llama/config.ts";

/** Below this many operations a fork and join costs more than a second thread saves. */
const THREAD_FLOPS = 4e6;

export const cacheBytes = (c: LlamaConfig, capacity: number): number =>
  2 * 4 * c.layers * c.kvHeads * capacity * c.headWidth;

export class KvCache {
  readonly capacity: number;
  readonly #config: LlamaConfig;
  readonly #keys: readonly Tensor[];
  readonly #values: readonly Tensor[];

  constructor(config: LlamaConfig, capacity: number) {
    this.#config = config;
    this.capacity = capacity;
    const shape = [config.kvHeads, capacity, config.headWidth];
    const make = (): Tensor[] => Array.from({ length: config.layers }, () => outside(() => new Tensor(shape)));
    this.#keys = make();
    this.#values = make();
  }

  /** Attention of `tokens` new tokens of layer `layer` that follow `position` others; stores their k and v. */
  attend(layer: number, position: number): Attend {
    const { heads: H, kvHeads: K, headWidth: E } = this.#config;
    const { capacity } = this;
    return (q, k, v) => {
      const T = q.size / (H * E);
      const S = position + T;
      const keys = this.#keys[layer].ptr;
      const values = this.#values[layer].ptr;
      const y = new Tensor(q.shape);
      if (T === 1) {
        scratch(decodeScratchBytes(S, H), (room) => this.attendOne(layer, position, q.ptr, k.ptr, v.ptr, y.ptr, room));
        return y;
      }
      call(attentionDecode, "appendMany", k.ptr, v.ptr, keys, values, position, T, capacity, K, E);
      scratch(prefillScratchBytes(S, E) * H, (room) => {
        const scale = 1 / Math.sqrt(E);
        const args = [q.ptr, keys, values, y.ptr, 0, room, T, S, H, K, E, E, capacity * E, position, scale, 1];
        if (4 * T * S * H * E < THREAD_FLOPS) call(attentionPrefill, "forward", ...args, 0, H);
        else parallel(attentionPrefill, "forward", args, H, 1);
      });
      return y;
    };
  }

  /** The same for one token, by address: q and out [H*E], k and v [K*E], `room` decodeScratchBytes(capacity, H). */
  attendOne(layer: number, position: number, q: number, k: number, v: number, out: number, room: number): void {
    const { heads: H, kvHeads: K, headWidth: E } = this.#config;
    const keys = this.#keys[layer].ptr;
    const values = this.#values[layer].ptr;
    call(attentionDecode, "append", k, v, keys, values, position, this.capacity, K, E);
    const args = [q, keys, values, out, room, position + 1, this.capacity, H, K, E, 1 / Math.sqrt(E)];
    if (4 * (position + 1) * H * E < THREAD_FLOPS) call(attentionDecode, "forward", ...args, 0, K);
    else parallel(attentionDecode, "forward", args, K, 1);
  }

  dispose(): void {
    for (const t of [...this.#keys, ...this.#values]) t.dispose();
  }
}
