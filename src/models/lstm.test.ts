/** The recurrent models: shapes and states, gradients of the whole, and tasks small enough to be learned here. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { disposeNet, EVALUATE, type Mode, type Net } from "../nn/net.ts";
import { checkGradients } from "../nn/ops/gradient-check.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import { Adam } from "../nn/optimiser.ts";
import { lstmLanguageModel } from "./lstm.ts";
import { seq2seq } from "./seq2seq.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const ids = (values: readonly number[], batch: number): Tensor =>
  tensor(Int32Array.from(values), [batch, values.length / batch]);
const valuesOf = (net: Net): Tensor[] => net.params.map((p) => p.value);

/** Trains for some steps; the loss of each. */
function train(net: Net, steps: number, rate: number, loss: (step: number, mode: Mode) => Tensor): number[] {
  const optimiser = new Adam(net.params, { clip: 1 });
  const losses = Array.from({ length: steps }, (_, step) =>
    scope(() => {
      const mode: Mode = { train: true, t: { step, steps }, seed: 0 };
      const { value, gradients } = valueAndGrad(() => loss(step, mode), valuesOf(net));
      optimiser.step(gradients, rate);
      return value.item();
    }),
  );
  return losses;
}

const small = { vocabulary: 7, embedding: 5, units: 6, layers: 2, seed: 3 };

test("parameters by name, and gradients of the whole model", () => {
  const net = lstmLanguageModel(small);
  expect(net.params.map((p) => [p.name, ...p.shape].join(" "))).toEqual([
    "embedding.weight 7 5",
    "lstm.0.input 24 5",
    "lstm.0.hidden 24 6",
    "lstm.0.bias 24",
    "lstm.1.input 24 6",
    "lstm.1.hidden 24 6",
    "lstm.1.bias 24",
    "head.weight 7 6",
    "head.bias 7",
  ]);
  const x = ids([3, 1, 4, 1, 5, 2, 6, 0], 2);
  const targets = tensor(Int32Array.from([1, 4, 1, 5, 2, 6, 0, 3]));
  checkGradients(valuesOf(net), () => crossEntropy(net.forward(x, EVALUATE), targets), 2e-3);
  disposeNet(net);
});

test("rows are independent, and a window after a window is one long window, bit for bit", () => {
  const net = lstmLanguageModel(small);
  const rows = [
    [3, 1, 4, 1, 5, 2],
    [0, 6, 6, 2, 1, 3],
  ];
  const whole = net.forward(ids(rows.flat(), 2), EVALUATE).toArray();
  const first = net.run(ids([3, 1, 4, 0, 6, 6], 2), EVALUATE);
  const second = net.run(ids([1, 5, 2, 2, 1, 3], 2), EVALUATE, first.last);
  const [a, b] = [first.logits.toArray(), second.logits.toArray()];
  // [B * T, V]: three steps of the first row, then three of the second
  expect([...a.slice(0, 21), ...b.slice(0, 21), ...a.slice(21), ...b.slice(21)]).toEqual([...whole]);
  const alone = net.forward(ids(rows[1], 1), EVALUATE).toArray();
  alone.forEach((v, i) => {
    expect(Math.abs(v - whole[42 + i])).toBeLessThan(1e-6);
  });
  disposeNet(net);
});

test("a held mask is what a weight of zeros there would be, and those weights do not move", () => {
  const net = lstmLanguageModel({ ...small, off: "held" });
  const twin = lstmLanguageModel(small);
  const x = ids([3, 1, 4, 1, 5, 2], 2);
  const targets = tensor(Int32Array.from([1, 4, 1, 5, 2, 6]));
  for (const name of ["lstm.0.hidden", "lstm.1.input", "head.weight"]) {
    const bits = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i % 4 === 0 ? 1 : 0));
    const [p, q] = [net, twin].map((n) => n.params.find((r) => r.name === name)!);
    const mask = bits(p.numel);
    const kept = mask.reduce((n, b) => n + b, 0);
    p.setMask({ bits: mask, kept });
    q.setMask({ bits: mask, kept });
  }
  const initial = net.params.map((p) => p.dense());
  const loss = (n: typeof net) => (_: number, mode: Mode) => crossEntropy(n.forward(x, mode), targets);
  expect(train(net, 5, 0.01, loss(net))).toEqual(train(twin, 5, 0.01, loss(twin)));
  net.params.forEach((p, k) => {
    const bits = p.bits();
    const [held, zero] = [p.dense(), twin.params[k].dense()];
    bits.forEach((kept, i) => {
      if (kept === 1) expect(held[i]).toBe(zero[i]);
      else expect([held[i], zero[i]]).toEqual([initial[k][i], 0]);
    });
  });
  disposeNet(net);
  disposeNet(twin);
});

