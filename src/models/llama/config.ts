/**
 * config.json of the Llama family: model types `llama` (Llama 2 and 3, SmolLM2) and `qwen2`.
 *
 * Every field is either understood, or known to change nothing here, or refused by name: a field that is overlooked is
 * a model that is silently wrong. Spellings of transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`)
 * are both read. Rotary scalings: `linear` (positions divided by a factor) and `llama3` (Llama 3.1); `dynamic`, `yarn`
 * and `longrope` depend on the length of the input or scale attention, and are refused.
 */

import { exp, ln } from "../../core/elementary.ts";
import { demand } from "../../core/errors.ts";
import { sparsityFormat } from "../../formats/compressed-config.ts";
import type { JsonObject, JsonValue } from "../../formats/json.ts";
import { isJsonObject } from "../../formats/json.ts";
import { refuse, show } from "../../formats/refuse.ts";

export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** tokens of context before scaling */
      readonly originalContext: number;
    };

export interface LlamaConfig {
  readonly modelType: "llama" | "qwen2";
  /** V */
  readonly vocabSize: number;
  /** D */
  readonly width: number;
  /** F */
  readonly feedForward: number;
  readonly layers: number;
  /** H query heads */
  readonly heads: number;
  /** K heads of keys and values; divides H */
  readonly kvHeads: number;
  /** E, a multiple of 4 */
  readonly headWidth: number;
  /** longest input the model was made for */
  readonly maxPositions: number;
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** the head is the embedding's transpose */
  readonly tied: boolean;
  /** biases of q, k and v */
  readonly attentionBias: boolean;
  /** bias of o */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
}

const notRun = "Lacuna does not run this variant.";

/** Changes nothing in what the model computes, whatever its value. */
const bookkeeping = new Set([
  "_attn_implementation",
  "_attn_implementation_autoset",
  "_name_or_path",
  "bos_token_id",
  "dtype",
  "eos_token_id",
  "id2label",
  "initializer_range",
  "is_llama_config",
  "keys_to_ignore_at_inference",
  "label2id",
  "max_window_layers",
  "output_attentions",
  "output_hidden_states",
  "pad_token_id",
  "problem_type",
  "return_dict",
  "return_dict_in_generate",
  "task_specific_params",
  "tokenizer_class",
  "torch_dtype",
  "torchscript",
  "transformers.js_config",
  "transformers_version",
  "unsloth_fixed",
  "unsloth_version",
  "use_cache",
]);

/** Understood at one value only, the one that changes nothing; `null` is always allowed. */
const mustBe: Readonly<Record<string, JsonValue>> = {
  add_cross_attention: false,
  attention_dropout: 0,
  chunk_size_feed_forward: 0,
  cross_attention_hidden_size: null,
  gradient_checkpointing: false,
  hidden_act: "silu",
  is_decoder: false,
  is_encoder_decoder: false,
  partial_rotary_factor: 1,
  pretraining_tp: 1,
  rope_interleaved: false,
  tie_encoder_decoder: false,
  use_bfloat16: false,
  use_mrope: false,
};

const architectures = { llama: "LlamaForCausalLM", qwen2: "Qwen2ForCausalLM" } as const;

class Fields {
  readonly raw: JsonObject;
  readonly where: string;
  readonly left: Set<string>;

  constructor(raw: JsonObject, where: string) {
    this.raw = raw;
    this.where = where;
    this.left = new Set(Object.keys(raw));
  }

  about(name: string): string {
    return `${this.where}: ${name}`;
  }

  take(name: string): JsonValue | undefined {
    this.left.delete(name);
    return Object.hasOwn(this.raw, name) ? this.raw[name] : undefined;
  }

  /** A whole number from 1 up; without `fallback` the field must be there. */
  count(name: string, fallback?: number): number {
    const value = this.take(name) ?? fallback;
    const fits = typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= 2 ** 31;
    if (!fits) refuse(this.about(name), "a whole number from 1 up", show(value), "Mend config.json.");
    return value;
  }

