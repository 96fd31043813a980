/**
 * k-nearest-neighbour classification by Euclidean distance over raw values: a judge of features that learns nothing.
 *
 * Distances come from f32 products, |a|^2 - 2 ab + |b|^2; they are exact for whole numbers while squares add up to less
 * than 2^24, as 50 pixels do. Equal distances: the earlier example is nearer.
 */
import { linearForward } from "../core/compute/gemm.ts";
import { demand } from "../core/errors.ts";
import { scope } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { type Examples, widthOf } from "../data/examples.ts";

/** Examples at once on either side: bounds what lies in engine memory. */
const TEST_ROWS = 256;
const TRAIN_ROWS = 4096;

function squares(x: Float32Array, w: number): Float64Array {
  const out = new Float64Array(x.length / w);
  for (let i = 0; i < out.length; i++) for (let j = i * w; j < (i + 1) * w; j++) out[i] += x[j] * x[j];
  return out;
}

/** Values of the examples [from, to) as f32 [.., D]. */
function block(e: Examples, from: number, to: number, w: number): Tensor {
  const t = new Tensor([to - from, w]);
  t.f32.set(e.x.subarray(from * w, to * w));
  return t;
}

/** Places in `train` of the k nearest examples to each of `test`, nearest first: [N, k]. */
export function nearest(train: Examples, test: Examples, k = 1): Int32Array {
  const w = widthOf(train);
  demand(widthOf(test) === w && train.scale === test.scale && k >= 1 && k <= train.count, () => ({
    about: "nearest neighbours",
    expected: `examples alike in both sets, and k from 1 to ${train.count}`,
    got: `${w} values by ${train.scale} and ${widthOf(test)} by ${test.scale}, k ${k}`,
    hint: "Select the same features in both.",
  }));
  const found = new Int32Array(test.count * k);
  const distance = new Float64Array(test.count * k).fill(Number.POSITIVE_INFINITY);
  for (let t0 = 0; t0 < train.count; t0 += TRAIN_ROWS) {
    const t1 = Math.min(train.count, t0 + TRAIN_ROWS);
    scope(() => {
      const b = block(train, t0, t1, w);
      const sizes = squares(b.f32, w);
      for (let s0 = 0; s0 < test.count; s0 += TEST_ROWS) {
        const s1 = Math.min(test.count, s0 + TEST_ROWS);
        scope(() => {
          const a = block(test, s0, s1, w);
          const own = squares(a.f32, w);
          const products = new Tensor([s1 - s0, t1 - t0]);
          linearForward(a.ptr, s1 - s0, { ptr: b.ptr, type: "f32" }, t1 - t0, w, products.ptr);
          const p = products.f32;
          for (let s = s0; s < s1; s++) {
            const last = (s + 1) * k - 1;
            const row = (s - s0) * (t1 - t0) - t0;
            const mine = own[s - s0];
            let worst = distance[last];
            for (let t = t0; t < t1; t++) {
              const d = mine - 2 * p[row + t] + sizes[t - t0];
              if (!(d < worst)) continue;
              let place = last;
              for (; place > s * k && d < distance[place - 1]; place--) {
                distance[place] = distance[place - 1];
                found[place] = found[place - 1];
              }
              distance[place] = d;
              found[place] = t;
              worst = distance[last];
            }
          }
        });
      }
    });
  }
  return found;
}

/** Labels by majority among the k nearest; between equals the one whose first vote is nearer. */
export function classifyNearest(train: Examples, test: Examples, k = 1): Uint8Array {
  const near = nearest(train, test, k);
  return Uint8Array.from({ length: test.count }, (_, i) => {
    const votes = new Int32Array(train.classes);
    let best = train.y[near[i * k]];
    for (let j = i * k; j < (i + 1) * k; j++) votes[train.y[near[j]]]++;
    for (let j = i * k; j < (i + 1) * k; j++) if (votes[train.y[near[j]]] > votes[best]) best = train.y[near[j]];
    return best;
  });
}

/** Share of `test` that k-NN on `train` gets right, 0 to 1. */
export function nearestAccuracy(train: Examples, test: Examples, k = 1): number {
  const predicted = classifyNearest(train, test, k);
  return predicted.reduce((sum, p, i) => sum + (p === test.y[i] ? 1 : 0), 0) / test.count;
}
