import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { stream } from "../../core/random.ts";
import {
  type TwinConfig,
  type TwinRope,
  twinAttention,
  twinFrequencies,
  twinLinear,
  twinLogits,
  twinLosses,
  twinPerplexity,
  twinRmsNorm,
  twinRotate,
} from "./twin.ts";

const normals = (name: string, size: number, scale = 1) => {
  const draws = stream(11, name);
  return Float64Array.from({ length: size }, (_, i) => scale * draws.normal(i));
};

const CONFIG: TwinConfig = {
  vocabSize: 13,
  width: 12,
  feedForward: 18,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headWidth: 6,
  normEps: 1e-6,
  ropeTheta: 100,
};

function randomWeights({
  vocabSize: V,
  width: D,
  feedForward: F,
  layers,
  heads: H,
  kvHeads: K,
  headWidth: E,
}: TwinConfig) {
  const weights = new Map<string, Float64Array>();
  const add = (name: string, size: number, scale = 0.4) => weights.set(name, normals(name, size, scale));
  add("model.embed_tokens.weight", V * D, 1);
  add("lm_head.weight", V * D);
  add("model.norm.weight", D, 1);
  for (let layer = 0; layer < layers; layer++) {
    const block = `model.layers.${layer}`;
    add(`${block}.input_layernorm.weight`, D, 1);
    add(`${block}.post_attention_layernorm.weight`, D, 1);
    add(`${block}.self_attn.q_proj.weight`, H * E * D);
    add(`${block}.self_attn.k_proj.weight`, K * E * D);
    add(`${block}.self_attn.v_proj.weight`, K * E * D);
    add(`${block}.self_attn.o_proj.weight`, D * H * E);
    add(`${block}.mlp.gate_proj.weight`, F * D);
    add(`${block}.mlp.up_proj.weight`, F * D);
    add(`${block}.mlp.down_proj.weight`, D * F);
  }
  return weights;
}

function expectClose(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number) {
  expect(got.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i]! - expected[i]!));
  expect(worst).toBeLessThan(tolerance);
}

const IDS = [3, 0, 12, 7, 7, 1, 9];

interface Reference {
  ids: number[];
  models: {
    title: string;
    config: Record<string, number | boolean> & { rope_scaling?: Record<string, number | string> };
    names: string[];
    loss: number;
    logits: number[];
  }[];
}
const reference = JSON.parse(
  readFileSync(new URL("./fixtures/transformers.json", import.meta.url), "utf8"),
) as Reference;

describe("against transformers (tools/reference/llama.py)", () => {
  for (const { title, config, names, loss, logits } of reference.models) {
    it(title, () => {
      const number = (key: string) => Number(config[key]);
      const scaling = config.rope_scaling;
      const ropeScaling: TwinRope =
        scaling?.rope_type === "llama3"
          ? {
              type: "llama3",
              factor: Number(scaling.factor),
              lowFreqFactor: Number(scaling.low_freq_factor),
              highFreqFactor: Number(scaling.high_freq_factor),
              originalContext: Number(scaling.original_max_position_embeddings),
            }
          : scaling?.rope_type === "linear"
            ? { type: "linear", factor: Number(scaling.factor) }
            : { type: "default" };
      const twin: TwinConfig = {
        vocabSize: number("vocab_size"),
        width: number("hidden_size"),
        feedForward: number("intermediate_size"),
        layers: number("num_hidden_layers"),
        heads: number("num_attention_heads"),
        kvHeads: number("num_key_value_heads"),
        headWidth: Number(config.head_dim ?? number("hidden_size") / number("num_attention_heads")),
        normEps: number("rms_norm_eps"),
        ropeTheta: number("rope_theta"),
        ropeScaling,
      };
      const { vocabSize: V, width: D, feedForward: F, heads: H, kvHeads: K, headWidth: E } = twin;
      const sizes: [RegExp, number][] = [
        [/(embed_tokens|lm_head)\.weight$/, V * D],
        [/norm\.weight$/, D],
        [/q_proj\.weight$/, H * E * D],
        [/[kv]_proj\.weight$/, K * E * D],
        [/o_proj\.weight$/, H * E * D],
        [/(gate|up|down)_proj\.weight$/, F * D],
        [/q_proj\.bias$/, H * E],
        [/[kv]_proj\.bias$/, K * E],
        [/(o|down)_proj\.bias$/, D],
        [/(gate|up)_proj\.bias$/, F],
      ];
      const weights = new Map<string, Float64Array>();
      names.forEach((name, n) => {
        const size = sizes.find(([pattern]) => pattern.test(name))![1];
        const gain = name.endsWith("norm.weight");
        weights.set(
          name,
          Float64Array.from({ length: size }, (_, i) => {
            const value = ((n * 7919 + i * 10473 + i * i * 31) % 1009) / 1009 - 0.5;
            return gain ? 1 + 0.5 * value : value;
          }),
        );
      });
      const got = twinLogits(twin, weights, reference.ids);
      // transformers takes norms, softmax and angles in float32 even in a float64 model: a few times 2^-24 of values to 8
      expectClose(got, logits, 2e-5);
      expect(Math.abs(twinPerplexity(twin, weights, reference.ids, 256).nll - loss)).toBeLessThan(1e-5);
      expect(Math.max(...logits) - Math.min(...logits)).toBeGreaterThan(1);
    });
  }
});

