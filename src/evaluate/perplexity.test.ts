import { afterAll, beforeEach, expect, test } from "vitest";
import { init, memory, shutdown } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { layOver } from "../formats/overlay.ts";
import { llamaPrunable, llamaTensorShapes } from "../models/llama/config.ts";
import { readValues } from "../models/llama/load.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import { twinPerplexity } from "../models/llama/twin.ts";
import type { Model } from "../models/model.ts";
import { perplexity } from "./perplexity.ts";

// One thread: what threads change is tested where it is the question.
beforeEach(() => init({ threads: 1 }));
afterAll(shutdown);

async function twin(model: Model, ids: Int32Array, length: number) {
  const values = new Map<string, Float64Array>();
  for (const [name, shape] of llamaTensorShapes(model.config)) {
    values.set(name, Float64Array.from(await readValues(model.weights, name, shape)));
  }
  return twinPerplexity(model.config, values, ids, length);
}

const TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom. ".repeat(3);

/** Every third bf16 weight of the linears is 0. */
async function thinned(model: Model): Promise<Model> {
  const sparse = new Map<string, Uint8Array>();
  for (const name of llamaPrunable(model.config)) {
    const bytes = (await model.weights.read(name)).slice();
    for (let i = 0; i < bytes.length; i += 6) bytes.fill(0, i, i + 2);
    sparse.set(name, bytes);
  }
  return { ...model, weights: layOver(model.weights, sparse) };
}

test("perplexity of dense and pruned models agrees with the f64 twin", async () => {
  for (const fields of [{ tied: true }, { modelType: "qwen2", attentionBias: true } as const]) {
    const dense = await tinyModel(fields, { dtype: "BF16" });
    for (const model of [dense, await thinned(dense)]) {
      const got = await perplexity(model, TEXT, { length: 32 });
      const ids = model.tokenizer.encodeFile(TEXT).ids;
      const want = await twin(model, ids, 32);
      expect(got.tokens).toBe(want.tokens);
      // The promise is 0.1 %; f32 logits of relative error 1e-6 leave far less.
      expect(Math.abs(got.nll / want.nll - 1)).toBeLessThan(1e-5);
      expect(Math.abs(got.perplexity / want.perplexity - 1)).toBeLessThan(1e-4);
      expect(got.windows).toBe(Math.floor(ids.length / 32));
      // The byte tokenizer: one token a byte.
      expect(got.bitsPerByte).toBeCloseTo(got.nll / Math.LN2, 10);
    }
  }
});

test("a large vocabulary is scored in pieces of logits, a short text as one ragged window", async () => {
  // 64 MiB of logits hold 279 rows of this vocabulary; the window has 299.
  const model = await tinyModel({ vocabSize: 60_000, maxPositions: 300, layers: 1, width: 4, tied: true });
  const draws = stream(4, "ids");
  const ids = Int32Array.from({ length: 299 }, (_, i) => draws.below(i, 60_000));
  const got = await perplexity(model, { ids });
  const want = await twin(model, ids, 300);
  expect([got.tokens, got.windows, got.bitsPerByte]).toEqual([298, 1, null]);
  expect(Math.abs(got.nll / want.nll - 1)).toBeLessThan(1e-5);
});

test("the same bits for any number of threads, and no memory is kept", async () => {
  const results: number[] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    const model = await tinyModel({ width: 96, feedForward: 160, heads: 4, kvHeads: 4, headWidth: 24 });
    results.push((await perplexity(model, TEXT, { length: 64 })).nll);
    const { live } = memory;
    results.push((await perplexity(model, TEXT, { length: 64 })).nll);
    expect(memory.live).toBe(live);
  }
  expect(new Set(results).size).toBe(1);
});

test("says what is wrong", async () => {
  const model = await tinyModel();
  await expect(perplexity(model, "")).rejects.toThrow(/text: expected .*got an empty text/);
  await expect(perplexity(model, { ids: Int32Array.of(1, 257, 2) })).rejects.toThrow(/token 1.*\[0, 257\)/);
  await expect(perplexity(model, TEXT, { length: 65 })).rejects.toThrow(/length: expected at most 64/);
  await expect(perplexity(model, TEXT, { length: 1 })).rejects.toThrow(/length/);
  await expect(perplexity(model, TEXT, { windows: 0 })).rejects.toThrow(/windows/);
  const stop = new AbortController();
  stop.abort(new Error("enough"));
  await expect(perplexity(model, TEXT, { signal: stop.signal })).rejects.toThrow("enough");
});