test("dropout acts while training only, on what goes from layer to layer: another draw at each step, none when evaluated", () => {
  const [net, noisy] = [0, 0.4].map((dropout) => lstmLanguageModel({ ...small, dropout }));
  const x = ids([3, 1, 4, 1, 5, 2, 6, 0], 2);
  const at = (step: number): Mode => ({ train: true, t: { step, steps: 9 }, seed: 1 });
  const quiet = net.forward(x, EVALUATE).toArray();
  expect(noisy.forward(x, EVALUATE).toArray()).toEqual(quiet);
  const first = noisy.forward(x, at(0)).toArray();
  expect(first).not.toEqual(quiet);
  expect(noisy.forward(x, at(0)).toArray()).toEqual(first);
  expect(noisy.forward(x, at(1)).toArray()).not.toEqual(first);
  const targets = tensor(Int32Array.from([1, 4, 1, 5, 2, 6, 0, 3]));
  checkGradients(valuesOf(noisy).slice(0, 3), () => crossEntropy(noisy.forward(x, at(2)), targets), 2e-3);
  disposeNet(net);
  disposeNet(noisy);
});

test("learns a text whose next letter needs the letter before last", () => {
  const net = lstmLanguageModel({ vocabulary: 3, embedding: 8, units: 24, layers: 2, seed: 1 });
  // After a 0 comes 1 or 2 in turn: the last letter alone leaves ln 2 / 2 open.
  const text = Array.from({ length: 41 }, (_, i) => [0, 1, 0, 2][i % 4]);
  const x = ids([...text.slice(0, 20), ...text.slice(2, 22)], 2);
  const targets = tensor(Int32Array.from([...text.slice(1, 21), ...text.slice(3, 23)]));
  const losses = train(net, 120, 0.02, (_, mode) => crossEntropy(net.forward(x, mode), targets));
  expect(losses[0]).toBeGreaterThan(0.9 * Math.log(3));
  // Only the first letter of each row has no past: at most ln 2 / 2 on 2 of 40 places.
  expect(losses.at(-1)!).toBeLessThan(0.06);
  disposeNet(net);
});

/** Reverses its source: needs order, attention and the end's token. */
test("sequence to sequence learns to reverse, and decodes as it was taught", () => {
  const [begin, end] = [5, 6];
  const net = seq2seq({ sourceVocabulary: 5, targetVocabulary: 7, embedding: 12, units: 32, sourceLength: 3, seed: 2 });
  const all = Array.from({ length: 84 }, (_, n) => {
    const digits = n < 64 ? [n & 3, (n >> 2) & 3, n >> 4] : n < 80 ? [(n - 64) & 3, (n - 64) >> 2] : [n - 80];
    const said = [...digits].reverse();
    const fill = (x: number[], to: number, by: number) => [...x, ...Array<number>(to - x.length).fill(by)];
    return {
      source: fill(digits, 3, 4),
      length: digits.length,
      inputs: fill([begin, ...said], 4, end),
      targets: fill([...said, end], 4, -1),
    };
  });
  const trained = all.filter((_, n) => n % 6 !== 5);
  const rest = all.filter((_, n) => n % 6 === 5);
  const batch = (of: typeof all) => ({
    source: ids(
      of.flatMap((e) => e.source),
      of.length,
    ),
    inputs: ids(
      of.flatMap((e) => e.inputs),
      of.length,
    ),
    targets: tensor(Int32Array.from(of.flatMap((e) => e.targets))),
    lengths: of.map((e) => e.length),
  });
  const seen = batch(trained);
  train(net, 150, 0.02, (_, mode) =>
    crossEntropy(net.teach(seen.source, seen.inputs, mode, seen.lengths), seen.targets),
  );
  const unseen = batch(rest);
  const said = net.greedy(unseen.source, { begin, end, steps: 4 }, unseen.lengths);
  const right = rest.filter(({ targets }, n) => targets.every((t, i) => said[4 * n + i] === t)).length;
  expect(right / rest.length).toBeGreaterThan(0.7);
  // One call with source and inputs side by side says the same as two.
  const joined = ids(
    rest.flatMap((e) => [...e.source, ...e.inputs]),
    rest.length,
  );
  expect(net.forward(joined, EVALUATE).toArray()).toEqual(net.teach(unseen.source, unseen.inputs, EVALUATE).toArray());
  disposeNet(net);
});

test("gradients of sequence to sequence, through attention and the state that is handed over", () => {
  const net = seq2seq({ sourceVocabulary: 4, targetVocabulary: 5, embedding: 3, units: 4, sourceLength: 3, seed: 4 });
  const source = ids([1, 2, 3, 0, 3, 3], 2);
  const inputs = ids([4, 0, 4, 2], 2);
  const targets = tensor(Int32Array.of(0, 3, 2, -1));
  checkGradients(valuesOf(net), () => crossEntropy(net.teach(source, inputs, EVALUATE, [3, 2]), targets), 2e-3);
  disposeNet(net);
});
