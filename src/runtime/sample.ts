/**
 * From logits to a token: temperature, top-k, top-p, in this order, and a seeded draw; temperature 0 takes the largest.
 *
 * The draw for position i is number i of the stream ("sample", seed), and exponentials are our own, so that the same
 * seed gives the same text in every engine. Ties go to the lower id everywhere. Source of top-p (nucleus sampling):
 * Holtzman et al. 2020.
 */
import { exp } from "../core/elementary.ts";
import { demand, LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";

export interface SampleOptions {
  /** divides the logits; 0 is greedy; default 0.8 */
  readonly temperature?: number;
  /** only the k most probable tokens; 0 (default): all */
  readonly topK?: number;
  /** only the smallest set of most probable tokens with at least this mass; 1 (default): all */
  readonly topP?: number;
  /** default 0 */
  readonly seed?: number;
}

export interface Candidates {
  /** token ids, the most probable first */
  readonly ids: Int32Array;
  /** their probabilities, which sum to 1 */
  readonly probabilities: Float64Array;
}

function checked(options: SampleOptions): Required<SampleOptions> {
  const { temperature = 0.8, topK = 0, topP = 1, seed = 0 } = options;
  demand(temperature >= 0 && Number.isFinite(temperature), () => ({
    about: "temperature",
    expected: "a number of at least 0",
    got: String(temperature),
    hint: "0 always takes the most probable token; 1 samples from the model's own distribution.",
  }));
  demand(Number.isInteger(topK) && topK >= 0, () => ({
    about: "top-k",
    expected: "a whole number of at least 1, or 0 for all tokens",
    got: String(topK),
    hint: "40 is a common choice.",
  }));
  demand(topP > 0 && topP <= 1, () => ({
    about: "top-p",
    expected: "a probability mass in (0, 1]",
    got: String(topP),
    hint: "0.95 is a common choice; 1 keeps all tokens.",
  }));
  demand(Number.isSafeInteger(seed), () => ({
    about: "seed",
    expected: "a whole number",
    got: String(seed),
    hint: "Any will do; the same seed gives the same text.",
  }));
  return { temperature, topK, topP, seed };
}

/** Index of the largest value, the first of equals. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** Whether token a comes before token b. */
const before = (logits: ArrayLike<number>, a: number, b: number): boolean =>
  logits[a] > logits[b] || (logits[a] === logits[b] && a < b);

/** Sinks the root of the heap in `heap[0..size)`; the first in order is on top. */
function sink(heap: Int32Array, size: number, root: number, logits: ArrayLike<number>): void {
  let at = root;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) return;
    if (child + 1 < size && before(logits, heap[child + 1], heap[child])) child++;
    if (!before(logits, heap[child], heap[at])) return;
    const t = heap[at];
    heap[at] = heap[child];
    heap[child] = t;
    at = child;
  }
}

/** Yields ids in order, the largest logit first. Making it is O(V), each id O(log V): few are usually needed. */
function* inOrder(logits: ArrayLike<number>): Generator<number, void> {
  const heap = Int32Array.from({ length: logits.length }, (_, i) => i);
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) sink(heap, heap.length, i, logits);
  for (let size = heap.length; size > 0; size--) {
    yield heap[0];
    heap[0] = heap[size - 1];
    sink(heap, size - 1, 0, logits);
  }
}

function checkLogits(logits: ArrayLike<number>): void {
  let any = false;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i];
    if (Number.isNaN(x) || x === Number.POSITIVE_INFINITY) {
      throw new LacunaError({
        about: "logits",
        expected: "finite scores for the next token",
        got: `${x} for token ${i}`,
        hint: "The model's weights overflow or are damaged; use another copy.",
      });
    }
    any ||= x > Number.NEGATIVE_INFINITY;
  }
  if (!any) throw new Error("sample: no token is possible");
}

/** The tokens among which is drawn, and their probabilities. `temperature` is above 0. */
export function candidates(logits: ArrayLike<number>, options: SampleOptions = {}): Candidates {
  const { temperature, topK, topP } = checked(options);
  checkLogits(logits);
  const top = logits[argmax(logits)];
  const weight = (id: number): number => exp((logits[id] - top) / temperature);
  const ids: number[] = [];
  const weights: number[] = [];
  const most = topK === 0 ? logits.length : Math.min(topK, logits.length);
  // Without top-k the mass is that of all tokens, which takes no sorting.
  let total = 0;
  if (most === logits.length) for (let i = 0; i < logits.length; i++) total += weight(i);
  let sum = 0;
  for (const id of inOrder(logits)) {
    if (ids.length === most || (most === logits.length && topP < 1 && sum >= topP * total)) break;
    const w = weight(id);
    ids.push(id);
    weights.push(w);
    sum += w;
  }
  let kept = ids.length;
  if (most < logits.length && topP < 1) {
    const enough = topP * sum;
    kept = 0;
    for (sum = 0; kept < ids.length && sum < enough; kept++) sum += weights[kept];
  }
  return {
    ids: Int32Array.from(ids.slice(0, kept)),
    probabilities: Float64Array.from(weights.slice(0, kept), (w) => w / sum),
  };
}

/** Draws a token id from logits; `position` is the place in the text that it will have. */
export type Sampler = (logits: ArrayLike<number>, position: number) => number;

export function makeSampler(options: SampleOptions = {}): Sampler {
  const o = checked(options);
  if (o.temperature === 0) {
    return (logits) => {
      checkLogits(logits);
      return argmax(logits);
    };
  }
  const draws = stream(o.seed, "sample");
  return (logits, position) => {
    const u = draws.uniform(position);
    if (o.topK === 0 && o.topP === 1) return drawAny(logits, o.temperature, u);
    const { ids, probabilities } = candidates(logits, o);
    let sum = 0;
    for (let i = 0; i < ids.length; i++) {
      sum += probabilities[i];
      if (u < sum) return ids[i];
    }
    return ids[ids.length - 1];
  };
}

/** A draw from the whole softmax, by walking the ids in their own order. */
function drawAny(logits: ArrayLike<number>, temperature: number, u: number): number {
  checkLogits(logits);
  const top = logits[argmax(logits)];
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += weights[i] = exp((logits[i] - top) / temperature);
  let last = 0;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    sum += weights[i];
    if (u * total < sum) return i;
  }
  return last;
}
