/** Products: Lacuna's seat computes what it is loaded with, in every form, and a wrong product is refused. */
import { afterAll, expect, test } from "vitest";
import { memory, shutdown } from "../../../src/core/engine.ts";
import { LAYOUT_NAMES } from "../../../src/kernels/sparse/layouts.ts";
import type { Form } from "../../../src/runtime/layer.ts";
import { matMulModel, ortSession } from "../peers/ort.ts";
import { checkProduct, copiesOf, inputOf, type ProductCase, transposed, weightOf, worstError } from "./case.ts";
import { open } from "./lacuna.ts";

afterAll(shutdown);

const of = (form: Form | "calls", density: number): ProductCase => ({
  id: form,
  tokens: 9,
  out: 21,
  in: 48,
  form,
  density,
});
const cases = [
  ...(["stored", "packed", "calls"] as const).map((form) => of(form, 1)),
  ...LAYOUT_NAMES.map((form) => of(form, 0.5)),
];

test("every form computes its drawn weight, call after call, and gives its memory back", async () => {
  const products = await open({ threads: 1, floor: 0 });
  const live = memory.live;
  for (const c of cases) {
    await products.load(c);
    for (let i = 0; i < copiesOf(c) + 1; i++) products.run(c.id);
    const y = await products.sample(c.id);
    checkProduct(c.form, c, y);
    y[0] += 0.01;
    expect(() => checkProduct(c.form, c, y)).toThrow(/is wrong by/);
    await products.unload(c.id);
  }
  expect(worstError(of("packed", 1), new Float32Array(9 * 21).fill(Number.NaN))).toBeNaN();
  expect(() => checkProduct("nan", of("packed", 1), new Float32Array(9 * 21).fill(Number.NaN))).toThrow();
  expect(worstError(of("packed", 1), new Float32Array(9 * 20))).toBe(Number.POSITIVE_INFINITY);
  // Code of kernels may stay; weights and activations may not.
  expect(memory.live - live).toBeLessThan(64 * 1024);
});

test("the model of one product is what onnxruntime computes", async () => {
  const c = of("packed", 1);
  const session = await ortSession("node", matMulModel(transposed(weightOf(c, 1), c.out, c.in), c.in, c.out));
  const { y } = await session.run({ x: { data: inputOf(c, 1), dims: [c.tokens, c.in] } });
  checkProduct("onnxruntime-node", c, y);
  await session.free();
});
