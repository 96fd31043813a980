import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import type { LlamaConfig } from "../models/llama/config.ts";
import { disposeLlama, loadLlama } from "../models/llama/load.ts";
import { forwardLogits, ropeTables } from "../models/llama/model.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import type { Model } from "../models/model.ts";
import type { Form, LayerChoice, Quota } from "./layer.ts";
import { createRunner, type Runner, type RunnerOptions } from "./runner.ts";

beforeAll(() => initSync({ threads: 1 }));
afterAll(shutdown);

const ids = Int32Array.from({ length: 40 }, (_, i) => stream(5, "ids").below(i, 257));

/** Drops weights of the blocks' linears by pattern. */
function prune(pattern: "unstructured" | "2x1" | "4x1" | "1x16" | "2:4" | "2:4@4x1" | "none", density = 0.4) {
  // outputs x inputs that share their fate, or outputs that share a choice of two of four
  const [tall, wide] = {
    unstructured: [1, 1],
    "2x1": [2, 1],
    "4x1": [4, 1],
    "1x16": [1, 16],
    "2:4": [1, 1],
    "2:4@4x1": [4, 1],
    none: [1, 1],
  }[pattern];
  const draws = stream(9, "mask");
  return (name: string, values: Float32Array, shape: readonly number[]): void => {
    if (!name.includes("_proj.weight") || pattern === "none") return;
    const [R, C] = shape;
    for (let r = 0; r < R; r++) {
      for (let c = 0; c < C; c++) {
        const group = Math.floor(r / tall);
        const unit = group * C + Math.floor(c / wide);
        const first = draws.below(group * C + (c >> 2), 3);
        const kept = pattern.startsWith("2:4") ? c % 4 === first || c % 4 === first + 1 : draws.uniform(unit) < density;
        if (!kept) values[r * C + c] = 0;
      }
    }
  };
}

/** The last rows of the whole-sequence forward pass: what the runner must say after each token. */
async function reference(model: Model, tokens: Int32Array): Promise<Float32Array[]> {
  const llama = await loadLlama(model.weights, model.config);
  const tables = ropeTables(model.config, tokens.length);
  const logits = scope(() => forwardLogits(llama, tables, tokens, 1).toArray());
  for (const t of [tables.cos, tables.sin]) t.dispose();
  disposeLlama(llama);
  const V = model.config.vocabSize;
  return Array.from({ length: tokens.length }, (_, t) => logits.subarray(t * V, (t + 1) * V));
}

/**
 * Logits are sums of at most 48 products of unit size after two blocks: each sum rounds by up to 48 * 2^-24 = 3e-6 of
 * its terms' size, and the forms add in different orders. 1e-4 leaves a factor of ten for the way through the blocks.
 */
const TOLERANCE = 1e-4;

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, what: string): void {
  let worst = 0;
  for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]));
  expect(got.length).toBe(want.length);
  expect(worst, what).toBeLessThan(TOLERANCE);
}

/** Prefills `ids` cut at `cuts`, then steps through the rest; compares after every call. */
function checkAgainst(runner: Runner, want: readonly Float32Array[], cuts: readonly number[], what: string): void {
  runner.reset();
  let at = 0;
  for (const to of cuts) {
    expectClose(runner.prefill(ids.subarray(at, to)), want[to - 1], `${what}, prefill to ${to}`);
    at = to;
  }
  for (; at < ids.length; at++) expectClose(runner.step(ids[at]), want[at], `${what}, step ${at}`);
  expect(runner.position).toBe(ids.length);
}

const force =
  (form: Form, quota?: Quota): RunnerOptions["choose"] =>
  (layer, choice): LayerChoice =>
    layer.name.includes("_proj")
      ? {
          decode: { form, reason: "asked for" },
          prefill: { form, reason: "asked for" },
          ...((quota ?? choice.quota) && { quota: quota ?? choice.quota }),
        }
      : choice;