describe("the twin's parts", () => {
  it("multiplies as the definition does, for any number of tokens and outputs", () => {
    for (const [T, C, R] of [
      [1, 3, 2],
      [4, 5, 1],
      [7, 6, 5],
      [8, 1, 3],
    ] as const) {
      const x = normals("x", T * C);
      const w = normals("w", R * C);
      const bias = normals("b", R);
      const y = Array.from({ length: T * R }, (_, i) => {
        const [t, r] = [Math.floor(i / R), i % R];
        return bias[r]! + x.subarray(t * C, (t + 1) * C).reduce((sum, value, c) => sum + value * w[r * C + c]!, 0);
      });
      expectClose(twinLinear(x, w, bias, T, C, R), y, 1e-13);
    }
  });

  it("normalises by hand: (3, 4) has a root mean square of sqrt 12.5", () => {
    const y = twinRmsNorm(Float64Array.of(3, 4, 0, 0), Float64Array.of(1, 2), 0.5);
    expectClose(y, [3 / Math.sqrt(13), 8 / Math.sqrt(13), 0, 0], 1e-15);
  });

  it("turns pairs (i, i + E/2) by position times theta^(-2i/E)", () => {
    const frequencies = twinFrequencies({ ...CONFIG, headWidth: 4, ropeTheta: 10000 });
    expectClose(frequencies, [1, 0.01], 1e-16);
    const x = Float64Array.of(1, 0, 0, 0, 0, 1, 0, 0);
    twinRotate(x, 1, frequencies, 1);
    expectClose(x, [Math.cos(1), 0, Math.sin(1), 0, 0, Math.cos(0.02), 0, Math.sin(0.02)], 1e-15);
  });

  it("scales frequencies as Llama 3.1: high kept, low divided, between on a line in 1 / wavelength", () => {
    const base = { ...CONFIG, headWidth: 8, ropeTheta: 100 };
    const plain = twinFrequencies(base);
    const llama3 = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 } as const;
    const scaled = twinFrequencies({ ...base, ropeScaling: llama3 });
    const wavelengths = Array.from(plain, (f) => (2 * Math.PI) / f);
    expect(wavelengths.map((l) => (l < 16 ? "high" : l > 64 ? "low" : "between"))).toEqual([
      "high",
      "between",
      "between",
      "low",
    ]);
    const share = (l: number) => (64 / l - 1) / 3;
    expectClose(
      scaled,
      [
        plain[0]!,
        plain[1]! * ((1 - share(wavelengths[1]!)) / 8 + share(wavelengths[1]!)),
        plain[2]! * ((1 - share(wavelengths[2]!)) / 8 + share(wavelengths[2]!)),
        plain[3]! / 8,
      ],
      1e-15,
    );
    const linear = twinFrequencies({ ...base, ropeScaling: { type: "linear", factor: 4 } });
    expectClose(
      linear,
      plain.map((f) => f / 4),
      1e-16,
    );
  });

  it("gives uniform attention for equal scores, and the mean of the values", () => {
    const v = normals("v", 3 * 2);
    const out = twinAttention(new Float64Array(6), normals("k", 6), v, 3, 1, 1, 2);
    expectClose(out.subarray(4), [(v[0]! + v[2]! + v[4]!) / 3, (v[1]! + v[3]! + v[5]!) / 3], 1e-15);
    expectClose(out.subarray(0, 2), v.subarray(0, 2), 1e-15);
  });

  it("does not change when all scores of a query grow by the same amount, and survives large ones", () => {
    const [T, E] = [5, 4];
    const q = normals("q", T * E);
    const k = normals("k", T * E);
    const v = normals("v", T * E);
    // a fifth element of q and k adds c to every score (E changes the scale: undo it)
    const wide = (x: Float64Array, last: number, scale: number) =>
      Float64Array.from({ length: T * 5 }, (_, i) => (i % 5 < 4 ? scale * x[Math.floor(i / 5) * 4 + (i % 5)]! : last));
    const plain = twinAttention(q, k, v, T, 1, 1, E);
    for (const shift of [3, 2000]) {
      const out = twinAttention(wide(q, shift, Math.sqrt(5 / 4)), wide(k, 1, 1), wide(v, 0, 1), T, 1, 1, 5);
      const kept = out.filter((_, i) => i % 5 < 4);
      expectClose(kept, plain, shift * 1e-14);
    }
  });
});