  positive(name: string, fallback?: number): number {
    const value = this.take(name) ?? fallback;
    const fits = typeof value === "number" && Number.isFinite(value) && value > 0;
    if (!fits) refuse(this.about(name), "a number above 0", show(value), "Mend config.json.");
    return value;
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.take(name) ?? fallback;
    if (typeof value !== "boolean") refuse(this.about(name), "true or false", show(value), "Mend config.json.");
    return value;
  }

  /** Refuses every field that nobody has taken. */
  finish(hint: string): void {
    for (const name of this.left)
      refuse(this.about(name), "only fields that are understood", show(this.raw[name]), hint);
  }
}

function readScaling(fields: Fields, type: JsonValue | undefined): RopeScaling {
  switch (type) {
    case undefined:
    case null:
    case "default":
      return { type: "default" };
    case "linear":
      return { type, factor: fields.positive("factor") };
    case "llama3": {
      const scaling = {
        type,
        factor: fields.positive("factor"),
        lowFreqFactor: fields.positive("low_freq_factor"),
        highFreqFactor: fields.positive("high_freq_factor"),
        originalContext: fields.count("original_max_position_embeddings"),
      } as const;
      demand(scaling.lowFreqFactor < scaling.highFreqFactor, () => ({
        about: fields.about("low_freq_factor"),
        expected: "less than high_freq_factor",
        got: `${scaling.lowFreqFactor} and ${scaling.highFreqFactor}`,
        hint: "Mend config.json.",
      }));
      return scaling;
    }
    default:
      return refuse(fields.about("rope_type"), "default, linear or llama3", show(type), notRun);
  }
}

function readRope(fields: Fields): { ropeTheta: number; ropeScaling: RopeScaling } {
  const parameters = fields.take("rope_parameters") ?? undefined;
  const scaling = fields.take("rope_scaling") ?? undefined;
  const oldTheta = fields.raw.rope_theta ?? undefined;
  const theta = fields.positive("rope_theta", 10_000);

  if (parameters !== undefined && scaling !== undefined) {
    // transformers 5 writes one; both may be there only if they say the same
    const same = JSON.stringify(parameters) === JSON.stringify(scaling);
    if (!same)
      refuse(fields.about("rope_scaling"), "the same as rope_parameters", show(scaling), "Keep one of the two.");
  }
  const name = parameters !== undefined ? "rope_parameters" : "rope_scaling";
  const raw = parameters ?? scaling;
  if (raw === undefined) return { ropeTheta: theta, ropeScaling: { type: "default" } };
  if (!isJsonObject(raw)) refuse(fields.about(name), "an object", show(raw), "Mend config.json.");

  const inner = new Fields(raw, fields.about(name));
  const type = inner.take("rope_type");
  const oldType = inner.take("type"); // the spelling before transformers 4.43
  if (type !== undefined && oldType !== undefined && type !== oldType) {
    refuse(inner.about("type"), `${show(type)}, as rope_type says`, show(oldType), "Keep one of the two.");
  }
  const innerTheta = inner.positive("rope_theta", theta);
  if (oldTheta !== undefined && innerTheta !== theta) {
    refuse(inner.about("rope_theta"), `${theta}, as rope_theta says`, show(innerTheta), "Keep one of the two.");
  }
  const partial = inner.take("partial_rotary_factor") ?? 1;
  if (partial !== 1) refuse(inner.about("partial_rotary_factor"), "1", show(partial), notRun);
  const ropeScaling = readScaling(inner, type ?? oldType);
  inner.finish(notRun);
  return { ropeTheta: innerTheta, ropeScaling };
}

