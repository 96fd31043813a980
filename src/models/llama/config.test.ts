import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LacunaError } from "../../core/errors.ts";
import type { JsonObject } from "../../formats/json.ts";
import { llamaConfigJson, llamaPrunable, llamaTensorShapes, parseLlamaConfig, ropeInvFreq } from "./config.ts";

// The three below are the published config.json files, field by field.
const llama31: JsonObject = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  attention_dropout: 0.0,
  bos_token_id: 128000,
  eos_token_id: [128001, 128008, 128009],
  hidden_act: "silu",
  hidden_size: 4096,
  initializer_range: 0.02,
  intermediate_size: 14336,
  max_position_embeddings: 131072,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 8192,
    rope_type: "llama3",
  },
  rope_theta: 500000.0,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  transformers_version: "4.42.3",
  use_cache: true,
  vocab_size: 128256,
};

const qwen25: JsonObject = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151643,
  hidden_act: "silu",
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 24,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  transformers_version: "4.40.1",
  use_cache: true,
  use_mrope: false,
  use_sliding_window: false,
  vocab_size: 151936,
};

const smol: JsonObject = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  attention_dropout: 0.0,
  bos_token_id: 0,
  eos_token_id: 0,
  hidden_act: "silu",
  hidden_size: 576,
  initializer_range: 0.041666666666666664,
  intermediate_size: 1536,
  is_llama_config: true,
  max_position_embeddings: 8192,
  model_type: "llama",
  num_attention_heads: 9,
  num_hidden_layers: 30,
  num_key_value_heads: 3,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_interleaved: false,
  rope_scaling: null,
  rope_theta: 100000,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  transformers_version: "4.40.1",
  use_cache: true,
  vocab_size: 49152,
};

const parse = (raw: JsonObject) => parseLlamaConfig(raw, "config.json");
const parameters = (raw: JsonObject) =>
  [...llamaTensorShapes(parse(raw)).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

describe("published models", () => {
  test("sizes: the parameter counts their model cards state", () => {
    expect(parameters(llama31)).toBe(8_030_261_248);
    expect(parameters(qwen25)).toBe(494_032_768);
    expect(parameters(smol)).toBe(134_515_008);
  });

  test("Llama 3.1", () => {
    expect(parse(llama31)).toEqual({
      modelType: "llama",
      vocabSize: 128256,
      width: 4096,
      feedForward: 14336,
      layers: 32,
      heads: 32,
      kvHeads: 8,
      headWidth: 128,
      maxPositions: 131072,
      normEps: 1e-5,
      ropeTheta: 500000,
      ropeScaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 8192 },
      tied: false,
      attentionBias: false,
      outputBias: false,
      mlpBias: false,
    });
  });

  test("Qwen2 has biases on q, k and v by default; a window that is not used is no matter", () => {
    const config = parse(qwen25);
    expect([config.attentionBias, config.outputBias, config.mlpBias, config.tied]).toEqual([true, false, false, true]);
    const shapes = llamaTensorShapes(config);
    expect(shapes.get("model.layers.23.self_attn.k_proj.bias")).toEqual([128]);
    expect(shapes.get("model.layers.23.self_attn.k_proj.weight")).toEqual([128, 896]);
    expect(shapes.has("model.layers.0.self_attn.o_proj.bias")).toBe(false);
    expect(shapes.has("lm_head.weight")).toBe(false);
  });

  test("a Llama with biases has them on o too", () => {
    const shapes = llamaTensorShapes(parse({ ...smol, attention_bias: true, mlp_bias: true }));
    expect(shapes.get("model.layers.0.self_attn.o_proj.bias")).toEqual([576]);
    expect(shapes.get("model.layers.0.mlp.gate_proj.bias")).toEqual([1536]);
  });

  test("prunable: seven linears a block, no embedding, norm, head or bias", () => {
    const names = llamaPrunable(parse(qwen25));
    expect(names).toHaveLength(7 * 24);
    const shapes = llamaTensorShapes(parse(qwen25));
    for (const name of names) expect(shapes.get(name)).toHaveLength(2);
    expect(names.some((name) => /embed|norm|lm_head|bias/.test(name))).toBe(false);
  });

  test("the spelling of transformers 5 says the same", () => {
    const { rope_theta, rope_scaling, torch_dtype, ...rest } = llama31;
    const newer = { ...rest, dtype: torch_dtype, rope_parameters: { ...(rope_scaling as JsonObject), rope_theta } };
    expect(parse(newer)).toEqual(parse(llama31));
    const plain = { ...smol, rope_scaling: null, rope_parameters: { rope_type: "default", rope_theta: 100000 } };
    expect(parse(plain)).toEqual(parse(smol));
  });

  test("defaults", () => {
    const { num_key_value_heads, rope_theta, rope_scaling, tie_word_embeddings, ...rest } = smol;
    const config = parse({ ...rest, head_dim: null });
    expect([config.kvHeads, config.ropeTheta, config.tied, config.headWidth]).toEqual([9, 10000, false, 64]);
    expect(parse({ ...smol, head_dim: 32 }).headWidth).toBe(32);
    expect(llamaTensorShapes(parse({ ...smol, head_dim: 32 })).get("model.layers.0.self_attn.o_proj.weight")).toEqual([
      576, 288,
    ]);
  });

  test("what we write we read", () => {
    for (const raw of [llama31, qwen25, smol])
      expect(parse(llamaConfigJson(parse(raw), "bfloat16"))).toEqual(parse(raw));
    const linear = parse({ ...smol, rope_scaling: { type: "linear", factor: 2 } });
    expect(parse(llamaConfigJson(linear, "float32"))).toEqual(linear);
  });
});

