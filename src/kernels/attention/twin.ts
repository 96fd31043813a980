/**
 * Plain f64 twins of the attention kernels, written from the formula softmax(scale * q k^T + mask) v
 * (Vaswani et al., 2017) and its derivative, one query and one key at a time. For tests: nothing here is fast.
 */

export interface AttentionShape {
  readonly B: number;
  /** queries */
  readonly T: number;
  /** keys */
  readonly S: number;
  readonly H: number;
  readonly K: number;
  readonly E: number;
  readonly scale: number;
  readonly causal: boolean;
  /** position of query 0 */
  readonly queryOffset: number;
}

type Numbers = ArrayLike<number>;

/** Probabilities of one query over its visible keys, and the log-sum-exp of its scores. */
function probabilities(shape: AttentionShape, q: Numbers, k: Numbers, b: number, h: number, t: number) {
  const { T, S, H, K, E, scale, causal, queryOffset } = shape;
  const g = Math.floor(h / (H / K));
  const visible = causal ? Math.min(S, queryOffset + t + 1) : S;
  const scores = new Float64Array(visible);
  for (let s = 0; s < visible; s++) {
    for (let e = 0; e < E; e++) {
      scores[s] += q[(b * T + t) * H * E + h * E + e] * k[(b * S + s) * K * E + g * E + e] * scale;
    }
  }
  const max = scores.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
  const sum = scores.reduce((a, x) => a + Math.exp(x - max), 0);
  return { p: scores.map((x) => Math.exp(x - max) / sum), lse: max + Math.log(sum), g };
}

/** q [B*T, H*E], k and v [B*S, K*E] -> out [B*T, H*E], lse [B*H*T]. */
export function attentionTwin(shape: AttentionShape, q: Numbers, k: Numbers, v: Numbers) {
  const { B, T, S, H, K, E } = shape;
  const out = new Float64Array(B * T * H * E);
  const lse = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let t = 0; t < T; t++) {
        const row = probabilities(shape, q, k, b, h, t);
        lse[(b * H + h) * T + t] = row.lse;
        row.p.forEach((p, s) => {
          for (let e = 0; e < E; e++) {
            out[(b * T + t) * H * E + h * E + e] += p * v[(b * S + s) * K * E + row.g * E + e];
          }
        });
      }
    }
  }
  return { out, lse };
}

/**
 * Gradients of sum(out * dout). With P the probabilities and dP = dout v^T:
 * dv = P^T dout, dS = P (dP - sum_s P dP), dq = scale dS k, dk = scale dS^T q.
 */
export function attentionBackwardTwin(shape: AttentionShape, q: Numbers, k: Numbers, v: Numbers, dout: Numbers) {
  const { B, T, S, H, K, E, scale } = shape;
  const dq = new Float64Array(B * T * H * E);
  const dk = new Float64Array(B * S * K * E);
  const dv = new Float64Array(B * S * K * E);
  const delta = new Float64Array(B * H * T);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let t = 0; t < T; t++) {
        const { p, g } = probabilities(shape, q, k, b, h, t);
        const qAt = (b * T + t) * H * E + h * E;
        const dP = p.map((_, s) => {
          let sum = 0;
          for (let e = 0; e < E; e++) sum += dout[qAt + e] * v[(b * S + s) * K * E + g * E + e];
          return sum;
        });
        const mean = p.reduce((a, x, s) => a + x * dP[s], 0);
        delta[(b * H + h) * T + t] = mean;
        p.forEach((x, s) => {
          const kAt = (b * S + s) * K * E + g * E;
          const dS = x * (dP[s] - mean) * scale;
          for (let e = 0; e < E; e++) {
            dv[kAt + e] += x * dout[qAt + e];
            dq[qAt + e] += dS * k[kAt + e];
            dk[kAt + e] += dS * q[qAt + e];
          }
        });
      }
    }
  }
  return { dq, dk, dv, delta };
}

export interface ListedShape {
  readonly H: number;
  readonly K: number;
  /** lists; list l serves the heads l*H/L and after */
  readonly L: number;
  readonly E: number;
  readonly capacity: number;
  readonly scale: number;
}

/** Attention of one token, q [H*E], over the rows of caches [K][capacity][E] that each list names: out [H*E]. */
export function listedTwin(
  shape: ListedShape,
  q: Numbers,
  k: Numbers,
  v: Numbers,
  lists: readonly (readonly number[])[],
) {
  const { H, K, L, E, capacity, scale } = shape;
  const out = new Float64Array(H * E);
  for (let h = 0; h < H; h++) {
    const list = lists[Math.floor(h / (H / L))];
    const rowAt = (t: number): number => (Math.floor(h / (H / K)) * capacity + t) * E;
    const scores = list.map((t) => {
      let sum = 0;
      for (let e = 0; e < E; e++) sum += q[h * E + e] * k[rowAt(t) + e] * scale;
      return sum;
    });
    const max = scores.reduce((a, x) => Math.max(a, x), Number.NEGATIVE_INFINITY);
    const sum = scores.reduce((a, s) => a + Math.exp(s - max), 0);
    list.forEach((t, i) => {
      for (let e = 0; e < E; e++) out[h * E + e] += (Math.exp(scores[i] - max) / sum) * v[rowAt(t) + e];
    });
  }
  return out;
}

/** scores [L][length]: over the heads and the channels (i32 [L][C]) of a list, the sum of query times key. */
export function rankTwin(
  { H, K, L, E, capacity }: Omit<ListedShape, "scale">,
  q: Numbers,
  k: Numbers,
  channels: Int32Array,
  length: number,
) {
  const C = channels.length / L;
  const scores = new Float64Array(L * length);
  for (let l = 0; l < L; l++) {
    for (let t = 0; t < length; t++) {
      for (let h = (l * H) / L; h < ((l + 1) * H) / L; h++) {
        for (const e of channels.subarray(l * C, (l + 1) * C)) {
          scores[l * length + t] += q[h * E + e] * k[(Math.floor(h / (H / K)) * capacity + t) * E + e];
        }
      }
    }
  }
  return scores;
}