/** Sliding windows are refused where any layer would use one. */
function refuseWindows(fields: Fields, modelType: LlamaConfig["modelType"]): void {
  const used = fields.flag("use_sliding_window", false);
  const window = fields.take("sliding_window") ?? null;
  // qwen2 states a window beside use_sliding_window: false; llama has no such switch
  if (used || (modelType === "llama" && window !== null)) {
    refuse(fields.about("sliding_window"), "attention to all earlier tokens", `a window of ${show(window)}`, notRun);
  }
  const types = fields.take("layer_types") ?? [];
  const full = Array.isArray(types) && types.every((type) => type === "full_attention");
  if (!full) refuse(fields.about("layer_types"), "full_attention everywhere", show(types), notRun);
}

/** Reads config.json; throws a `LacunaError` that names the field for everything that is missing, wrong or unknown. */
export function parseLlamaConfig(raw: JsonObject, where: string): LlamaConfig {
  const fields = new Fields(raw, where);
  const modelType = fields.take("model_type");
  if (modelType !== "llama" && modelType !== "qwen2") {
    refuse(
      fields.about("model_type"),
      '"llama" or "qwen2"',
      show(modelType),
      "Lacuna runs models of the Llama family.",
    );
  }
  const made = fields.take("architectures");
  const named = made === undefined || made === null || (Array.isArray(made) && made.includes(architectures[modelType]));
  if (!named) refuse(fields.about("architectures"), architectures[modelType], show(made), notRun);

  const width = fields.count("hidden_size");
  const heads = fields.count("num_attention_heads");
  const kvHeads = fields.count("num_key_value_heads", heads);
  if (heads % kvHeads !== 0) {
    refuse(fields.about("num_key_value_heads"), `a divisor of ${heads} heads`, show(kvHeads), "Mend config.json.");
  }
  const headWidth = fields.count("head_dim", width % heads === 0 ? width / heads : undefined);
  if (headWidth % 4 !== 0) {
    refuse(fields.about("head_dim"), "a multiple of 4, which the attention kernels need", show(headWidth), notRun);
  }
  const qwen = modelType === "qwen2";
  const attentionBias = fields.flag("attention_bias", qwen);
  if (qwen && !attentionBias) {
    refuse(fields.about("attention_bias"), "true, which Qwen2 is made with", "false", notRun);
  }
  const mlpBias = fields.flag("mlp_bias", false);
  if (qwen && mlpBias) refuse(fields.about("mlp_bias"), "false, which Qwen2 is made with", "true", notRun);

  const config: LlamaConfig = {
    modelType,
    vocabSize: fields.count("vocab_size"),
    width,
    feedForward: fields.count("intermediate_size"),
    layers: fields.count("num_hidden_layers"),
    heads,
    kvHeads,
    headWidth,
    maxPositions: fields.count("max_position_embeddings", qwen ? 32_768 : 2048),
    normEps: fields.positive("rms_norm_eps", 1e-6),
    ...readRope(fields),
    tied: fields.flag("tie_word_embeddings", false),
    attentionBias,
    outputBias: attentionBias && !qwen,
    mlpBias,
  };

  refuseWindows(fields, modelType);
  for (const [name, value] of Object.entries(mustBe)) {
    const got = fields.take(name) ?? value;
    if (got !== value) refuse(fields.about(name), show(value), show(got), notRun);
  }
  for (const name of ["quantization_config", "compression_config", "sparsity_config"]) fields.take(name);
  sparsityFormat(raw, where); // refuses quantised weights
  for (const name of bookkeeping) fields.take(name);
  fields.finish("Lacuna does not know this field, so it may not guess; delete it if the model works without it.");
  return config;
}

