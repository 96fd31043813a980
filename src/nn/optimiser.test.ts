/** Optimisers against tfjs-core's, their plain twins, and what masks promise. */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-cpu";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import * as plain from "../kernels/optimiser/plain.ts";
import { drawer } from "./ops/gradient-check.ts";
import { Adam, AdamW, type Off, type Optimiser, type Parameter, Sgd } from "./optimiser.ts";

tf.enableProdMode();
beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const random = drawer(61);
const N = 21;

const parameter = (name: string, value: Tensor, extra: Partial<Parameter> = {}): Parameter => ({
  name,
  value,
  decay: true,
  ...extra,
});

/** The same gradients for ours and tfjs-core's over some steps; f32 on both sides. */
function followed(ours: (p: Parameter) => Optimiser, theirs: tf.Optimizer, rate: number): void {
  const p = parameter("w", random([N]));
  const optimiser = ours(p);
  const variable = tf.variable(tf.tensor1d(p.value.toArray()), true, `w${Math.abs(p.value.f32[0])}`);
  for (let step = 0; step < 12; step++) {
    const g = random([N]);
    optimiser.step([g], rate);
    theirs.applyGradients({ [variable.name]: tf.tensor1d(g.toArray()) });
  }
  const want = variable.dataSync();
  p.value.toArray().forEach((v, i) => {
    expect(Math.abs(v - want[i]), `element ${i}`).toBeLessThan(5e-6);
  });
}

describe("as tfjs-core has them", () => {
  test("gradient descent", () => followed((p) => new Sgd([p]), tf.train.sgd(0.1), 0.1));
  test("momentum", () => followed((p) => new Sgd([p], { momentum: 0.9 }), tf.train.momentum(0.05, 0.9), 0.05));
  test("Nesterov's", () =>
    followed((p) => new Sgd([p], { momentum: 0.9, nesterov: true }), tf.train.momentum(0.05, 0.9, true), 0.05));
  test("Adam", () => followed((p) => new Adam([p]), tf.train.adam(0.01, 0.9, 0.999, 1e-8), 0.01));
});

test("decay: AdamW on the weight, Adam and momentum in the gradient; never where a parameter is without", () => {
  const settings = { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.3, gradScale: 1 };
  const rules: [(p: Parameter[]) => Optimiser, (x: number, g: number, m: number, v: number, t: number) => number[]][] =
    [
      [
        (p) => new AdamW(p, { beta2: 0.99, weightDecay: 0.3, clip: 0 }),
        (x, g, m, v, t) =>
          plain.adamw(x, g, m, v, { ...settings, correction1: 1 / (1 - 0.9 ** t), correction2: 1 / (1 - 0.99 ** t) }),
      ],
      [
        (p) => new Adam(p, { beta2: 0.99, weightDecay: 0.3 }),
        (x, g, m, v, t) =>
          plain.adam(x, g, m, v, { ...settings, correction1: 1 / (1 - 0.9 ** t), correction2: 1 / (1 - 0.99 ** t) }),
      ],
      [
        (p) => new Sgd(p, { momentum: 0.8, weightDecay: 0.3 }),
        (x, g, m) => plain.sgd(x, g, m, { lr: 0.01, momentum: 0.8, decay: 0.3, gradScale: 1, nesterov: false }),
      ],
    ];
  for (const [make, twin] of rules) {
    const p = parameter("w", random([N]));
    const free = parameter("b", random([N]), { decay: false });
    const untouched = free.value.toArray();
    let state = Array.from(p.value.toArray(), (x) => [x, 0, 0]);
    const optimiser = make([p, free]);
    for (let t = 1; t <= 8; t++) {
      const g = random([N]);
      optimiser.step([g, tensor(new Float32Array(N))], 0.01);
      state = state.map(([x, m, v], i) => twin(x, g.f32[i], m, v, t));
    }
    // some 30 roundings of values of about unit size
    state.forEach(([x], i) => {
      expect(Math.abs(p.value.f32[i] - x), `element ${i}`).toBeLessThan(3e-6);
    });
    expect(free.value.toArray()).toEqual(untouched);
    optimiser.dispose();
  }
});

const rules: Record<string, (p: Parameter[]) => Optimiser> = {
  AdamW: (p) => new AdamW(p),
  Adam: (p) => new Adam(p, { weightDecay: 0.1 }),
  "gradient descent": (p) => new Sgd(p, { weightDecay: 0.1 }),
  Nesterov: (p) => new Sgd(p, { momentum: 0.9, nesterov: true, weightDecay: 0.1 }),
};