describe("the twin's identities", () => {
  const weights = randomWeights(CONFIG);
  const logits = twinLogits(CONFIG, weights, IDS);
  const V = CONFIG.vocabSize;

  it("is causal: later tokens change nothing before them, and do change themselves", () => {
    const other = twinLogits(CONFIG, weights, [...IDS.slice(0, 4), 2, 2, 2]);
    expect(other.subarray(0, 4 * V)).toEqual(logits.subarray(0, 4 * V));
    expect(Math.abs(other[4 * V]! - logits[4 * V]!)).toBeGreaterThan(1e-3);
    // prefixes take the other path of the product, so this compares the two as well
    expectClose(twinLogits(CONFIG, weights, IDS.slice(0, 3)), logits.subarray(0, 3 * V), 1e-12);
  });

  it("depends on relative positions only", () => {
    for (const offset of [1, 100]) expectClose(twinLogits(CONFIG, weights, IDS, { offset }), logits, 1e-10);
    // and it does depend on them: without rotation the order of the first tokens would not matter
    const swapped = twinLogits({ ...CONFIG, layers: 1 }, weights, [0, 3, 12, 7, 7, 1, 9]);
    const straight = twinLogits({ ...CONFIG, layers: 1 }, weights, IDS);
    expect(Math.abs(swapped[6 * V]! - straight[6 * V]!)).toBeGreaterThan(1e-4);
  });

  it("shares keys and values in groups: the same as heads of their own with copied weights", () => {
    const copied = new Map(weights);
    const { width: D, headWidth: E } = CONFIG;
    for (const layer of [0, 1]) {
      for (const path of ["k_proj", "v_proj"]) {
        const name = `model.layers.${layer}.self_attn.${path}.weight`;
        const [first, second] = [weights.get(name)!.subarray(0, E * D), weights.get(name)!.subarray(E * D)];
        copied.set(name, Float64Array.of(...first, ...first, ...second, ...second));
      }
    }
    expectClose(twinLogits({ ...CONFIG, kvHeads: 4 }, copied, IDS), logits, 1e-12);
  });

  it("ties the head to the embedding when there is none", () => {
    const tied = new Map(weights);
    tied.delete("lm_head.weight");
    const explicit = new Map(weights).set("lm_head.weight", weights.get("model.embed_tokens.weight")!);
    expect(twinLogits(CONFIG, tied, IDS)).toEqual(twinLogits(CONFIG, explicit, IDS));
  });

  it("adds biases where they are: a bias on v passes through attention whole", () => {
    // every row of attention sums to 1, so v + b gives out + b, which o turns into a bias of its own
    const one = { ...CONFIG, layers: 1 };
    const { heads: H, kvHeads: K, headWidth: E, width: D } = one;
    const bias = normals("bias", K * E);
    const before = new Map(weights).set("model.layers.0.self_attn.v_proj.bias", bias);
    const repeated = Float64Array.from({ length: H * E }, (_, i) => bias[Math.floor(i / E / (H / K)) * E + (i % E)]!);
    const o = weights.get("model.layers.0.self_attn.o_proj.weight")!;
    const after = new Map(weights).set(
      "model.layers.0.self_attn.o_proj.bias",
      twinLinear(repeated, o, undefined, 1, H * E, D),
    );
    expectClose(twinLogits(one, before, IDS), twinLogits(one, after, IDS), 1e-12);
    expect(Math.abs(twinLogits(one, before, IDS)[0]! - twinLogits(one, weights, IDS)[0]!)).toBeGreaterThan(1e-3);
  });

  it("scores tokens: uniform logits cost ln V, and windows do not see each other", () => {
    const even = twinLosses(new Float64Array(3 * V).fill(7), [1, 2, 3]);
    expectClose(even, [Math.log(V), Math.log(V)], 1e-14);
    const huge = twinLosses(Float64Array.of(1000, 0, 0, 0), [0, 1]);
    expect(huge[0]).toBeCloseTo(1000, 10);
    const whole = twinPerplexity(CONFIG, weights, IDS, 3);
    const first = twinLosses(twinLogits(CONFIG, weights, IDS.slice(0, 3)), IDS.slice(0, 3));
    const second = twinLosses(twinLogits(CONFIG, weights, IDS.slice(3, 6)), IDS.slice(3, 6));
    const nll = (first[0]! + first[1]! + second[0]! + second[1]!) / 4;
    expect(whole.tokens).toBe(4);
    expect(whole.nll).toBeCloseTo(nll, 12);
    expect(whole.perplexity).toBeCloseTo(Math.exp(nll), 10);
    expect(twinPerplexity(CONFIG, weights, IDS, 100).tokens).toBe(6);
  });

  it("names what is missing, misshapen or out of range", () => {
    const without = new Map(weights);
    without.delete("model.layers.1.mlp.up_proj.weight");
    expect(() => twinLogits(CONFIG, without, IDS)).toThrow("model.layers.1.mlp.up_proj.weight: missing");
    const short = new Map(weights).set("model.norm.weight", new Float64Array(3));
    expect(() => twinLogits(CONFIG, short, IDS)).toThrow("model.norm.weight: 12 values expected, got 3");
    expect(() => twinLogits(CONFIG, weights, [1, 13])).toThrow("token 1: id 13 is not below 13");
  });
});