/** config.json of a model that Lacuna made; `extra` fields come last. */
export function llamaConfigJson(config: LlamaConfig, dtype: string, extra: JsonObject = {}): JsonObject {
  const scaling = config.ropeScaling;
  const factors: JsonObject =
    scaling.type === "llama3"
      ? {
          factor: scaling.factor,
          low_freq_factor: scaling.lowFreqFactor,
          high_freq_factor: scaling.highFreqFactor,
          original_max_position_embeddings: scaling.originalContext,
        }
      : scaling.type === "linear"
        ? { factor: scaling.factor }
        : {};
  return {
    architectures: [architectures[config.modelType]],
    model_type: config.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.width,
    intermediate_size: config.feedForward,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headWidth,
    hidden_act: "silu",
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    rope_scaling: scaling.type === "default" ? null : { rope_type: scaling.type, ...factors },
    tie_word_embeddings: config.tied,
    ...(config.modelType === "llama" ? { attention_bias: config.attentionBias, mlp_bias: config.mlpBias } : {}),
    torch_dtype: dtype,
    ...extra,
  };
}

interface BlockTensor {
  readonly path: string;
  readonly shape: readonly number[];
  readonly linear: boolean;
}

function blockTensors(config: LlamaConfig): BlockTensor[] {
  const { width: D, feedForward: F } = config;
  const q = config.heads * config.headWidth;
  const kv = config.kvHeads * config.headWidth;
  const linear = (path: string, out: number, input: number, biased: boolean): BlockTensor[] => [
    { path: `${path}.weight`, shape: [out, input], linear: true },
    ...(biased ? [{ path: `${path}.bias`, shape: [out], linear: false }] : []),
  ];
  return [
    { path: "input_layernorm.weight", shape: [D], linear: false },
    ...linear("self_attn.q_proj", q, D, config.attentionBias),
    ...linear("self_attn.k_proj", kv, D, config.attentionBias),
    ...linear("self_attn.v_proj", kv, D, config.attentionBias),
    ...linear("self_attn.o_proj", D, q, config.outputBias),
    { path: "post_attention_layernorm.weight", shape: [D], linear: false },
    ...linear("mlp.gate_proj", F, D, config.mlpBias),
    ...linear("mlp.up_proj", F, D, config.mlpBias),
    ...linear("mlp.down_proj", D, F, config.mlpBias),
  ];
}

/** Every tensor the model has, by its Hugging Face name, with its shape (linears [out, in]), in the order of use. */
export function llamaTensorShapes(config: LlamaConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [config.vocabSize, config.width]]]);
  const block = blockTensors(config);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const { path, shape } of block) shapes.set(`model.layers.${layer}.${path}`, shape);
  }
  shapes.set("model.norm.weight", [config.width]);
  if (!config.tied) shapes.set("lm_head.weight", [config.vocabSize, config.width]);
  return shapes;
}

/** Names of the weights that may be pruned: the linears of the blocks, in the order of use. */
export function llamaPrunable(config: LlamaConfig): string[] {
  const paths = blockTensors(config).flatMap(({ path, linear }) => (linear ? [path] : []));
  return Array.from({ length: config.layers }, (_, layer) =>
    paths.map((path) => `model.layers.${layer}.${path}`),
  ).flat();
}

/**
 * Inverse frequencies [E / 2] of the rotary embedding, scaling applied.
 *
 * theta^(-2i/E) (Su et al. 2021). `llama3` (Llama 3.1): wavelengths under original / high keep their frequency, those
 * over original / low are divided by the factor, and between the two it is interpolated in original / wavelength.
 */
export function ropeInvFreq(config: LlamaConfig): Float64Array {
  const { headWidth, ropeTheta, ropeScaling: scaling } = config;
  const lnTheta = ln(ropeTheta);
  return Float64Array.from({ length: headWidth / 2 }, (_, i) => {
    const inverse = exp((-2 * i * lnTheta) / headWidth);
    if (scaling.type === "default") return inverse;
    if (scaling.type === "linear") return inverse / scaling.factor;
    const turns = (scaling.originalContext * inverse) / (2 * Math.PI); // original / wavelength
    if (turns < scaling.lowFreqFactor) return inverse / scaling.factor;
    if (turns > scaling.highFreqFactor) return inverse;
    const smooth = (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor);
    return ((1 - smooth) * inverse) / scaling.factor + smooth * inverse;
  });
}
