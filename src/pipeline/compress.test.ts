import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../core/engine.ts";
import { prune } from "../methods/prune.ts";
import { pack, save } from "../methods/save.ts";
import { byteTokenizerJson, tinyModel } from "../models/llama/tiny.ts";
import { loadModel } from "../models/open.node.ts";
import { compress, recommend } from "./compress.ts";
import { type CompressRecipe, compressRecipe } from "./recipe.ts";
import type { VariantResult } from "./record.ts";

const TEXT = "Whenever it is a damp, drizzly November in my soul. ".repeat(12);
let room: string;
const cache = process.env.LACUNA_CACHE;

/** A random model on disk, and a pruned one of it. */
async function models(name: string, layers: number): Promise<void> {
  await save(await tinyModel({ layers }, { dtype: "BF16" }), join(room, name), { format: "dense" });
  const { tokenizer, config } = byteTokenizerJson();
  await writeFile(join(room, name, "tokenizer.json"), JSON.stringify(tokenizer));
  await writeFile(join(room, name, "tokenizer_config.json"), JSON.stringify(config));
  const model = await loadModel(join(room, name));
  const sparse = await prune(model, { method: "magnitude", pattern: "4x1", sparsity: 0.5 });
  await pack(sparse, join(room, `${name}-sparse`));
  await model.weights.close();
}

beforeAll(async () => {
  await init({ threads: 1 });
  room = await mkdtemp(join(tmpdir(), "lacuna-compress-"));
  process.env.LACUNA_CACHE = join(room, "cache");
  await models("dense", 2);
  await models("other", 3);
  await writeFile(join(room, "text.txt"), TEXT);
});
afterAll(async () => {
  shutdown();
  if (cache === undefined) delete process.env.LACUNA_CACHE;
  else process.env.LACUNA_CACHE = cache;
  await rm(room, { recursive: true, force: true });
});

const recipe = (ready: string): CompressRecipe =>
  compressRecipe.parse({
    kind: "compress",
    model: "dense",
    text: { calibrate: "text.txt", curve: "text.txt", table: "text.txt", recover: "text.txt" },
    seeds: [1, 2],
    calibration: { samples: 2, length: 16 },
    forecastSeconds: 0.5,
    curve: [],
    variants: [
      { label: "made here", method: "wanda", pattern: "4x1", sparsity: 0.5 },
      { label: "made before", folder: ready },
    ],
    speed: { promptTokens: 8, tokens: 4, rounds: 3 },
    sample: { prompt: "Call me", tokens: 2, temperature: 0 },
    promise: { perplexityRatio: 100, decode: 0.001, prefill: 0.001, bytesShare: 0.9 },
  });

test("variants are judged seed by seed, one made before stands beside them, and another model leaves it out", async () => {
  const record = await compress(recipe("dense-sparse"), join(room, "out"), { base: room });
  expect(record.variants.map((v) => v.label)).toEqual(["dense", "made here", "made before"]);
  const [, made, ready] = record.variants;
  expect(made.ratios).toHaveLength(2);
  expect(made.decode.perSeed).toHaveLength(2);
  expect(made.decode.ratio.low).toBeLessThanOrEqual(Math.min(...(made.decode.perSeed ?? [])));
  expect(ready.spec).toEqual({ method: "magnitude", pattern: "4x1", sparsity: 0.5, recoverSteps: 0 });
  expect(ready.ratios).toHaveLength(1);
  expect(ready.folder).toBeUndefined();
  expect(record.promise).toHaveLength(4);
  expect((await readdir(join(room, "out"))).sort()).toEqual(["compress.json", "made-here-seed1", "made-here-seed2"]);
  expect(JSON.parse(await readFile(join(room, "out", "compress.json"), "utf8"))).toEqual(record);

  const other = await compress(recipe("dense-sparse"), join(room, "out2"), { base: room, model: join(room, "other") });
  expect(other.variants.map((v) => v.label)).toEqual(["dense", "made here"]);
});

test("a model made from another one, or not by Lacuna, is refused; nothing is left behind", async () => {
  const run = (ready: string) => compress(recipe(ready), join(room, "refused"), { base: room });
  await expect(run("other-sparse")).rejects.toThrow(/2 layers/);
  await expect(run("dense")).rejects.toThrow(/lacuna\.json/);
  expect((await readdir(room)).filter((n) => n.includes("refused"))).toEqual([]);
});

test("recommended is the fastest that keeps the quality, or what comes closest where none does", () => {
  const promise = { perplexityRatio: 1.1, decode: 1.3, prefill: 1.3, bytesShare: 0.55 };
  const variant = (label: string, ratio: number, decode: number): VariantResult => {
    const speed = (median: number) => ({ ratio: { median } });
    return {
      label,
      spec: {},
      ratio,
      decode: speed(decode),
      prefill: speed(1.5),
      bytes: { share: 0.5 },
    } as VariantResult;
  };
  const choose = (...variants: VariantResult[]) => recommend({ promise } as CompressRecipe, variants);
  const [near, far] = [variant("near", 1.101, 1.2), variant("far", 27, 1.9)];
  expect(choose(far, near).label).toBe("near");
  expect(choose(far, near).promise.map((l) => l.kept)).toEqual([false, false, true, true]);
  expect(choose(far, near, variant("slow", 1, 1.1)).label).toBe("slow");
  expect(choose(variant("slow", 1, 1.1), variant("kept", 1.09, 1.4), variant("faster", 1.1, 1.5), far).label).toBe(
    "faster",
  );
});
