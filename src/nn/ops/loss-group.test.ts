/** Cross-entropy within groups: against the plain loss of a group's own columns, and by differences. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { checkGradients, drawer } from "./gradient-check.ts";
import { crossEntropy } from "./loss.ts";
import { groupCrossEntropy, groupOfClass } from "./loss-group.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const groups = groupOfClass(5, [
  [0, 1],
  [2, 4],
]);

test("classes of a list share a group, the others stand alone", () => {
  expect([...groups]).toEqual([0, 0, 1, 5, 1]);
});

test("rows of one group: the plain loss of its columns, no gradient elsewhere", () => {
  const logits = drawer(3)([4, 5], 2);
  const labels = [2, 4, 4, 2];
  const { value, gradients } = valueAndGrad(
    () => groupCrossEntropy(logits, tensor(Int32Array.from(labels)), groups),
    [logits],
  );
  const own = tensor(
    Float32Array.from({ length: 8 }, (_, i) => logits.f32[5 * (i >> 1) + (i % 2 === 0 ? 2 : 4)]),
    [4, 2],
  );
  const plain = valueAndGrad(() => crossEntropy(own, tensor(Int32Array.from(labels, (l) => (l === 2 ? 0 : 1)))), [own]);
  // both in f32 at the end, values of about unit size
  expect(Math.abs(value.item() - plain.value.item())).toBeLessThan(1e-6);
  const g = gradients[0].toArray();
  const want = plain.gradients[0].toArray();
  for (let r = 0; r < 4; r++) {
    expect([0, 1, 3].map((c) => g[5 * r + c])).toEqual([0, 0, 0]);
    expect(Math.abs(g[5 * r + 2] - want[2 * r])).toBeLessThan(1e-6);
    expect(Math.abs(g[5 * r + 4] - want[2 * r + 1])).toBeLessThan(1e-6);
  }
});

test("rows of several groups: gradients by differences; one group of all is the plain loss", () => {
  const logits = drawer(4)([6, 5]);
  const labels = tensor(Int32Array.of(0, 1, 2, 3, 4, 0));
  checkGradients([logits], () => groupCrossEntropy(logits, labels, groups));
  const all = groupCrossEntropy(logits, labels, new Int32Array(5));
  expect(Math.abs(all.item() - crossEntropy(logits, labels).item())).toBeLessThan(1e-6);
  expect(() => groupCrossEntropy(logits, tensor(Int32Array.of(0)), groups)).toThrow(/within groups/);
});
