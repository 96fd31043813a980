/**
 * Tiny random models for tests and tools: a configuration, weights drawn by (seed, tensor name), a byte tokenizer.
 *
 * The weights are scaled so that every part matters: activations of about unit size in every block, norms away from 1,
 * biases away from 0. They live in memory as a `WeightSource`; nothing here is trained.
 */
import { stream } from "../../core/random.ts";
import { loadTokenizer, type Tokenizer } from "../../data/tokenizer.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import { encodeSafetensors, type NewTensor } from "../../formats/safetensors-write.ts";
import { memorySource } from "../../formats/source.ts";
import type { WeightSource } from "../../formats/weights.ts";
import type { Model } from "../model.ts";
import { type LlamaConfig, llamaConfigJson, llamaTensorShapes } from "./config.ts";

/** Ids of the byte tokenizer: 0 is the end of text, byte b is 1 + b. */
export const TINY_VOCABULARY = 257;

/** A two-block Llama of width 24 with grouped queries; any field may be replaced. */
export function tinyConfig(fields: Partial<LlamaConfig> = {}): LlamaConfig {
  return {
    modelType: "llama",
    vocabSize: TINY_VOCABULARY,
    width: 24,
    feedForward: 40,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headWidth: 8,
    maxPositions: 64,
    normEps: 1e-5,
    ropeTheta: 10_000,
    ropeScaling: { type: "default" },
    tied: false,
    attentionBias: false,
    outputBias: false,
    mlpBias: false,
    ...fields,
  };
}

/** The values of one tensor, f32: a function of seed, name and shape alone. */
export function tinyValues(name: string, shape: readonly number[], seed = 1): Float32Array<ArrayBuffer> {
  const draws = stream(seed, name);
  const size = shape.reduce((a, b) => a * b, 1);
  const matrix = shape.length === 2;
  const embedding = name.endsWith("embed_tokens.weight");
  const mean = matrix || name.endsWith("bias") ? 0 : 1;
  const std = !matrix ? 0.2 : embedding ? 1 : 1 / Math.sqrt(shape[1]);
  return Float32Array.from({ length: size }, (_, i) => mean + std * draws.normal(i));
}

const bits = new DataView(new ArrayBuffer(4));

/** bf16 bits of an f32 value, rounded to nearest even; -0 becomes 0. */
function bf16Bits(value: number): number {
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  const rounded = ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
  return rounded === 0x8000 ? 0 : rounded;
}

/** A tensor of the given values, ready for a safetensors file. */
export function storedTensor(
  name: string,
  shape: readonly number[],
  values: Float32Array<ArrayBuffer>,
  dtype: "F32" | "BF16" = "F32",
): NewTensor {
  const data =
    dtype === "F32" ? new Uint8Array(values.buffer) : new Uint8Array(Uint16Array.from(values, bf16Bits).buffer);
  return { name, dtype, shape, data };
}

/** All tensors of a model in memory; `edit` may change the drawn values in place. */
export function tinyWeights(
  config: LlamaConfig,
  options: {
    readonly seed?: number;
    readonly dtype?: "F32" | "BF16";
    readonly edit?: (name: string, values: Float32Array<ArrayBuffer>, shape: readonly number[]) => void;
  } = {},
): Promise<WeightSource> {
  const { seed = 1, dtype = "F32", edit } = options;
  const tensors = [...llamaTensorShapes(config)].map(([name, shape]) => {
    const values = tinyValues(name, shape, seed);
    edit?.(name, values, shape);
    return storedTensor(name, shape, values, dtype);
  });
  return openSafetensors(memorySource(encodeSafetensors(tensors, { format: "pt" })), "tiny model");
}

/** tokenizer.json of a byte-level tokenizer without merges: one token a byte, and an end of text. */
export function byteTokenizerJson(): { readonly tokenizer: object; readonly config: object } {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  const vocab: Record<string, number> = { "<|endoftext|>": 0 };
  for (let b = 0; b < 256; b++) vocab[String.fromCharCode(printable(b) ? b : next++)] = 1 + b;
  const added = { id: 0, content: "<|endoftext|>", special: true };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [{ ...added, ...flags }],
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: { type: "BPE", dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges: [] },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<|endoftext|>",
      eos_token: "<|endoftext|>",
      model_max_length: 64,
    },
  };
}

let tokenizer: Promise<Tokenizer> | undefined;

/** A whole random model in memory. Its `folder` is "", so it has no files to copy. */
export async function tinyModel(
  fields: Partial<LlamaConfig> = {},
  options: Parameters<typeof tinyWeights>[1] = {},
): Promise<Model> {
  const config = tinyConfig(fields);
  tokenizer ??= loadTokenizer(byteTokenizerJson());
  return {
    folder: "",
    config,
    rawConfig: llamaConfigJson(config, options.dtype === "BF16" ? "bfloat16" : "float32"),
    tokenizer: await tokenizer,
    weights: await tinyWeights(config, options),
  };
}
