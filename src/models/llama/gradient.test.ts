/** The tape over a whole Llama: gradients of the loss against finite differences, for every kind of parameter. */
import { afterAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { add, scale } from "../../nn/ops/elementwise.ts";
import { crossEntropy, distillation } from "../../nn/ops/loss.ts";
import type { Parameter } from "../../nn/optimiser.ts";
import { type LlamaConfig, llamaTensorShapes } from "./config.ts";
import { assembleLlama, forwardLogits, ropeTables } from "./model.ts";
import { makeParameters } from "./parameters.ts";
import { tinyConfig, tinyValues } from "./tiny.ts";

afterAll(shutdown);

const BATCH = 2;
const TOKENS = 9;
const VOCABULARY = 23;

interface Setting {
  readonly parameters: readonly Parameter[];
  readonly loss: () => Tensor;
}

function setting(config: LlamaConfig, distill: boolean): Setting {
  const parameters = makeParameters(config, (name, values, shape) => values.set(tinyValues(name, shape)));
  const byName = new Map(parameters.map((p) => [p.name, p.value]));
  const model = assembleLlama(config, (name) => byName.get(name) as Tensor);
  const tables = ropeTables(config, TOKENS);
  const draws = stream(7, "ids");
  const ids = Int32Array.from({ length: BATCH * TOKENS }, (_, i) => draws.below(i, config.vocabSize));
  const targets = Int32Array.from(ids, (_, i) => (i === 5 ? -1 : draws.below(1000 + i, config.vocabSize)));
  const size = ids.length * config.vocabSize;
  const teacher = Float32Array.from({ length: size }, (_, i) => draws.normal(10_000 + i));
  const loss = (): Tensor => {
    const logits = forwardLogits(model, tables, ids, BATCH);
    const ce = crossEntropy(logits, tensor(targets));
    if (!distill) return ce;
    return add(scale(ce, 0.3), scale(distillation(logits, tensor(teacher, logits.shape), 2), 0.7));
  };
  return { parameters, loss };
}

/** f'(0) by the five-point formula, whose error is h^4 f^(5) / 30. */
function slope(f: (h: number) => number, h: number): number {
  return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
}

/** The same through the engine: the loss along a unit direction of one parameter. */
function slopeAlong(p: Parameter, direction: Float64Array, loss: () => Tensor): number {
  const at = p.value.toArray();
  // The loss, about 5, comes from f32 rows: noise of some 2e-7, over 0.03 that is 1e-5. Truncation is below it.
  const value = slope((h) => {
    p.value.f32.set(at.map((w, i) => w + h * direction[i]));
    return scope(() => loss().item());
  }, 0.03);
  p.value.f32.set(at);
  return value;
}

const norm = (g: ArrayLike<number>): number => Math.sqrt(Array.from(g).reduce((sum, x) => sum + x * x, 0));

function directions(g: Float32Array, name: string): { what: string; v: Float64Array }[] {
  const size = norm(g);
  const order = Array.from(g.keys()).sort((a, b) => Math.abs(g[b]) - Math.abs(g[a]));
  const draws = stream(3, name);
  const random = Float64Array.from(g, (_, i) => draws.normal(i));
  const randomSize = norm(random);
  const unit = (i: number): Float64Array => Float64Array.from(g, (_, k) => (k === i ? 1 : 0));
  return [
    { what: "gradient", v: Float64Array.from(g, (x) => x / size) },
    { what: "random", v: random.map((x) => x / randomSize) },
    { what: "largest", v: unit(order[0]) },
    { what: "median", v: unit(order[order.length >> 1]) },
    { what: "drawn", v: unit(draws.below(1_000_000, g.length)) },
  ];
}

const SETTINGS: Record<string, Partial<LlamaConfig>> = {
  "Llama, grouped queries, untied head": {},
  "Llama, tied head, all biases": { tied: true, attentionBias: true, outputBias: true, mlpBias: true, kvHeads: 4 },
  "Qwen2, one KV head, wide heads, scaled positions": {
    modelType: "qwen2",
    attentionBias: true,
    kvHeads: 1,
    headWidth: 12,
    ropeScaling: { type: "linear", factor: 2 },
  },
};

for (const [label, fields] of Object.entries(SETTINGS)) {
  for (const distill of [false, true]) {
    test(`gradients of ${distill ? "distillation and " : ""}cross-entropy: ${label}`, async () => {
      await init({ threads: 1 });
      const config = tinyConfig({ vocabSize: VOCABULARY, ...fields });
      const { parameters, loss } = setting(config, distill);
      expect(parameters.map((p) => p.name)).toEqual([...llamaTensorShapes(config).keys()]);
      const wrt = parameters.map((p) => p.value);
      const gradientsNow = (): Float32Array[] => scope(() => valueAndGrad(loss, wrt).gradients.map((g) => g.toArray()));
      const gradients = gradientsNow();
      const live = memory.live; // the first pass has put the kernels there
      expect(gradientsNow()).toEqual(gradients);
      expect(memory.live).toBe(live);
      const rows: string[] = [];
      parameters.forEach((p, k) => {
        const g = gradients[k];
        const size = norm(g);
        for (const { what, v } of directions(g, p.name)) {
          const want = slopeAlong(p, v, loss);
          const got = g.reduce((sum, x, i) => sum + x * v[i], 0);
          // A wrong term shows as a share of the gradient's norm; 4e-5 is four times the noise of the slope.
          if (!(Math.abs(got - want) <= 1e-3 * size + 4e-5)) rows.push(`${p.name} ${what}: ${got} for ${want}`);
        }
        expect(size, p.name).toBeGreaterThan(1e-3);
      });
      expect(rows).toEqual([]);
    });
  }
}
