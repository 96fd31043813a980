/**
 * The same Llama in jax-js on its WebAssembly backend: value, gradients and Adam in one `jit`, as its users write it.
 *
 * Linears are held [in, out]. Arrays are counted references: whatever is used again is passed as `.ref`. In Node it has
 * one thread (its pool needs the Worker of browsers), and it keeps no count of bytes. Its `dotProductAttention` is an
 * einsum and a softmax, and needs iterator helpers that Node 20 has not; here the same is written with matmul.
 */
import { defaultDevice, init, jit, nn, numpy as np, valueAndGrad } from "@jax-js/jax";
import { type LlamaConfig, ropeInvFreq } from "../../../src/models/llama/config.ts";
import { ADAM, mustBePlain, type Trainer, type TrainSetup, turns, type Weights } from "./setup.ts";

type Arrays = Record<string, np.Array>;

interface Constants {
  readonly cos: np.Array;
  readonly sin: np.Array;
  readonly mask: np.Array;
}

/** Rotary tables [1, T, 1, E/2] and the causal mask [1, 1, G*T, T] of G stacked query heads. */
function constants(c: LlamaConfig, tokens: number): Constants {
  const half = c.headWidth / 2;
  const inv = ropeInvFreq(c);
  const angle = (f: (x: number) => number): np.Array =>
    np
      .array(Float32Array.from({ length: tokens * half }, (_, i) => f(Math.floor(i / half) * inv[i % half])))
      .reshape([1, tokens, 1, half]);
  const stacked = (c.heads / c.kvHeads) * tokens;
  const mask = Float32Array.from({ length: stacked * tokens }, (_, i) =>
    i % tokens <= Math.floor(i / tokens) % tokens ? 0 : -1e9,
  );
  return {
    cos: angle(Math.cos),
    sin: angle(Math.sin),
    mask: np.array(mask).reshape([1, 1, stacked, tokens]),
  };
}

/** Mean negative log-likelihood; consumes its arguments. */
function loss(
  c: LlamaConfig,
  r: Constants,
  p: Arrays,
  ids: np.Array,
  targets: np.Array,
  B: number,
  T: number,
): np.Array {
  const { width: D, heads: H, kvHeads: K, headWidth: E } = c;
  const G = H / K;
  const norm = (x: np.Array, w: np.Array): np.Array => {
    const size = np.sqrt(np.mean(np.square(x.ref), -1, { keepdims: true }).add(c.normEps));
    return x.div(size).mul(w);
  };
  const rotate = (x: np.Array): np.Array => {
    const [a, b] = np.split(x, 2, -1);
    const left = a.ref.mul(r.cos.ref).sub(b.ref.mul(r.sin.ref));
    return np.concatenate([left, b.mul(r.cos.ref).add(a.mul(r.sin.ref))], -1);
  };
  const table = p["model.embed_tokens.weight"];
  let x = np.take(table.ref, ids, 0);
  for (let layer = 0; layer < c.layers; layer++) {
    const of = (name: string): np.Array => p[`model.layers.${layer}.${name}.weight`];
    const h = norm(x.ref, of("input_layernorm"));
    const q = rotate(np.matmul(h.ref, of("self_attn.q_proj")).reshape([B, T, H, E]));
    const k = rotate(np.matmul(h.ref, of("self_attn.k_proj")).reshape([B, T, K, E]));
    const v = np.matmul(h, of("self_attn.v_proj")).reshape([B, T, K, E]);
    const stacked = q
      .reshape([B, T, K, G, E])
      .transpose([0, 2, 3, 1, 4])
      .reshape([B, K, G * T, E]);
    const scores = np
      .matmul(stacked, k.transpose([0, 2, 3, 1]))
      .mul(1 / Math.sqrt(E))
      .add(r.mask.ref);
    const mixed = np.matmul(nn.softmax(scores, -1), v.transpose([0, 2, 1, 3]));
    const merged = mixed
      .reshape([B, K, G, T, E])
      .transpose([0, 3, 1, 2, 4])
      .reshape([B * T, H * E]);
    x = x.add(np.matmul(merged, of("self_attn.o_proj")));
    const g = norm(x.ref, of("post_attention_layernorm"));
    const inner = nn.silu(np.matmul(g.ref, of("mlp.gate_proj"))).mul(np.matmul(g, of("mlp.up_proj")));
    x = x.add(np.matmul(inner, of("mlp.down_proj")));
  }
  const logits = np.matmul(norm(x, p["model.norm.weight"]).reshape([B * T, D]), table.transpose());
  const wanted = nn.oneHot(targets, c.vocabSize);
  return nn
    .logSoftmax(logits, -1)
    .mul(wanted)
    .sum()
    .mul(-1 / (B * T));
}