const CONFIGS: readonly [string, Partial<LlamaConfig>, "F32" | "BF16"][] = [
  ["grouped queries, f32", {}, "F32"],
  ["bf16, tied", { tied: true }, "BF16"],
  ["Qwen2's biases, one KV head", { modelType: "qwen2", attentionBias: true, kvHeads: 1 }, "BF16"],
  ["every bias, no grouping", { attentionBias: true, outputBias: true, mlpBias: true, kvHeads: 4 }, "F32"],
];

const FORMS: readonly [Form, Parameters<typeof prune>[0]][] = [
  ["stored", "none"],
  ["expanded", "unstructured"],
  ["packed", "4x1"],
  ["panel", "none"],
  ["csr", "unstructured"],
  ["block4x1", "4x1"],
  ["block2x1", "2x1"],
  ["block1x16", "1x16"],
  ["nm1x1", "2:4"],
  ["nm4x1", "2:4@4x1"],
];

test.each(CONFIGS)(
  "prefill and steps give the logits of the whole sequence, in every form: %s",
  async (_, fields, dtype) => {
    for (const [form, pattern] of FORMS) {
      const model = await tinyModel(fields, { dtype, edit: prune(pattern) });
      const want = await reference(model, ids);
      const live = memory.live;
      const runner = await createRunner(model, { choose: force(form) });
      const used = runner.layers.filter((l) => l.name.includes("_proj")).map((l) => l.choice.decode.form);
      expect(new Set(used)).toEqual(new Set([form]));
      for (const cuts of [[], [1], [40], [7, 8, 24], [3, 39]]) checkAgainst(runner, want, cuts, `${form} ${cuts}`);
      runner.dispose();
      expect(memory.live).toBe(live);
    }
  },
);

test("different forms for one token and for many", async () => {
  const model = await tinyModel({ mlpBias: true }, { dtype: "BF16", edit: prune("4x1", 0.2) });
  const want = await reference(model, ids);
  const mixed = await createRunner(model, {
    choose: (l, c) => ({
      ...c,
      decode: { form: "csr", reason: "" },
      prefill: { form: "stored", reason: "" },
      name: l.name,
    }),
  });
  checkAgainst(mixed, want, [20], "csr and stored");
  const layer = mixed.layers[0];
  // Both are held: bf16 as stored, and CSR with two bytes a value, two an index and padding.
  expect(layer.bytes.resident).toBeGreaterThan(2 * layer.out * layer.in);
  expect(layer.bytes.perToken).toBeLessThan(2 * layer.out * layer.in);
  mixed.dispose();
});

test("a single token takes the same bits through the general form and through `step`", async () => {
  for (const [form, pattern] of FORMS) {
    const model = await tinyModel({ attentionBias: true, mlpBias: true }, { dtype: "BF16", edit: prune(pattern) });
    const runner = await createRunner(model, { choose: force(form) });
    const general: Float32Array[] = [];
    for (const id of ids) general.push(runner.prefill([id]));
    runner.reset();
    for (const [i, id] of ids.entries()) expect(runner.step(id), `${form}, token ${i}`).toEqual(general[i]);
    runner.dispose();
  }
});

