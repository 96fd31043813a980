import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import { layOver } from "../formats/overlay.ts";
import { llamaPrunable, llamaTensorShapes } from "../models/llama/config.ts";
import { readValues, storedBytes } from "../models/llama/load.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import { twinPerplexity } from "../models/llama/twin.ts";
import type { Model } from "../models/model.ts";
import { obeys } from "../sparsity/mask.ts";
import { parsePattern } from "../sparsity/pattern.ts";
import { magnitudeScore } from "../sparsity/score.ts";
import { selectMask } from "../sparsity/select.ts";
import { type PruneOptions, planPruning, prune, runPruning } from "./prune.ts";
import { readMask } from "./sparse-model.ts";
import { type WeightMethod, wanda } from "./weights/index.ts";

// One thread: what threads change is tested where it is the question.
beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const TEXT = "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money. ".repeat(8);
const calibration = { calibrate: TEXT, samples: 4, length: 32 };

const shape = (model: Model, name: string): readonly [number, number] =>
  llamaTensorShapes(model.config).get(name) as [number, number];

const weightsOf = async (model: Model): Promise<Map<string, Float32Array>> => {
  const values = new Map<string, Float32Array>();
  for (const name of llamaPrunable(model.config)) {
    values.set(name, await readValues(model.weights, name, shape(model, name)));
  }
  return values;
};

test("every method on every pattern: exact counts, masks that obey, values that were there or +0", async () => {
  const model = await tinyModel({}, { dtype: "BF16" });
  const before = await weightsOf(model);
  for (const method of ["magnitude", "wanda", "sparsegpt"]) {
    for (const [pattern, sparsity] of [
      ["unstructured", 0.5],
      ["2:4", undefined],
      ["4x1", 0.75],
      ["2:4@4x1", 0.5],
    ] as const) {
      const pruned = await prune(model, { method, pattern, sparsity, ...calibration });
      const after = await weightsOf(pruned);
      let zeros = 0;
      for (const name of llamaPrunable(model.config)) {
        const [rows, columns] = shape(model, name);
        const recorded = pruned.masks.get(name);
        if (!recorded) throw new Error(name);
        const mask = readMask(recorded);
        const values = after.get(name) as Float32Array;
        const old = before.get(name) as Float32Array;
        expect(mask.kept).toBe(recorded.kept);
        expect(obeys(mask, parsePattern(pattern), { name, rows, columns }), `${method} ${pattern} ${name}`).toBe(true);
        const wrong = values.findIndex((v, i) => {
          if (mask.bits[i] === 0) return !Object.is(v, 0);
          return method !== "sparsegpt" && v !== old[i];
        });
        expect(wrong).toBe(-1);
        zeros += values.reduce((n, v) => n + (v === 0 ? 1 : 0), 0);
      }
      const elements = [...after.values()].reduce((n, v) => n + v.length, 0);
      expect(pruned.report.achieved).toBe(zeros / elements);
      const kept = pruned.report.layers.reduce((n, l) => n + l.kept, 0);
      // Row pools round down in every row (or row group); matrix pools and N:M are exact.
      const exact = elements - Math.floor(pruned.report.requested * elements);
      if (method === "wanda") expect(kept).toBeGreaterThanOrEqual(exact);
      else expect(kept).toBe(exact);
      expect(pruned.report.achieved).toBeCloseTo(pruned.report.requested, 1);
      expect(pruned.report.achievedAll).toBeLessThan(pruned.report.achieved);
      expect(pruned.report.layers.map((l) => l.name)).toEqual(llamaPrunable(model.config));
    }
  }
});

test("what is evaluated is what is stored: perplexity of the pruned model agrees with the f64 twin", async () => {
  const model = await tinyModel({ tied: true }, { dtype: "BF16" });
  for (const method of ["magnitude", "wanda", "sparsegpt"]) {
    const pruned = await prune(model, { method, sparsity: 0.6, ...calibration });
    const got = await perplexity(pruned, TEXT, { length: 32, windows: 8 });
    const values = new Map<string, Float64Array>();
    for (const [name, dims] of llamaTensorShapes(model.config)) {
      values.set(name, Float64Array.from(await readValues(pruned.weights, name, dims)));
    }
    const want = twinPerplexity(model.config, values, model.tokenizer.encodeFile(TEXT).ids.slice(0, 256), 32);
    expect(got.tokens).toBe(want.tokens);
    expect(Math.abs(got.perplexity / want.perplexity - 1)).toBeLessThan(1e-4);
  }
});

