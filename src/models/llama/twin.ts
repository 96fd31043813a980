/**
 * The Llama family in plain float64: an independent twin of the engine's forward pass, for tests and audits.
 *
 * Written from the published formulas and from nothing else in this project: decoder of Touvron et al. 2023, RMSNorm of
 * Zhang & Sennrich 2019, rotary embedding of Su et al. 2021 in Hugging Face's layout (element i turns with i + E/2),
 * SwiGLU of Shazeer 2020, grouped queries of Ainslie et al. 2023, frequency scaling of Llama 3.1. Whole sequences only:
 * no cache, no batches, no gradients. Takes tensors by their Hugging Face names; linears are [out, in].
 */

export type TwinRope =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** original_max_position_embeddings */
      readonly originalContext: number;
    };

/** The numbers of config.json that the formulas need. */
export interface TwinConfig {
  /** V */
  readonly vocabSize: number;
  /** D */
  readonly width: number;
  /** F */
  readonly feedForward: number;
  readonly layers: number;
  /** H */
  readonly heads: number;
  /** K */
  readonly kvHeads: number;
  /** E */
  readonly headWidth: number;
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling?: TwinRope;
}

export type TwinWeights = ReadonlyMap<string, Float64Array>;

export interface TwinOptions {
  /** position of the first token; 0 when left out */
  readonly offset?: number;
}

function tensor(weights: TwinWeights, name: string, size: number): Float64Array {
  const values = weights.get(name);
  if (!values) throw new Error(`${name}: missing`);
  if (values.length !== size) throw new Error(`${name}: ${size} values expected, got ${values.length}`);
  return values;
}

/** y [T, R] = x [T, C] times the transpose of w [R, C], plus bias [R]. Four tokens by two outputs at a time. */
export function twinLinear(
  x: Float64Array,
  w: Float64Array,
  bias: Float64Array | undefined,
  T: number,
  C: number,
  R: number,
): Float64Array {
  const y = new Float64Array(T * R);
  let t = 0;
  for (; t + 4 <= T; t += 4) {
    const x0 = t * C;
    const x1 = x0 + C;
    const x2 = x1 + C;
    const x3 = x2 + C;
    for (let r = 0; r < R; r += 2) {
      const w0 = r * C;
      // with an odd number of outputs the last row is computed twice
      const second = r + 1 < R ? r + 1 : r;
      const w1 = second * C;
      let [a0, a1, a2, a3, b0, b1, b2, b3] = [0, 0, 0, 0, 0, 0, 0, 0];
      for (let c = 0; c < C; c++) {
        const u = w[w0 + c]!;
        const v = w[w1 + c]!;
        const p = x[x0 + c]!;
        const q = x[x1 + c]!;
        const s = x[x2 + c]!;
        const z = x[x3 + c]!;
        a0 += u * p;
        a1 += u * q;
        a2 += u * s;
        a3 += u * z;
        b0 += v * p;
        b1 += v * q;
        b2 += v * s;
        b3 += v * z;
      }
      y[t * R + r] = a0;
      y[(t + 1) * R + r] = a1;
      y[(t + 2) * R + r] = a2;
      y[(t + 3) * R + r] = a3;
      y[t * R + second] = b0;
      y[(t + 1) * R + second] = b1;
      y[(t + 2) * R + second] = b2;
      y[(t + 3) * R + second] = b3;
    }
  }
  for (; t < T; t++) {
    for (let r = 0; r < R; r++) {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += w[r * C + c]! * x[t * C + c]!;
      y[t * R + r] = sum;
    }
  }
  if (bias) for (let i = 0; i < y.length; i++) y[i]! += bias[i % R]!;
  return y;
}

/** x / sqrt(mean(x^2) + eps) * gain, by rows of D. */
export function twinRmsNorm(x: Float64Array, gain: Float64Array, eps: number): Float64Array {
  const D = gain.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += D) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += x[start + d]! ** 2;
    const scale = 1 / Math.sqrt(squares / D + eps);
    for (let d = 0; d < D; d++) y[start + d] = x[start + d]! * scale * gain[d]!;
  }
  return y;
}

/** Angles per position of the E/2 rotary pairs. */
export function twinFrequencies(config: TwinConfig): Float64Array {
  const { headWidth: E, ropeTheta, ropeScaling = { type: "default" } } = config;
  return Float64Array.from({ length: E / 2 }, (_, i) => {
    const frequency = ropeTheta ** ((-2 * i) / E);
    if (ropeScaling.type === "default") return frequency;
    const { factor } = ropeScaling;
    if (ropeScaling.type === "linear") return frequency / factor;
    const { lowFreqFactor: low, highFreqFactor: high, originalContext } = ropeScaling;
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalContext / high) return frequency;
    if (wavelength > originalContext / low) return frequency / factor;
    const smooth = (originalContext / wavelength - low) / (high - low);
    return (1 - smooth) * (frequency / factor) + smooth * frequency;
  });
}

/** Turns every head of x [T, heads * E] by its position, in place. */
export function twinRotate(x: Float64Array, heads: number, frequencies: Float64Array, offset: number): void {
  const half = frequencies.length;
  const row = heads * 2 * half;
  for (let t = 0; t * row < x.length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = (offset + t) * frequencies[i]!;
      const cos = Math.cos(angle);
      const sin = Math.sin(angle);
      for (let h = 0; h < heads; h++) {
        const at = t * row + h * 2 * half + i;
        const a = x[at]!;
        const b = x[at + half]!;
        x[at] = a * cos - b * sin;
        x[at + half] = b * cos + a * sin;
      }
    }
  }
}

