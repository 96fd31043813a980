/** The methods as a caller sees them: shapes, counts, shared statistics, names. */
import { afterAll, describe, expect, test } from "vitest";
import { memory, shutdown } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { keepCounts, uniform } from "../../sparsity/budget.ts";
import { obeys } from "../../sparsity/mask.ts";
import { parsePattern } from "../../sparsity/pattern.ts";
import { type LayerInput, type LayerStatistics, magnitude, methodNamed, methods, sparsegpt, wanda } from "./index.ts";

afterAll(shutdown);

const shape = { name: "model.layers.0.mlp.up_proj", rows: 12, columns: 32 };
let state = 99;
const random = (): number => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 31 - 1;
};
const weights = Float32Array.from({ length: shape.rows * shape.columns }, random);
/** tokens of inputs of very different loudness; input 7 is always 0 */
const tokens = 200;
const x = Float32Array.from({ length: tokens * 32 }, (_, i) => (i % 32 === 7 ? 0 : random() * 2 ** (i % 5)));
const norms = Float64Array.from({ length: 32 }, (_, j) => {
  let sum = 0;
  for (let t = 0; t < tokens; t++) sum += x[t * 32 + j] ** 2;
  return Math.sqrt(sum);
});

function gramOf(scale = 1): { ptr: number } {
  const gram = { ptr: memory.alloc(32 * 32 * 8) };
  const g = memory.f64(gram.ptr, 32 * 32);
  for (let i = 0; i < 32; i++) {
    for (let j = 0; j < 32; j++) {
      let sum = 0;
      for (let t = 0; t < tokens; t++) sum += x[t * 32 + i] * x[t * 32 + j];
      g[i * 32 + j] = scale * sum;
    }
  }
  return gram;
}

const layer = (text: string, sparsity: number, statistics: LayerStatistics = {}): LayerInput => {
  const pattern = parsePattern(text);
  const keep = keepCounts(uniform, [shape], pattern, sparsity)[0];
  return { shape, weights, pattern, keep, statistics, seed: 0 };
};

describe.each(methods)("$id", (method) => {
  test.each(["unstructured", "2:4", "4:8", "4x1", "1x16", "2:4@4x1"])(
    "%s: half of the weights, whole units",
    (text) => {
      const before = weights.slice();
      const statistics: LayerStatistics = { norms, gram: gramOf() };
      const { weights: out, mask } = method.prune(layer(text, 0.5, statistics));
      expect(weights).toEqual(before);
      expect(mask.kept).toBe(weights.length / 2);
      expect(obeys(mask, parsePattern(text), shape)).toBe(true);
      for (const [i, bit] of mask.bits.entries()) if (bit === 0) expect(Object.is(out[i], 0)).toBe(true);
      memory.free(statistics.gram?.ptr as number);
    },
  );

  test("names its paper and what it needs of the walk", () => {
    expect(method.paper.year).toBeGreaterThan(1980);
    expect(method.paper.arxiv).toMatch(/^\d{4}\.\d{4,5}$/);
    expect(methodNamed(method.id)).toBe(method);
  });
});

test("magnitude keeps the largest of the whole matrix, values untouched", () => {
  const { weights: out, mask } = magnitude.prune(layer("unstructured", 0.75));
  const sizes = Array.from(weights, Math.abs).sort((a, b) => b - a);
  const least = sizes[weights.length / 4 - 1];
  expect([...out]).toEqual(Array.from(weights, (w) => (Math.abs(w) >= least ? w : 0)));
  expect(mask.kept).toBe(weights.length / 4);
});

test("Wanda keeps the same count in every row; with equal norms it is magnitude per row", () => {
  const { mask } = wanda.prune(layer("unstructured", 0.6, { norms }));
  for (let r = 0; r < 12; r++) expect(mask.bits.subarray(32 * r, 32 * r + 32).reduce((a, b) => a + b, 0)).toBe(32 - 19);
  const equal = wanda.prune(layer("unstructured", 0.5, { norms: new Float64Array(32).fill(0.3) }));
  for (let r = 0; r < 12; r++) {
    const row = Array.from(weights.subarray(32 * r, 32 * r + 32), Math.abs);
    const least = [...row].sort((a, b) => b - a)[15];
    expect([...equal.mask.bits.subarray(32 * r, 32 * r + 32)]).toEqual(row.map((w) => Number(w >= least)));
  }
});

test("SparseGPT: the scale of the Gram matrix does not matter", () => {
  const one = sparsegpt.prune(layer("unstructured", 0.5, { gram: gramOf() }));
  const other = sparsegpt.prune(layer("unstructured", 0.5, { gram: gramOf(2 ** -10) }));
  expect(other.mask).toEqual(one.mask);
  expect(other.weights).toEqual(one.weights); // a power of four scales every step exactly
});

test("SparseGPT: a dead input loses its weights and is counted", () => {
  const { weights: out, notes } = sparsegpt.prune(layer("unstructured", 0.2, { gram: gramOf() }));
  expect(notes.deadInputs).toBe(1);
  for (let r = 0; r < 12; r++) expect(out[r * 32 + 7]).toBe(0);
});

test("SparseGPT: layers that share an input factor its Gram matrix once", () => {
  const gram = gramOf();
  const first = sparsegpt.prune(layer("2:4", 0.5, { gram }));
  const factored = memory.f64(gram.ptr, 32 * 32).slice();
  const second = sparsegpt.prune(layer("2:4", 0.5, { gram }));
  expect(memory.f64(gram.ptr, 32 * 32)).toEqual(factored);
  expect(second.weights).toEqual(first.weights);
});

test("unknown names are met with the near one; missing statistics with a defect", () => {
  expect(() => methodNamed("wnada")).toThrow(LacunaError);
  expect(() => methodNamed("wnada")).toThrow(/Did you mean wanda\?/);
  expect(() => methodNamed("sparse-gpt")).toThrow(/Did you mean sparsegpt\?/);
  expect(methodNamed("Wanda")).toBe(wanda);
  expect(() => wanda.prune(layer("2:4", 0.5))).toThrow(/up_proj.*"norms"/);
});