/** Records the statistics a method is given, and prunes by magnitude. */
function spy(seen: Map<string, Float64Array>): WeightMethod {
  return {
    ...wanda,
    prune(layer) {
      seen.set(layer.shape.name, (layer.statistics.norms as Float64Array).slice());
      const score = magnitudeScore(layer.weights, layer.shape.columns);
      const mask = selectMask(score, {
        ...layer,
        pool: "row",
        pruned: layer.shape.rows * layer.shape.columns - layer.keep,
      });
      return { weights: layer.weights.map((w, i) => w * mask.bits[i]), mask, notes: {} };
    },
  };
}

test("a later block is pruned on inputs that the pruned, rounded earlier blocks make", async () => {
  const model = await tinyModel({}, { dtype: "BF16" });
  const [whole, halves, dense] = [new Map(), new Map(), new Map()] as Map<string, Float64Array>[];
  await prune(model, { method: spy(whole), sparsity: 0.5, ...calibration });
  // The same in two steps, where the second walk reads block 0 as the first one stored it.
  const first = await prune(model, { method: spy(halves), sparsity: 0.5, only: ["layers.0"], ...calibration });
  const both = await prune(first, { method: spy(halves), sparsity: 0.5, only: ["layers.1"], ...calibration });
  expect(halves).toEqual(whole);
  expect([...both.masks.keys()]).toEqual(llamaPrunable(model.config));
  // And not on the dense ones.
  await prune(model, { method: spy(dense), sparsity: 0.5, only: ["layers.1"], ...calibration });
  for (const [name, norms] of dense) expect(norms).not.toEqual(whole.get(name));
});

test("Wanda on inputs of equal norm is magnitude within rows, through the whole pipeline", async () => {
  // Every embedding is (1, .., 1) and norms do nothing, so all columns of a normed input are equal.
  const equal = await tinyModel(
    { layers: 1 },
    {
      edit: (name, values) => {
        if (name.includes("embed_tokens")) values.fill(1);
        if (name.includes("layernorm")) values.fill(1);
        // Nothing is added by attention, so that the feed-forward's input is the embedding, too.
        if (name.includes("o_proj")) values.fill(0);
      },
    },
  );
  const only = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"];
  const pruned = await prune(equal, { method: "wanda", sparsity: 0.5, only, ...calibration });
  for (const [name, recorded] of pruned.masks) {
    const [rows, columns] = shape(equal, name);
    const values = await readValues(equal.weights, name, [rows, columns]);
    const score = magnitudeScore(values, columns);
    const layer = { shape: { name, rows, columns }, pattern: parsePattern("unstructured"), pool: "row" } as const;
    const want = selectMask(score, { ...layer, pruned: (rows * columns) / 2 });
    expect(readMask(recorded)).toEqual(want);
  }
  expect(pruned.masks.size).toBe(5);
});

test("another draw of windows gives another mask, the same draw the same, for any number of threads", async () => {
  const masks = async (threads: number, seed: number): Promise<unknown> => {
    await init({ threads });
    const model = await tinyModel({ width: 96, feedForward: 160, heads: 4, kvHeads: 4, headWidth: 24, layers: 2 });
    const options: PruneOptions = { method: "sparsegpt", sparsity: 0.5, ...calibration, seed };
    const bytes: string[] = [];
    await runPruning(planPruning(model, options), ({ bytes: b }) => void bytes.push(Buffer.from(b).toString("base64")));
    return bytes;
  };
  const one = await masks(1, 5);
  expect(await masks(2, 5)).toEqual(one);
  expect(await masks(3, 5)).toEqual(one);
  expect(await masks(1, 6)).not.toEqual(one);
  await init({ threads: 1 });
});

