import { afterAll, beforeAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../../core/engine.ts";
import { perplexity } from "../../evaluate/perplexity.ts";
import { layOver } from "../../formats/overlay.ts";
import { llamaPrunable, llamaTensorShapes } from "../../models/llama/config.ts";
import { readValues } from "../../models/llama/load.ts";
import { tinyModel } from "../../models/llama/tiny.ts";
import type { Model } from "../../models/model.ts";
import { obeys } from "../../sparsity/mask.ts";
import { prune } from "../prune.ts";
import { readMask } from "../sparse-model.ts";
import { recover } from "./finetune.ts";

// One thread: what threads change is tested where it is the question.
beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs. ".repeat(30);
const calibration = { calibrate: TEXT, samples: 4, length: 32 };
const brief = { text: TEXT, batch: 4, length: 32, rate: { peak: 3e-3, floor: 0, warmup: 3 } };

const valuesOf = (model: Model, name: string): Promise<Float32Array> =>
  readValues(model.weights, name, llamaTensorShapes(model.config).get(name) as readonly number[]);

test("patterns and mask counts are those of pruning, for every pattern and method, and quality comes back", async () => {
  const dense = await tinyModel({ tied: true, layers: 2 }, { dtype: "BF16" });
  for (const [method, pattern, sparsity] of [
    ["magnitude", "unstructured", 0.7],
    ["wanda", "2:4", undefined],
    ["sparsegpt", "4x1", 0.75],
  ] as const) {
    const pruned = await prune(dense, { method, pattern, sparsity, ...calibration });
    const recovered = await recover(pruned, { ...brief, dense, steps: 30, distill: { weight: 0.3, temperature: 2 } });
    for (const name of llamaPrunable(dense.config)) {
      const [before, after] = [pruned.masks.get(name), recovered.masks.get(name)];
      if (!before || !after) throw new Error(name);
      expect(after).toEqual(before);
      const mask = readMask(after);
      expect(obeys(mask, before.pattern, { name, rows: before.rows, columns: before.columns })).toBe(true);
      const values = await valuesOf(recovered, name);
      expect(values.findIndex((v, i) => mask.bits[i] === 0 && !Object.is(v, 0))).toBe(-1);
      expect(values).not.toEqual(await valuesOf(pruned, name));
    }
    const score = { length: 32, windows: 10 };
    const [was, is] = [await perplexity(pruned, TEXT, score), await perplexity(recovered, TEXT, score)];
    // A random model that is trained 30 steps on the very text: far below half of what it was.
    expect(is.perplexity).toBeLessThan(0.5 * was.perplexity);
    expect(recovered.recovery.loss.last).toBeLessThan(recovered.recovery.loss.first);
    expect(recovered.recovery.tokens).toBe(30 * 4 * 32);
    expect(recovered.report).toMatchObject({ method, requested: pruned.report.requested });
    expect(recovered.report.layers.map((l) => l.kept)).toEqual(pruned.report.layers.map((l) => l.kept));
  }
});

test("a kept weight that is 0 may come to life, a pruned one may not", async () => {
  const name = "model.layers.0.mlp.up_proj.weight";
  const dense = await tinyModel({}, { edit: (n, values) => n === name && values.fill(0, 0, 24) });
  const [rows, columns] = llamaTensorShapes(dense.config).get(name) as [number, number];
  const bits = new Uint8Array(rows * columns).fill(1);
  bits.fill(0, 0, 12);
  const packed = Uint8Array.from({ length: bits.length / 8 }, (_, i) => (i === 0 ? 0 : i === 1 ? 0xf0 : 0xff));
  const mask = { pattern: { kind: "unstructured" } as const, rows, columns, kept: bits.length - 12, bits: packed };
  const recovered = await recover({ ...dense, masks: new Map([[name, mask]]) } as Model, { ...brief, steps: 3 });
  const values = await valuesOf(recovered, name);
  expect(values.subarray(0, 12).every((v) => v === 0)).toBe(true);
  expect(values.subarray(12, 24).every((v) => v !== 0)).toBe(true);
  expect(recovered.report).toMatchObject({ method: "given", pattern: "unstructured" });
});

test("without a record the mask is that of the values; embedding and head may be left alone", async () => {
  const dense = await tinyModel({}, { dtype: "BF16" });
  const pruned = await prune(dense, { method: "magnitude", pattern: "4x1", sparsity: 0.5, only: ["mlp"] });
  const { masks: _, report: __, ...plain } = pruned;
  const recovered = await recover(plain, { ...brief, steps: 4, train: "blocks" });
  expect([...recovered.masks.keys()]).toEqual([...pruned.masks.keys()]);
  for (const [name, { kept }] of recovered.masks) expect(kept).toBe(pruned.masks.get(name)?.kept);
  for (const name of ["model.embed_tokens.weight", "lm_head.weight"]) {
    expect(await recovered.weights.read(name)).toEqual(await dense.weights.read(name));
  }
  expect(await valuesOf(recovered, "model.norm.weight")).not.toEqual(await valuesOf(dense, "model.norm.weight"));
});

test("with all of the loss from the teacher, a student of the same weights stays", async () => {
  const dense = await tinyModel();
  const pruned = await prune(dense, { method: "magnitude", sparsity: 0.5 });
  const distill = { weight: 1, temperature: 1 };
  // The teacher is the pruned model itself: the gradient is rounding noise, which one step of 1e-9 cannot show.
  const same = await recover(pruned, {
    ...brief,
    dense: pruned,
    distill,
    steps: 1,
    rate: { peak: 1e-9, floor: 0, warmup: 0 },
  });
  expect(Math.abs(same.recovery.loss.first)).toBeLessThan(1e-6);
  const other = await recover(pruned, { ...brief, dense, distill, steps: 30 });
  expect(other.recovery.loss.first).toBeGreaterThan(1e-3);
  expect(other.recovery.loss.last).toBeLessThan(0.8 * other.recovery.loss.first);
});

test("the same bits for any number of threads; no memory is kept; an abort ends it", async () => {
  const runs: Record<string, string>[] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    const dense = await tinyModel(
      { width: 64, feedForward: 96, heads: 4, kvHeads: 2, headWidth: 16 },
      { dtype: "BF16" },
    );
    const pruned = await prune(dense, { method: "magnitude", pattern: "2:4" });
    await recover(pruned, { ...brief, dense, steps: 1 });
    const { live } = memory;
    const r = await recover(pruned, { ...brief, dense, steps: 3 });
    expect(memory.live).toBe(live);
    const bytes: Record<string, string> = {};
    for (const name of r.weights.names) bytes[name] = Buffer.from(await r.weights.read(name)).toString("base64");
    runs.push(bytes);
    const stop = new AbortController();
    const onProgress = ({ step }: { step: number }): void => {
      if (step === 2) stop.abort(new Error("enough"));
    };
    await expect(recover(pruned, { ...brief, steps: 9, signal: stop.signal, onProgress })).rejects.toThrow("enough");
    expect(memory.live).toBe(live);
  }
  expect(runs[1]).toEqual(runs[0]);
  expect(runs[2]).toEqual(runs[0]);
});

