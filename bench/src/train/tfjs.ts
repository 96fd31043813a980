/**
 * The same Llama in TensorFlow.js operations on its WebAssembly backend: RMSNorm, rotary grouped-query attention, SiLU
 * gate, tied head, cross-entropy, Adam.
 *
 * Linears are held [in, out], as tfjs users hold kernels, so that the forward product needs no transpose. The backend
 * gives a product to XNNPACK only if no factor is transposed by a flag and there is no batch; all others (most
 * gradients, the tied head, attention) go to plain loops. With `transposes` the products of two matrices are rewritten
 * so that they get there, which makes a step several times faster: the best that this peer was made to do.
 * Query heads that share a key head are stacked along the tokens, so keys and values are never repeated. The embedding's
 * gradient is a scatterND, because the backend has no kernel for tfjs's own rule.
 */
import type { Scalar, Tensor, Variable } from "@tensorflow/tfjs-core";
import { type LlamaConfig, ropeInvFreq } from "../../../src/models/llama/config.ts";
import { type Tfjs, tfjs } from "../peers/tfjs.ts";
import { ADAM, mustBePlain, type Trainer, type TrainSetup, turns, type Weights } from "./setup.ts";

interface Products {
  /** a · b, over the last two axes */
  mm(a: Tensor, b: Tensor): Tensor;
  /** a · b^T */
  mmT(a: Tensor, b: Tensor): Tensor;
}

/**
 * `plain`: matMul as it is. Else the gradients of products of two matrices take explicit transposes; batches stay with
 * flags, since taking them apart into matrices for XNNPACK made a step 1.7 times slower (each packs its right factor).
 */
function products(tf: Tfjs, plain: boolean): Products {
  const mm = (a: Tensor, b: Tensor): Tensor => tf.matMul(a, b);
  const mmT = (a: Tensor, b: Tensor): Tensor => tf.matMul(a, b, false, true);
  if (plain) return { mm, mmT };
  type Rule = { value: Tensor; gradFunc: (dy: Tensor, saved: Tensor[]) => Tensor[] };
  // tfjs types the function of a custom gradient loosely: tensors first, then `save`.
  const custom = (f: (a: Tensor, b: Tensor, save: (tensors: Tensor[]) => void) => Rule) =>
    tf.customGrad(f as unknown as Parameters<Tfjs["customGrad"]>[0]);
  const mm2 = custom((a, b, save) => {
    save([a, b]);
    return { value: mm(a, b), gradFunc: (dy, [x, y]) => [mm(dy, tf.transpose(y)), mm(tf.transpose(x), dy)] };
  });
  const mmT2 = custom((a, b, save) => {
    save([a, b]);
    return { value: mm(a, tf.transpose(b)), gradFunc: (dy, [x, y]) => [mm(dy, y), mm(tf.transpose(dy), x)] };
  });
  return { mm: (a, b) => (a.rank === 2 ? mm2 : mm)(a, b), mmT: (a, b) => (a.rank === 2 ? mmT2 : mmT)(a, b) };
}

/** Rows of a table; the gradient adds them up with scatterND. */
function embed(tf: Tfjs, table: Tensor, ids: Tensor): Tensor {
  const f = tf.customGrad(((w: Tensor) => ({
    value: tf.gather(w, ids),
    gradFunc: (dy: Tensor) => tf.scatterND(tf.reshape(ids, [-1, 1]), dy, w.shape),
  })) as unknown as Parameters<Tfjs["customGrad"]>[0]);
  return f(table);
}

interface Constants {
  readonly cos: Tensor;
  readonly sin: Tensor;
  readonly mask: Tensor;
}

/** Rotary tables [1, T, 1, E/2] and the causal mask [1, 1, G*T, T] of G stacked query heads. */
function constants(tf: Tfjs, c: LlamaConfig, tokens: number): Constants {
  const half = c.headWidth / 2;
  const inv = ropeInvFreq(c);
  const angle = (f: (x: number) => number): Tensor => {
    const values = Float32Array.from({ length: tokens * half }, (_, i) => f(Math.floor(i / half) * inv[i % half]));
    return tf.tensor(values, [1, tokens, 1, half]);
  };
  const stacked = (c.heads / c.kvHeads) * tokens;
  const mask = Float32Array.from({ length: stacked * tokens }, (_, i) =>
    i % tokens <= Math.floor(i / tokens) % tokens ? 0 : -1e9,
  );
  return { cos: angle(Math.cos), sin: angle(Math.sin), mask: tf.tensor(mask, [1, 1, stacked, tokens]) };
}

type Lookup = (name: string) => Tensor;