describe("refused by name", () => {
  test.each<[string, JsonObject, RegExp]>([
    ["another model", { model_type: "mistral" }, /model_type: expected "llama" or "qwen2", got "mistral"/],
    ["no model type", { model_type: null }, /model_type/],
    ["a classifier", { architectures: ["LlamaForSequenceClassification"] }, /architectures: expected LlamaForCausalLM/],
    ["an unknown field", { qk_norm: true }, /config.json: qk_norm: expected only fields that are understood, got true/],
    ["code of its own", { auto_map: { AutoModel: "x.Y" } }, /auto_map/],
    ["another activation", { hidden_act: "gelu" }, /hidden_act: expected "silu", got "gelu"/],
    ["dropout", { attention_dropout: 0.1 }, /attention_dropout: expected 0, got 0.1/],
    ["tensor parallelism", { pretraining_tp: 2 }, /pretraining_tp: expected 1, got 2/],
    ["rotary pairs interleaved", { rope_interleaved: true }, /rope_interleaved: expected false/],
    ["a window", { sliding_window: 4096 }, /sliding_window: .* a window of 4096/],
    ["layers with windows", { layer_types: ["full_attention", "sliding_attention"] }, /layer_types/],
    ["dynamic scaling", { rope_scaling: { type: "dynamic", factor: 2 } }, /rope_type: .*got "dynamic"/],
    ["yarn", { rope_scaling: { rope_type: "yarn", factor: 2 } }, /rope_type: .*got "yarn"/],
    [
      "yarn's field on linear",
      { rope_scaling: { type: "linear", factor: 2, beta_fast: 3 } },
      /rope_scaling: beta_fast/,
    ],
    ["no factor", { rope_scaling: { type: "linear" } }, /factor: expected a number above 0, got nothing/],
    ["a theta of another mind", { rope_parameters: { rope_theta: 5 } }, /rope_parameters: rope_theta: expected 100000/],
    [
      "partial rotation",
      { rope_parameters: { partial_rotary_factor: 0.5 } },
      /partial_rotary_factor: expected 1, got 0.5/,
    ],
    ["int4 weights", { quantization_config: { quant_method: "gptq", bits: 4 } }, /not quantised, got "gptq"/],
    ["int4 by compressed-tensors", { quantization_config: { config_groups: { a: {} } } }, /config_groups/],
    ["no width", { hidden_size: null }, /hidden_size: expected a whole number from 1 up, got nothing/],
    ["half a layer", { num_hidden_layers: 1.5 }, /num_hidden_layers: .*got 1.5/],
    ["text for a number", { vocab_size: "49152" }, /vocab_size: .*got "49152"/],
    [
      "heads that do not divide",
      { num_key_value_heads: 2 },
      /num_key_value_heads: expected a divisor of 9 heads, got 2/,
    ],
    ["a width that heads do not divide", { num_attention_heads: 7, num_key_value_heads: 7 }, /head_dim/],
    ["a head that is no multiple of 4", { head_dim: 62 }, /head_dim: expected a multiple of 4/],
    ["a flag that is none", { tie_word_embeddings: 1 }, /tie_word_embeddings: expected true or false, got 1/],
    ["a norm without epsilon", { rms_norm_eps: 0 }, /rms_norm_eps: expected a number above 0/],
  ])("%s", (_, change, pattern) => {
    expect(() => parse({ ...smol, ...change })).toThrow(LacunaError);
    expect(() => parse({ ...smol, ...change })).toThrow(pattern);
  });

  test("Qwen2 with its window in use", () => {
    expect(() => parse({ ...qwen25, use_sliding_window: true })).toThrow(/sliding_window: .*a window of 32768/);
  });

  test("weights stored sparse by compressed-tensors are not quantised", () => {
    const quantization_config = {
      quant_method: "compressed-tensors",
      version: "0.9.0",
      sparsity_config: { format: "sparse-24-bitmask", sparsity_structure: "2:4", global_sparsity: 0.5 },
      transform_config: {},
    };
    expect(parse({ ...smol, quantization_config })).toEqual(parse(smol));
  });
});