test("says what is wrong", async () => {
  const dense = await tinyModel();
  const pruned = await prune(dense, { method: "magnitude", sparsity: 0.5 });
  const bad = (more: object): Promise<unknown> => recover(pruned, { ...brief, steps: 2, ...more });
  await expect(recover(dense, { ...brief, steps: 2 })).rejects.toThrow(/model: expected a pruned model/);
  await expect(bad({ steps: 0 })).rejects.toThrow(/steps/);
  await expect(bad({ text: "short" })).rejects.toThrow(/training text: expected at least/);
  await expect(bad({ length: 65 })).rejects.toThrow(/length/);
  await expect(bad({ distill: { weight: 0.5, temperature: 1 } })).rejects.toThrow(
    /distillation: expected the dense model/,
  );
  await expect(bad({ dense, distill: { weight: 2, temperature: 1 } })).rejects.toThrow(/weight/);
  await expect(bad({ dense, distill: { weight: 0.5, temperature: 0 } })).rejects.toThrow(/temperature/);
  await expect(bad({ text: Int32Array.from({ length: 400 }, () => 300) })).rejects.toThrow(/training text: token 0/);
  const strange = { ...dense, weights: layOver(dense.weights, new Map()), config: { ...dense.config, vocabSize: 9 } };
  await expect(bad({ dense: strange })).rejects.toThrow(/teacher/);
});