function load(w: Weights): np.Array {
  const t = np.array(w.values.slice()).reshape([...w.shape]);
  return w.shape.length === 1 || w.name.endsWith("embed_tokens.weight") ? t : t.transpose();
}

interface State {
  p: Arrays;
  m: Arrays;
  v: Arrays;
  steps: number;
}

export async function open(setup: TrainSetup): Promise<Trainer> {
  const { config, weights, batch: B, tokens: T, rate } = setup;
  mustBePlain(config);
  await init("wasm");
  defaultDevice("wasm");
  const r = constants(config, T);
  const batches = turns(setup.batches);
  const { beta1, beta2, eps } = ADAM;

  const graph = valueAndGrad((p: Arrays, ids: np.Array, targets: np.Array) => loss(config, r, p, ids, targets, B, T));
  // c1 and c2 are Adam's bias corrections: scalars that change with each step, so they are arguments.
  const step = jit((p: Arrays, m: Arrays, v: Arrays, ids: np.Array, targets: np.Array, c1: np.Array, c2: np.Array) => {
    const names = Object.keys(p);
    const refs = Object.fromEntries(names.map((n) => [n, p[n].ref]));
    const [value, grads] = graph(refs, ids, targets) as [np.Array, Arrays];
    const next: { p: Arrays; m: Arrays; v: Arrays } = { p: {}, m: {}, v: {} };
    for (const n of names) {
      const g = grads[n];
      next.m[n] = m[n].mul(beta1).add(g.ref.mul(1 - beta1));
      next.v[n] = v[n].mul(beta2).add(np.square(g).mul(1 - beta2));
      const size = np.sqrt(next.v[n].ref.mul(c2.ref)).add(eps);
      next.p[n] = p[n].sub(next.m[n].ref.mul(c1.ref).div(size).mul(rate));
    }
    c1.dispose();
    c2.dispose();
    return { value, ...next };
  });

  const fresh = (): State => {
    const zeros = (): Arrays => Object.fromEntries(weights.map((w) => [w.name, np.zeros(load(w).shape)]));
    return { p: Object.fromEntries(weights.map((w) => [w.name, load(w)])), m: zeros(), v: zeros(), steps: 0 };
  };

  const advance = (s: State): number => {
    const { inputs, targets } = batches.next();
    s.steps++;
    const scalar = (x: number): np.Array => np.array(x);
    const out = step(
      s.p,
      s.m,
      s.v,
      np.array(inputs.slice(), { dtype: np.int32 }),
      np.array(targets.slice(), { dtype: np.int32 }),
      scalar(1 / (1 - beta1 ** s.steps)),
      scalar(1 / (1 - beta2 ** s.steps)),
    );
    s.p = out.p;
    s.m = out.m;
    s.v = out.v;
    return out.value.dataSync()[0];
  };

  let own: State | undefined;
  return {
    losses(steps) {
      batches.restart();
      const s = fresh();
      const found = Array.from({ length: steps }, () => advance(s));
      for (const arrays of [s.p, s.m, s.v]) for (const a of Object.values(arrays)) a.dispose();
      return found;
    },
    step() {
      own ??= fresh();
      return advance(own);
    },
    peak: () => null,
  };
}
