/**
 * A model made of run-time layers, and many tokens through it: `blockForward` over a key and value cache.
 */
import { scope } from "../core/scope.ts";
import { Tensor, tensor } from "../core/tensor.ts";
import { type BlockContext, blockForward, type LinearName } from "../models/llama/block.ts";
import type { LlamaConfig } from "../models/llama/config.ts";
import type { RopeTables } from "../nn/ops/attention.ts";
import { embedding } from "../nn/ops/embedding.ts";
import { rmsNorm } from "../nn/ops/norm.ts";
import type { KvCache } from "./cache.ts";
import type { RunLayer } from "./layer.ts";

export interface RunBlock {
  readonly inputNorm: Tensor;
  readonly postNorm: Tensor;
  readonly linears: Readonly<Record<LinearName, RunLayer>>;
}

export interface RunModel {
  readonly config: LlamaConfig;
  readonly embed: Tensor;
  readonly blocks: readonly RunBlock[];
  readonly norm: Tensor;
  readonly head: RunLayer;
  readonly tables: RopeTables;
}

/** Tokens taken at a time: activations stay small, and panels are full. */
export const PREFILL_CHUNK = 256;

/**
 * Runs tokens that follow `start` others and stores their keys and values. Returns the last one's logits [V] if they
 * are wanted.
 */
export function prefillChunk(
  run: RunModel,
  cache: KvCache,
  ids: Int32Array,
  start: number,
  wanted: boolean,
): Float32Array<ArrayBuffer> | undefined {
  const { config, embed, blocks, norm, head, tables } = run;
  return scope(() => {
    const positions = tensor(Int32Array.from(ids, (_, i) => start + i));
    const common = { heads: config.heads, kvHeads: config.kvHeads, eps: config.normEps, tables, positions };
    let x = embedding(embed, tensor(ids));
    blocks.forEach((block, i) => {
      const context: BlockContext = { ...common, attend: cache.attend(i, start) };
      // What a block made is freed before the next one runs.
      const next = scope(() => blockForward(block, x, context));
      x.dispose();
      x = next;
    });
    if (!wanted) return undefined;
    const last = new Tensor([1, config.width]);
    last.f32.set(x.f32.subarray((ids.length - 1) * config.width));
    return head.apply(rmsNorm(last, norm, config.normEps)).toArray();
  });
}
