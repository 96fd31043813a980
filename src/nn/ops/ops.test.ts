/** Every gradient against central differences of an f64 formula or of the operation itself. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { full, tensor } from "../../core/tensor.ts";
import { attention, rope } from "./attention.ts";
import { add, addRow, mul, scale, siluGate, sub } from "./elementwise.ts";
import { embedding } from "./embedding.ts";
import { checkGradients, drawer, weigh } from "./gradient-check.ts";
import { linear } from "./linear.ts";
import { crossEntropy, distillation, total } from "./loss.ts";
import { rmsNorm } from "./norm.ts";

beforeAll(() => init({ threads: 2 }));
afterAll(shutdown);

const random = drawer(11);
const check = checkGradients;

test("elementwise operations", () => {
  const a = random([3, 5]);
  const b = random([3, 5]);
  const row = random([5]);
  check([a, b], () => weigh(add(a, b)));
  check([a, b], () => weigh(sub(a, b)));
  check([a, b], () => weigh(mul(a, b)));
  check([a], () => weigh(scale(a, -1.7)));
  check([a, row], () => weigh(addRow(a, row)));
  check([a, b], () => weigh(siluGate(a, b)));
});

test("a tensor that is used twice gets the sum of both gradients", () => {
  const a = random([4, 3]);
  check([a], () => weigh(add(mul(a, a), a)));
});

test("linear, RMSNorm, embedding", () => {
  const x = random([7, 12]);
  const w = random([9, 12], 0.3);
  check([x, w], () => weigh(linear(x, w)));
  const g = random([12]);
  check([x, g], () => weigh(rmsNorm(x, g, 1e-5)));
  const table = random([6, 8]);
  check([table], () => weigh(embedding(table, tensor(Int32Array.of(3, 1, 3, 5, 0)))));
});

test("rope and attention, grouped queries", () => {
  const [B, T, H, K, E] = [2, 5, 4, 2, 8];
  const positions = tensor(Int32Array.from({ length: B * T }, (_, i) => i % T));
  const angles = Float32Array.from({ length: (T * E) / 2 }, (_, i) => 0.3 * i);
  const tables = { cos: tensor(angles.map(Math.cos), [T, E / 2]), sin: tensor(angles.map(Math.sin), [T, E / 2]) };
  const q = random([B * T, H * E]);
  const k = random([B * T, K * E]);
  const v = random([B * T, K * E]);
  check([q], () => weigh(rope(q, tables, positions, H)));
  check([q, k, v], () => weigh(attention(q, k, v, { batch: B, tokens: T, heads: H, kvHeads: K, headWidth: E })));
});

test("cross-entropy counts only rows with a target, and distillation has no gradient for the teacher", () => {
  const logits = random([5, 11]);
  const targets = tensor(Int32Array.of(3, -1, 0, 10, 7));
  check([logits], () => crossEntropy(logits, targets), 1e-3);
  const teacher = random([5, 11]);
  check([logits], () => distillation(logits, teacher, 2), 1e-3);
  expect(distillation(logits, logits).item()).toBeCloseTo(0, 6);
});

test("a uniform prediction costs ln V, whatever the shift of the logits", () => {
  const targets = tensor(Int32Array.from({ length: 4 }, (_, i) => i));
  // Around 1000 neighbouring f32 numbers are 6e-5 apart.
  expect(Math.abs(crossEntropy(full([4, 50], 1e3), targets).item() - Math.log(50))).toBeLessThan(1e-4);
});

test("sums do not depend on the number of threads", async () => {
  const values = Float32Array.from({ length: 100_003 }, (_, i) => Math.sin(i));
  const results: number[] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    results.push(total(tensor(values)));
  }
  expect(new Set(results).size).toBe(1);
});