test("skipped layers stay as they are and count in the sparsity", async () => {
  const model = await tinyModel();
  const pruned = await prune(model, { method: "magnitude", sparsity: 0.5, skip: ["mlp", "layers.1"] });
  expect(pruned.report.layers.length).toBe(4);
  expect(pruned.report.skipped.length).toBe(10);
  expect(pruned.report.calibration).toBeNull();
  expect(pruned.report.achieved).toBeLessThan(0.25);
  const name = "model.layers.0.mlp.up_proj.weight";
  expect(await pruned.weights.read(name)).toEqual(await model.weights.read(name));
});

test("everything that can be asked wrongly is said before any work", async () => {
  const model = await tinyModel();
  // Any read of a weight would be work.
  const untouchable: Model = {
    ...model,
    weights: { ...layOver(model.weights, new Map()), read: () => Promise.reject(new Error("work was begun")) },
  };
  const wrong: [PruneOptions, RegExp][] = [
    [{ method: "wandaa", sparsity: 0.5 }, /method.*Did you mean wanda/],
    [{ method: "magnitude" }, /sparsity/],
    [{ method: "magnitude", sparsity: 1 }, /sparsity: expected a fraction.*\[0, 1\)/],
    [{ method: "magnitude", sparsity: -0.1 }, /sparsity/],
    [{ method: "magnitude", sparsity: Number.NaN }, /sparsity/],
    [{ method: "magnitude", sparsity: 0.6, pattern: "2:4" }, /sparsity: expected 0.5/],
    [{ method: "magnitude", pattern: "4;8" }, /pattern/],
    [{ method: "magnitude", pattern: "8:16" }, /layer model\.layers\.0\.self_attn\.q_proj.*16 divides.*24 inputs/],
    [{ method: "magnitude", sparsity: 0.5, budget: "unifrom" }, /budget.*uniform/],
    [{ method: "magnitude", sparsity: 0.5, only: ["layers.7"] }, /only/],
    [{ method: "wanda", sparsity: 0.5 }, /calibration text: expected a text for method wanda/],
    [{ method: "wanda", sparsity: 0.5, calibrate: "" }, /calibration text.*empty/],
    [{ method: "wanda", sparsity: 0.5, calibrate: "too short" }, /calibration text: expected at least 64/],
    [{ method: "wanda", sparsity: 0.5, calibrate: TEXT, length: 65 }, /length/],
    [{ method: "wanda", sparsity: 0.5, calibrate: Int32Array.of(1, 999), length: 2 }, /token 1.*\[0, 257\)/],
  ];
  for (const [options, message] of wrong) await expect(prune(untouchable, options)).rejects.toThrow(message);
});

test("weights that are not finite are an error that names the tensor", async () => {
  const name = "model.layers.1.mlp.up_proj.weight";
  const model = await tinyModel({}, { edit: (n, values) => n === name && values.fill(Number.NaN, 3, 4) });
  const pruning = prune(model, { method: "magnitude", sparsity: 0.5 });
  await expect(pruning).rejects.toThrow(`${name}: expected finite weights`);
});

test("stored bytes: to nearest even, -0 becomes +0, overflow is an error", () => {
  const values = Float32Array.of(-0, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1e-45);
  const u16 = (b: Uint8Array): number[] => Array.from(new Uint16Array(b.buffer, b.byteOffset, b.length / 2));
  expect(u16(storedBytes("w", values, "bf16"))).toEqual([0, 0x3f80, 0x3f82, 0]);
  expect(Array.from(new Uint32Array(storedBytes("w", values.slice(0, 1), "f32").buffer))).toEqual([0]);
  expect(() => storedBytes("w", Float32Array.of(0, 7e4), "f16")).toThrow(/w: expected finite values in f16.*element 1/);
});

test("an abort ends it between two layers", async () => {
  const model = await tinyModel();
  const stop = new AbortController();
  let seen = 0;
  const onProgress = (): void => {
    if (++seen === 3) stop.abort(new Error("enough"));
  };
  const pruning = prune(model, { method: "wanda", sparsity: 0.5, ...calibration, signal: stop.signal, onProgress });
  await expect(pruning).rejects.toThrow("enough");
  expect(seen).toBe(3);
});
