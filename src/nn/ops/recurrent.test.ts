/** The LSTM operation against central differences, tfjs-core's cell and a closed form; attention against its formula. */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { full, type Tensor, tensor, zeros } from "../../core/tensor.ts";
import { dotAttention } from "./dot-attention.ts";
import { add } from "./elementwise.ts";
import { denseFactor } from "./factor.ts";
import { checkGradients, drawer, weigh } from "./gradient-check.ts";
import { type CellState, type LstmResult, lstm } from "./recurrent.ts";

tf.enableProdMode();
beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(31);

interface Case {
  readonly x: Tensor;
  readonly input: Tensor;
  readonly hidden: Tensor;
  readonly bias: Tensor;
  readonly batch: number;
}

function draw(steps: number, batch: number, D: number, H: number): Case {
  return {
    x: random([steps * batch, D]),
    input: random([4 * H, D], 0.4),
    hidden: random([4 * H, H], 0.4),
    bias: random([4 * H], 0.5),
    batch,
  };
}

const run = (c: Case, state?: CellState): LstmResult =>
  lstm(c.x, { input: denseFactor(c.input), hidden: denseFactor(c.hidden), bias: c.bias }, c.batch, state);

test("gradients of the sequence, both weights and the bias", () => {
  const c = draw(4, 3, 5, 6);
  checkGradients([c.x, c.input, c.hidden, c.bias], () => weigh(run(c).output));
});

test("gradients of the state, from its start and through its end", () => {
  const c = draw(3, 2, 4, 5);
  const start = { h: random([2, 5]), c: random([2, 5]) };
  const inputs = [c.x, c.input, c.hidden, c.bias, start.h, start.c];
  checkGradients(inputs, () => weigh(run(c, start).last.c));
  checkGradients(inputs, () => weigh(run(c, start).last.h));
  checkGradients(inputs, () => {
    const { output, last } = run(c, start);
    return add(weigh(output), add(weigh(last.h), weigh(last.c)));
  });
});

test("one step, as a decoder takes it", () => {
  const c = draw(1, 3, 4, 5);
  const start = { h: random([3, 5]), c: random([3, 5]) };
  checkGradients([c.x, c.input, c.hidden, c.bias, start.h, start.c], () => weigh(run(c, start).output));
});

test("two halves with the state carried over are the whole, bit for bit", () => {
  const c = draw(6, 20, 7, 9);
  const whole = run(c).output.toArray();
  const half = 3 * 20 * 7;
  const part = (from: number): Case => ({ ...c, x: tensor(c.x.toArray().slice(from, from + half), [60, 7]) });
  const first = run(part(0));
  const second = run(part(half), first.last);
  expect([...first.output.toArray(), ...second.output.toArray()]).toEqual([...whole]);
  expect([...second.last.h.toArray()]).toEqual([...whole.slice(-20 * 9)]);
});

test("values do not depend on the number of threads", async () => {
  const results: number[][] = [];
  for (const threads of [1, 3]) {
    await init({ threads });
    const draws = drawer(5);
    const c: Case = {
      x: draws([2 * 40, 24]),
      input: draws([4 * 64, 24], 0.2),
      hidden: draws([4 * 64, 64], 0.2),
      bias: draws([4 * 64]),
      batch: 40,
    };
    const { gradients } = valueAndGrad(() => weigh(run(c).output), [c.x, c.input, c.hidden, c.bias]);
    results.push(gradients.flatMap((g) => [...g.toArray()]));
  }
  expect(results[0]).toEqual(results[1]);
});

