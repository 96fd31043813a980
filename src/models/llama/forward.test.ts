/** The engine's forward pass against the f64 twin, on random models of every kind the family has. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import type { WeightSource } from "../../formats/weights.ts";
import { type LlamaConfig, llamaTensorShapes } from "./config.ts";
import { disposeLlama, loadLlama, readValues } from "./load.ts";
import { forwardLogits, ropeTables } from "./model.ts";
import { tinyConfig, tinyWeights } from "./tiny.ts";
import { twinLogits } from "./twin.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

async function inF64(source: WeightSource, config: LlamaConfig): Promise<Map<string, Float64Array>> {
  const values = new Map<string, Float64Array>();
  for (const [name, shape] of llamaTensorShapes(config)) {
    values.set(name, Float64Array.from(await readValues(source, name, shape)));
  }
  return values;
}

const llama3 = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 32 } as const;
const KINDS: Record<string, Partial<LlamaConfig>> = {
  "Llama, grouped queries": {},
  "Llama, one head each, tied, biases everywhere": {
    kvHeads: 4,
    tied: true,
    attentionBias: true,
    outputBias: true,
    mlpBias: true,
  },
  "Llama 3 scaling": { ropeScaling: llama3, ropeTheta: 500_000, headWidth: 16, kvHeads: 1 },
  "Qwen2, linear scaling": {
    modelType: "qwen2",
    attentionBias: true,
    tied: true,
    normEps: 1e-6,
    ropeScaling: { type: "linear", factor: 4 },
  },
  "wide feed-forward, three blocks": { layers: 3, feedForward: 100, width: 32, heads: 2, kvHeads: 2, headWidth: 20 },
};

for (const [kind, fields] of Object.entries(KINDS)) {
  for (const dtype of ["F32", "BF16"] as const) {
    test(`logits agree with the twin: ${kind}, ${dtype}`, async () => {
      const config = tinyConfig(fields);
      const source = await tinyWeights(config, { seed: 5, dtype });
      const values = await inF64(source, config);
      const model = await loadLlama(source, config);
      const tables = ropeTables(config, 40);
      // 1 and 7 tokens take the product of few tokens, 40 the other, three sequences together the batched attention.
      for (const [batch, tokens] of [
        [1, 1],
        [1, 7],
        [1, 40],
        [3, 33],
      ]) {
        const draws = stream(tokens, "ids");
        const ids = Int32Array.from({ length: batch * tokens }, (_, i) => draws.below(i, config.vocabSize));
        const got = scope(() => forwardLogits(model, tables, ids, batch).toArray());
        for (let b = 0; b < batch; b++) {
          const want = twinLogits(config, values, ids.subarray(b * tokens, (b + 1) * tokens));
          const scale = Math.sqrt(want.reduce((sum, x) => sum + x * x, 0) / want.length);
          const off = want.reduce((most, x, i) => Math.max(most, Math.abs(got[b * want.length + i] - x)), 0);
          // Both start from the same stored weights. In f32 a few hundred roundings of 6e-8 lie on the way of a logit,
          // and a norm or softmax may enlarge them some tenfold; a wrong formula is off by 1e-2 and more.
          expect(off / scale).toBeLessThan(1e-4);
        }
      }
      disposeLlama(model);
      tables.cos.dispose();
      tables.sin.dispose();
    });
  }
}