test("threads do not change a bit", async () => {
  // Wide enough for products of prefill and of decode to be split.
  const shape = { width: 256, feedForward: 512, heads: 8, kvHeads: 2, headWidth: 32, layers: 1, vocabSize: 8000 };
  const model = await tinyModel({ ...shape, tied: true }, { dtype: "BF16", edit: prune("4x1", 0.3) });
  const results: Float32Array[][] = [];
  for (const threads of [1, 2, 3]) {
    initSync({ threads });
    const dense = await createRunner(model, { kernels: "dense" });
    const sparse = await createRunner(model, { kernels: "sparse" });
    results.push([dense.prefill(ids), dense.step(7), sparse.prefill(ids), sparse.step(7)]);
    for (const r of [dense, sparse]) r.dispose();
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
  initSync({ threads: 1 });
});

test("chunks of a long prompt, and going back", async () => {
  const model = await tinyModel({ maxPositions: 700 });
  const long = Int32Array.from({ length: 600 }, (_, i) => stream(6, "long").below(i, 257));
  const want = await reference(model, long);
  const runner = await createRunner(model);
  expectClose(runner.prefill(long), want[599], "600 tokens");
  runner.rewind(300);
  expectClose(runner.step(long[300]), want[300], "after going back");
  expect(() => runner.rewind(302)).toThrow();
  runner.dispose();
});

test("choices by the default rules, with their reasons and bytes", async () => {
  const dense = await createRunner(await tinyModel({}, { dtype: "BF16" }));
  expect(dense.layers.every((l) => l.choice.decode.reason.startsWith("dense: no zeros"))).toBe(true);
  // A layer is held twice where prefill has f32 panels.
  expect(dense.layers[0].bytes).toEqual({ file: 2 * 32 * 24, resident: 6 * 32 * 24, perToken: 2 * 32 * 24 });

  const model = await tinyModel({}, { dtype: "BF16", edit: prune("4x1", 0.3) });
  const sparse = await createRunner(model);
  const q = sparse.layers[0];
  expect(q.pattern).toBe("4x1");
  expect([q.choice.decode.form, q.choice.prefill.form]).toEqual(["block4x1", "block4x1"]);
  expect(q.choice.decode.reason).toMatch(/^block4x1: 2\.\d+ times dense by the default rules$/);
  expect(q.bytes.resident).toBeLessThan(dense.layers[0].bytes.resident / 2);
  expect(sparse.bytes.perToken).toBeLessThan(dense.bytes.perToken);

  const half = await createRunner(await tinyModel({}, { dtype: "BF16", edit: prune("unstructured", 0.5) }));
  expect(half.layers[1].choice.decode.reason).toMatch(
    /^expanded: \d+ % unstructured loses at 16 x 24, one column, by the default rules \(0\.\d+ times dense as \w+\); read as stored$/,
  );
  const broke = await createRunner(model, { kernels: "dense", budget: 0 });
  expect(broke.layers[0].choice.prefill.reason).toBe("dense: asked for; read as stored: no bytes left for a copy");
  expect(broke.layers[0].bytes.resident).toBe(2 * 32 * 24);
  for (const r of [dense, sparse, half, broke]) r.dispose();
});

test("clear errors, and nothing left behind", async () => {
  const model = await tinyModel();
  const runner = await createRunner(model, { contextLength: 10 });
  expect(() => runner.prefill(ids)).toThrow(/at most 10 tokens/);
  expect(() => runner.prefill([])).toThrow(LacunaError);
  expect(() => runner.step(257)).toThrow(/vocabulary/);
  runner.prefill(ids.subarray(0, 10));
  expect(() => runner.step(1)).toThrow(/longer context/);
  runner.dispose();
  await expect(createRunner(model, { contextLength: 65 })).rejects.toThrow(/from 1 to 64/);

  const live = memory.live;
  const damaged = await tinyModel({}, { edit: (name, v) => name.includes("layers.1.mlp.up") && v.fill(Number.NaN) });
  await expect(createRunner(damaged)).rejects.toThrow(/layers\.1\.mlp\.up_proj\.weight.*NaN/);
  await expect(createRunner(model, { signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow("stop");
  await expect(
    createRunner(model, { choose: (_, c) => ({ ...c, decode: { form: "nm4x1", reason: "" } }) }),
  ).rejects.toThrow(/2:4/);
  expect(memory.live).toBe(live);

  initSync({ threads: 1, memoryLimit: 17 * 2 ** 20 });
  const big = await tinyModel({ maxPositions: 1_000_000, layers: 1 });
  await expect(createRunner(big, { contextLength: 900_000 })).rejects.toThrow(/shorter context/);
  initSync({ threads: 1, memoryLimit: 2 ** 19 });
  await expect(createRunner(await tinyModel({ width: 64, feedForward: 512 }))).rejects.toThrow(/block by block/);
  initSync({ threads: 1 });
});