/** softmax(q k' / sqrt(E)) v over each token's own and earlier positions: q [T, H E], k and v [T, K E] to [T, H E]. */
export function twinAttention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  T: number,
  H: number,
  K: number,
  E: number,
): Float64Array {
  const out = new Float64Array(T * H * E);
  const scores = new Float64Array(T);
  for (let h = 0; h < H; h++) {
    const group = Math.floor(h / (H / K));
    for (let t = 0; t < T; t++) {
      const qAt = (t * H + h) * E;
      let largest = Number.NEGATIVE_INFINITY;
      for (let s = 0; s <= t; s++) {
        const kAt = (s * K + group) * E;
        let dot = 0;
        for (let e = 0; e < E; e++) dot += q[qAt + e]! * k[kAt + e]!;
        scores[s] = dot / Math.sqrt(E);
        if (scores[s]! > largest) largest = scores[s]!;
      }
      let sum = 0;
      for (let s = 0; s <= t; s++) sum += scores[s] = Math.exp(scores[s]! - largest);
      for (let s = 0; s <= t; s++) {
        const share = scores[s]! / sum;
        const vAt = (s * K + group) * E;
        for (let e = 0; e < E; e++) out[qAt + e]! += share * v[vAt + e]!;
      }
    }
  }
  return out;
}

/** Logits [T, V] of the tokens. Without `lm_head.weight` the head is the embedding. Biases are used where present. */
export function twinLogits(
  config: TwinConfig,
  weights: TwinWeights,
  ids: ArrayLike<number>,
  options: TwinOptions = {},
): Float64Array {
  const { vocabSize: V, width: D, feedForward: F, heads: H, kvHeads: K, headWidth: E, normEps } = config;
  const T = ids.length;
  const embedding = tensor(weights, "model.embed_tokens.weight", V * D);
  const frequencies = twinFrequencies(config);
  const x = new Float64Array(T * D);
  for (let t = 0; t < T; t++) {
    const id = ids[t]!;
    if (!(id >= 0 && id < V)) throw new Error(`token ${t}: id ${id} is not below ${V}`);
    x.set(embedding.subarray(id * D, (id + 1) * D), t * D);
  }
  const add = (y: Float64Array) => {
    for (let i = 0; i < x.length; i++) x[i]! += y[i]!;
  };
  for (let layer = 0; layer < config.layers; layer++) {
    const block = `model.layers.${layer}`;
    const linear = (path: string, input: Float64Array, C: number, R: number) => {
      const bias = weights.get(`${block}.${path}.bias`);
      if (bias && bias.length !== R) throw new Error(`${block}.${path}.bias: ${R} values expected, got ${bias.length}`);
      return twinLinear(input, tensor(weights, `${block}.${path}.weight`, R * C), bias, T, C, R);
    };
    const a = twinRmsNorm(x, tensor(weights, `${block}.input_layernorm.weight`, D), normEps);
    const q = linear("self_attn.q_proj", a, D, H * E);
    const k = linear("self_attn.k_proj", a, D, K * E);
    const v = linear("self_attn.v_proj", a, D, K * E);
    twinRotate(q, H, frequencies, options.offset ?? 0);
    twinRotate(k, K, frequencies, options.offset ?? 0);
    add(linear("self_attn.o_proj", twinAttention(q, k, v, T, H, K, E), H * E, D));
    const b = twinRmsNorm(x, tensor(weights, `${block}.post_attention_layernorm.weight`, D), normEps);
    const gate = linear("mlp.gate_proj", b, D, F);
    const up = linear("mlp.up_proj", b, D, F);
    for (let i = 0; i < gate.length; i++) gate[i] = (gate[i]! / (1 + Math.exp(-gate[i]!))) * up[i]!;
    add(linear("mlp.down_proj", gate, F, D));
  }
  const last = twinRmsNorm(x, tensor(weights, "model.norm.weight", D), normEps);
  const head = weights.has("lm_head.weight") ? tensor(weights, "lm_head.weight", V * D) : embedding;
  return twinLinear(last, head, undefined, T, D, V);
}

/** Negative log-likelihood, in nats, of tokens 1.. of a sequence, from its logits [T, V]. */
export function twinLosses(logits: Float64Array, ids: ArrayLike<number>): Float64Array {
  const V = logits.length / ids.length;
  return Float64Array.from({ length: ids.length - 1 }, (_, t) => {
    const row = logits.subarray(t * V, (t + 1) * V);
    let largest = Number.NEGATIVE_INFINITY;
    for (const logit of row) if (logit > largest) largest = logit;
    let sum = 0;
    for (const logit of row) sum += Math.exp(logit - largest);
    return largest + Math.log(sum) - row[ids[t + 1]!]!;
  });
}

/**
 * exp of the mean loss over windows of `length` tokens that do not overlap; every token of a window but its first is
 * scored; a ragged tail is left out unless it is the only window.
 */
export function twinPerplexity(
  config: TwinConfig,
  weights: TwinWeights,
  ids: ArrayLike<number>,
  length: number,
): { perplexity: number; nll: number; tokens: number } {
  let total = 0;
  let tokens = 0;
  const all = Array.from(ids);
  const end = all.length < length ? all.length : all.length - (all.length % length);
  for (let start = 0; start < end; start += length) {
    const own = all.slice(start, start + length);
    for (const loss of twinLosses(twinLogits(config, weights, own), own)) {
      total += loss;
      tokens++;
    }
  }
  const nll = total / tokens;
  return { perplexity: Math.exp(nll), nll, tokens };
}