describe.each(Object.entries(rules))("masks under %s", (_, make) => {
  const bits = Uint8Array.from({ length: N }, (_, i) => (i % 3 === 0 ? 0 : 1));

  function trained(off: Off | "dense"): { before: Float32Array; after: Float32Array; slots: Float32Array[] } {
    const draws = drawer(71);
    const value = draws([N]);
    const before = value.toArray();
    const p = parameter("w", value, off === "dense" ? {} : { mask: tensor(bits), off });
    const optimiser = make([p]);
    // The gradient at masked places is large, so that a clipped norm that counted it would show.
    for (let t = 0; t < 5; t++) optimiser.step([draws([N], 0.05)], 0.01);
    const slots = optimiser.slotNames.map((name) => optimiser.slot(p, name).toArray());
    return { before, after: value.toArray(), slots };
  }

  test("zero: value and state are 0; held: the value stays; live: as without a mask", () => {
    const dense = trained("dense");
    const zero = trained("zero");
    const held = trained("held");
    const live = trained("live");
    expect(live).toEqual(dense);
    bits.forEach((kept, i) => {
      if (kept === 1) {
        expect([zero.after[i], held.after[i]]).toEqual([dense.after[i], dense.after[i]]);
      } else {
        expect([zero.after[i], held.after[i]]).toEqual([0, held.before[i]]);
        for (const { slots } of [zero, held]) for (const s of slots) expect(s[i]).toBe(0);
      }
    });
  });
});

test("clipping counts kept gradients only where asked to, and scales by the norm", () => {
  const bits = Uint8Array.of(1, 1, 0);
  const gradient = tensor(Float32Array.of(3, 4, 12));
  const step = (clipOver: "all" | "kept", off: Off): { norm: number; value: Float32Array } => {
    const p = parameter("w", tensor(Float32Array.of(0, 0, 0)), { mask: tensor(bits), off });
    const norm = new Sgd([p], { clip: 1, clipOver }).step([gradient], 1);
    return { norm, value: p.value.toArray() };
  };
  expect(step("kept", "zero").norm).toBe(5);
  expect(step("kept", "held").norm).toBe(5);
  expect(step("kept", "live").norm).toBe(13);
  expect(step("all", "zero").norm).toBe(13);
  expect([...step("kept", "zero").value]).toEqual([Math.fround(-0.6), Math.fround(-0.8), 0]);
});

test("state can be read, zeroed and set: a run that goes on from it is the run that never stopped", () => {
  const gradients = Array.from({ length: 6 }, () => random([N]));
  const start = random([N]).toArray();
  const fresh = (): Parameter => parameter("w", tensor(start.slice()));
  const whole = fresh();
  const through = new Adam([whole], { weightDecay: 0.1 });
  for (const g of gradients) through.step([g], 0.02);

  const half = fresh();
  const first = new Adam([half], { weightDecay: 0.1 });
  for (const g of gradients.slice(0, 3)) first.step([g], 0.02);
  const again = parameter("w", tensor(half.value.toArray()));
  const second = new Adam([again], { weightDecay: 0.1 });
  for (const name of second.slotNames) second.slot(again, name).f32.set(first.slot(half, name).f32);
  second.steps = first.steps;
  for (const g of gradients.slice(3)) second.step([g], 0.02);
  expect(again.value.toArray()).toEqual(whole.value.toArray());

  // One step count for all: a weight whose state was zeroed moves by about (1 - b1) / sqrt(1 - b2) of the rate at first.
  through.slot(whole, "m").f32.fill(0);
  through.slot(whole, "v").f32.fill(0);
  through.steps = 1e6;
  const before = whole.value.toArray();
  const quiet = new Adam([whole]);
  quiet.steps = 1e6;
  quiet.step([tensor(new Float32Array(N).fill(0.5))], 0.001);
  whole.value.toArray().forEach((v, i) => {
    expect((before[i] - v) / 0.001).toBeCloseTo(0.1 / Math.sqrt(0.001), 2);
  });
});

test("a gradient that is not finite stops training with advice", () => {
  const p = parameter("w", random([N]));
  const g = random([N]);
  g.f32[3] = Number.NaN;
  expect(() => new Sgd([p]).step([g], 0.1)).toThrow(/training, step 1: expected a finite gradient norm, got NaN/);
});