function forward(
  tf: Tfjs,
  c: LlamaConfig,
  k: Constants,
  p: Products,
  get: Lookup,
  ids: Tensor,
  B: number,
  T: number,
): Tensor {
  const { width: D, heads: H, kvHeads: K, headWidth: E } = c;
  const G = H / K;
  const norm = (x: Tensor, w: Tensor): Tensor =>
    tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), c.normEps))), w);
  const rotate = (x: Tensor): Tensor => {
    const [a, b] = tf.split(x, 2, -1);
    return tf.concat([tf.sub(tf.mul(a, k.cos), tf.mul(b, k.sin)), tf.add(tf.mul(b, k.cos), tf.mul(a, k.sin))], -1);
  };
  const keys = (x: Tensor): Tensor => tf.transpose(tf.reshape(x, [B, T, K, E]), [0, 2, 1, 3]);
  let x = embed(tf, get("model.embed_tokens.weight"), ids);
  for (let layer = 0; layer < c.layers; layer++) {
    const of = (name: string): Tensor => get(`model.layers.${layer}.${name}.weight`);
    const h = norm(x, of("input_layernorm"));
    const q = rotate(tf.reshape(p.mm(h, of("self_attn.q_proj")), [B, T, H, E]));
    const key = keys(rotate(tf.reshape(p.mm(h, of("self_attn.k_proj")), [B, T, K, E])));
    const value = keys(p.mm(h, of("self_attn.v_proj")));
    const stacked = tf.reshape(tf.transpose(tf.reshape(q, [B, T, K, G, E]), [0, 2, 3, 1, 4]), [B, K, G * T, E]);
    const scores = tf.add(tf.mul(p.mmT(stacked, key), 1 / Math.sqrt(E)), k.mask);
    const mixed = p.mm(tf.softmax(scores), value);
    const merged = tf.reshape(tf.transpose(tf.reshape(mixed, [B, K, G, T, E]), [0, 3, 1, 2, 4]), [B * T, H * E]);
    x = tf.add(x, p.mm(merged, of("self_attn.o_proj")));
    const g = norm(x, of("post_attention_layernorm"));
    const gate = p.mm(g, of("mlp.gate_proj"));
    const inner = tf.mul(tf.mul(gate, tf.sigmoid(gate)), p.mm(g, of("mlp.up_proj")));
    x = tf.add(x, p.mm(inner, of("mlp.down_proj")));
  }
  return p.mmT(tf.reshape(norm(x, get("model.norm.weight")), [B * T, D]), get("model.embed_tokens.weight"));
}

/** Linears [out, in] become kernels [in, out]; the embedding and the norms stay. */
function load(tf: Tfjs, w: Weights): Tensor {
  const t = tf.tensor(w.values, [...w.shape]);
  if (w.shape.length === 1 || w.name.endsWith("embed_tokens.weight")) return t;
  const kernel = tf.transpose(t);
  t.dispose();
  return kernel;
}

export async function open(setup: TrainSetup): Promise<Trainer> {
  const tf = await tfjs();
  const { config, weights, batch: B, tokens: T } = setup;
  mustBePlain(config);
  const variables = new Map<string, Variable>(weights.map((w) => [w.name, tf.variable(load(tf, w))]));
  const all = [...variables.values()];
  const fixed = constants(tf, config, T);
  const p = products(tf, setup.transposes !== true);
  const batches = turns(setup.batches);
  const adam = () => tf.train.adam(setup.rate, ADAM.beta1, ADAM.beta2, ADAM.eps);

  const stepWith = (optimiser: ReturnType<typeof adam>): number =>
    tf.tidy(() => {
      const { inputs, targets } = batches.next();
      const ids = tf.tensor1d(inputs, "int32");
      const wanted = tf.oneHot(tf.tensor1d(targets, "int32"), config.vocabSize);
      const loss = (): Scalar => {
        const logits = forward(tf, config, fixed, p, (name) => variables.get(name)!, ids, B, T);
        return tf.losses.softmaxCrossEntropy(wanted, logits) as Scalar;
      };
      const { value, grads } = tf.variableGrads(loss, all);
      optimiser.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
      return value.dataSync()[0];
    });

  let own: ReturnType<typeof adam> | undefined;
  const step = (): number => {
    own ??= adam();
    return stepWith(own);
  };

  return {
    losses(steps) {
      for (const w of weights) tf.tidy(() => variables.get(w.name)!.assign(load(tf, w)));
      batches.restart();
      const plain = adam();
      const found = Array.from({ length: steps }, () => stepWith(plain));
      plain.dispose();
      return found;
    },
    step,
    async peak() {
      const info = await tf.profile(() => {
        step();
        return tf.scalar(0);
      });
      return info.peakBytes;
    },
  };
}