/** tfjs-core's cell has the blocks i, g, f, o in columns of one kernel over [x, h], and adds a forget bias of its own. */
test("tfjs-core's cell gives the same states", () => {
  const [B, D, H] = [3, 4, 5];
  const c = draw(3, B, D, H);
  const [wx, wh, b] = [c.input.toArray(), c.hidden.toArray(), c.bias.toArray()];
  const order = [0, 2, 1, 3];
  const kernel = tf.buffer([D + H, 4 * H]);
  const bias = tf.buffer([4 * H]);
  order.forEach((ours, theirs) => {
    for (let u = 0; u < H; u++) {
      const row = ours * H + u;
      for (let k = 0; k < D; k++) kernel.set(wx[row * D + k], k, theirs * H + u);
      for (let k = 0; k < H; k++) kernel.set(wh[row * H + k], D + k, theirs * H + u);
      bias.set(b[row] - (ours === 1 ? 1 : 0), theirs * H + u);
    }
  });
  const { output, last } = run(c);
  const x = c.x.toArray();
  let state: [tf.Tensor2D, tf.Tensor2D] = [tf.zeros([B, H]), tf.zeros([B, H])];
  for (let t = 0; t < 3; t++) {
    const step = tf.tensor2d(x.slice(t * B * D, (t + 1) * B * D), [B, D]);
    state = tf.basicLSTMCell(
      tf.scalar(1),
      kernel.toTensor() as tf.Tensor2D,
      bias.toTensor() as tf.Tensor1D,
      step,
      ...state,
    );
    const want = state[1].dataSync();
    const got = output.toArray().slice(t * B * H, (t + 1) * B * H);
    // f32 on both sides, sums of nine terms of about unit size
    for (let i = 0; i < want.length; i++) expect(Math.abs(got[i] - want[i])).toBeLessThan(5e-6);
  }
  const cell = state[0].dataSync();
  for (let i = 0; i < cell.length; i++) expect(Math.abs(last.c.f32[i] - cell[i])).toBeLessThan(1e-5);
});

test("without weights and with a forget bias of 1, c_t = sigmoid(1)^t c_0 and h_t = tanh(c_t) / 2", () => {
  const [T, B, H] = [5, 2, 3];
  const bias = zeros([4 * H]);
  bias.f32.fill(1, H, 2 * H);
  const c: Case = { x: random([T * B, 4]), input: zeros([4 * H, 4]), hidden: zeros([4 * H, H]), bias, batch: B };
  const start = { h: random([B, H]), c: random([B, H]) };
  const before = start.c.toArray();
  const { output } = run(c, start);
  const got = output.toArray();
  const keep = 1 / (1 + Math.exp(-1));
  for (let t = 1; t <= T; t++) {
    for (let i = 0; i < B * H; i++) {
      const cell = keep ** t * before[i];
      expect(Math.abs(got[(t - 1) * B * H + i] - Math.tanh(cell) / 2)).toBeLessThan(1e-6);
    }
  }
});

test("an input of the wrong width or length says what was expected", () => {
  const c = draw(2, 3, 4, 5);
  expect(() => run({ ...c, x: random([6, 3]) })).toThrow(/expected inputs \[T x 3, 4\].*got \[6, 3\]/);
  expect(() => run({ ...c, x: random([5, 4]) })).toThrow(/got \[5, 4\]/);
});

test("dot attention: gradients, and the formula for each sequence", () => {
  const [B, Tq, Tk, H] = [2, 3, 4, 5];
  const q = random([Tq * B, H]);
  const m = random([Tk * B, H]);
  checkGradients([q, m], () => weigh(dotAttention(q, m, B)));
  const y = dotAttention(q, m, B).toArray();
  for (let b = 0; b < B; b++) {
    for (let t = 0; t < Tq; t++) {
      const row = (x: Tensor, step: number): number[] => [
        ...x.toArray().slice((step * B + b) * H, (step * B + b + 1) * H),
      ];
      const query = row(q, t);
      const scores = Array.from({ length: Tk }, (_, s) =>
        Math.exp(row(m, s).reduce((sum, v, k) => sum + v * query[k], 0)),
      );
      const all = scores.reduce((a, s) => a + s, 0);
      for (let k = 0; k < H; k++) {
        const want = scores.reduce((sum, s, j) => sum + (s / all) * row(m, j)[k], 0);
        expect(Math.abs(y[(t * B + b) * H + k] - want)).toBeLessThan(1e-5);
      }
    }
  }
  // One state to look at is what every query sees.
  const one = dotAttention(q, full([B, H], 0.25), B).toArray();
  expect([...new Set(one)]).toEqual([0.25]);
});