test("a field changed to anything: understood, or refused with a LacunaError", () => {
  const value = fc.oneof(
    fc.constantFrom(null, -1, 0, 1, 0.5, 1e308, 2 ** 53, true, "", "llama", [], {}, [[]], { rope_type: "linear" }),
    fc.jsonValue({ maxDepth: 2 }),
  );
  const field = fc.constantFrom(
    ...new Set([...Object.keys(llama31), ...Object.keys(qwen25)]),
    "__proto__",
    "constructor",
  );
  let refused = 0;
  fc.assert(
    fc.property(fc.constantFrom(llama31, qwen25, smol), field, value, (raw, name, changed) => {
      const config = Object.fromEntries([...Object.entries(raw), [name, changed as JsonObject]]) as JsonObject;
      try {
        const parsed = parse(config);
        for (const size of [parsed.width, parsed.layers, parsed.headWidth]) expect(size).toBeGreaterThan(0);
        expect(ropeInvFreq({ ...parsed, headWidth: 4 }).every(Number.isFinite)).toBe(true);
      } catch (error) {
        if (!(error instanceof LacunaError)) throw error;
        refused++;
      }
    }),
    { numRuns: 1000 },
  );
  expect(refused).toBeGreaterThan(300);
});

describe("inverse frequencies", () => {
  // exp and ln are good to about 1e-15 each; |(2i/E) ln theta| is below 14, which is what magnifies ln's error
  const closeTo = (got: ArrayLike<number>, want: readonly number[]) => {
    expect(got.length).toBe(want.length);
    want.forEach((w, i) => {
      expect(Math.abs(got[i] - w)).toBeLessThanOrEqual(1e-13 * w);
    });
  };

  test("theta^(-2i/E)", () => {
    const want = Array.from({ length: 32 }, (_, i) => 100000 ** (-i / 32));
    closeTo(ropeInvFreq(parse(smol)), want);
    const half = parse({ ...smol, rope_scaling: { rope_type: "linear", factor: 2.5 } });
    closeTo(
      ropeInvFreq(half),
      want.map((w) => w / 2.5),
    );
  });

  test("llama3, written from wavelengths", () => {
    const want = Array.from({ length: 64 }, (_, i) => {
      const frequency = 500000 ** (-i / 64);
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength > 8192 / 1) return frequency / 8;
      if (wavelength < 8192 / 4) return frequency;
      const smooth = (8192 / wavelength - 1) / (4 - 1);
      return (1 - smooth) * (frequency / 8) + smooth * frequency;
    });
    closeTo(ropeInvFreq(parse(llama31)), want);
    // some of each kind, or the test would not reach the formula
    const ratio = want.map((w, i) => w / 500000 ** (-i / 64));
    expect(ratio.filter((r) => r === 1).length).toBeGreaterThan(20);
    expect(ratio.filter((r) => Math.abs(r - 1 / 8) < 1e-12).length).toBeGreaterThan(20);
    expect(ratio.filter((r) => r > 0.13 && r < 0.99).length).toBeGreaterThan(3);
  });
});
