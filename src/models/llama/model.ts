/**
 * A Llama as the engine holds it: embedding, blocks, final norm, head; and its forward pass over whole sequences.
 *
 * Weights may be trainable, stored in 16 bits, or sparse; this file does not know. Loading is in `load.ts`, the cached
 * forward pass of generation in `runtime/`.
 */
import { outside } from "../../core/scope.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { ropeTable } from "../../kernels/attention/index.ts";
import { DenseLinear, type Linear } from "../../nn/linear.ts";
import type { RopeTables } from "../../nn/ops/attention.ts";
import { embedding } from "../../nn/ops/embedding.ts";
import { rmsNorm } from "../../nn/ops/norm.ts";
import {
  attendSequences,
  type Block,
  type BlockContext,
  blockForward,
  LINEARS,
  type LinearName,
  linearPath,
  type Tap,
} from "./block.ts";
import { type LlamaConfig, ropeInvFreq } from "./config.ts";

export interface Llama {
  readonly config: LlamaConfig;
  readonly embed: Tensor;
  readonly blocks: readonly Block[];
  readonly norm: Tensor;
  readonly head: Linear;
}

/** Reads a tensor by its Hugging Face name. */
export type Lookup = (name: string) => Tensor;

const prefix = (layer: number): string => `model.layers.${layer}.`;

/** Builds a block over tensors by name; `linearOf` may put another layer in a linear's place. */
export function assembleBlock(config: LlamaConfig, layer: number, get: Lookup): Block {
  const p = prefix(layer);
  const linears = Object.fromEntries(
    LINEARS.map((name): [LinearName, Linear] => {
      const path = `${p}${linearPath(name)}`;
      const attention = linearPath(name).startsWith("self_attn");
      const biased = attention ? (name === "o_proj" ? config.outputBias : config.attentionBias) : config.mlpBias;
      return [name, new DenseLinear(get(`${path}.weight`), biased ? get(`${path}.bias`) : null)];
    }),
  ) as Record<LinearName, Linear>;
  return {
    inputNorm: get(`${p}input_layernorm.weight`),
    postNorm: get(`${p}post_attention_layernorm.weight`),
    linears,
  };
}

export function assembleLlama(config: LlamaConfig, get: Lookup): Llama {
  const embed = get("model.embed_tokens.weight");
  return {
    config,
    embed,
    blocks: Array.from({ length: config.layers }, (_, i) => assembleBlock(config, i, get)),
    norm: get("model.norm.weight"),
    head: new DenseLinear(config.tied ? embed : get("lm_head.weight")),
  };
}

/** Rotary tables for positions 0..positions-1; they outlive scopes. */
export function ropeTables(config: LlamaConfig, positions: number): RopeTables {
  const { cos, sin } = ropeTable(config.headWidth, config.ropeTheta, positions, ropeInvFreq(config));
  const shape = [positions, config.headWidth / 2];
  return outside(() => ({ cos: tensor(cos, shape), sin: tensor(sin, shape) }));
}

/** What blocks need to run `batch` whole sequences of `tokens` tokens. */
export function sequenceContext(
  config: LlamaConfig,
  tables: RopeTables,
  batch: number,
  tokens: number,
  tap?: Tap,
): BlockContext {
  const positions = tensor(Int32Array.from({ length: batch * tokens }, (_, i) => i % tokens));
  return {
    heads: config.heads,
    kvHeads: config.kvHeads,
    eps: config.normEps,
    tables,
    positions,
    attend: attendSequences({
      batch,
      tokens,
      heads: config.heads,
      kvHeads: config.kvHeads,
      headWidth: config.headWidth,
    }),
    tap,
  };
}

/** Logits [B*T, V] of B sequences of T token ids, all from position 0. */
export function forwardLogits(model: Llama, tables: RopeTables, ids: Int32Array, batch: number): Tensor {
  const tokens = ids.length / batch;
  const c = sequenceContext(model.config, tables, batch, tokens);
  let x = embedding(model.embed, tensor(ids));
  for (const block of model.blocks) x = blockForward(block, x, c);
  return model.head.apply(rmsNorm(x, model.norm, model.config.normEps));
}
