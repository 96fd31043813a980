import { createHash } from "node:crypto";
import { afterAll, beforeEach, expect, test } from "vitest";
import { init, memory, shutdown } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { layOver } from "../formats/overlay.ts";
import { LINEARS, type LinearName } from "../models/llama/block.ts";
import type { LlamaConfig } from "../models/llama/config.ts";
import { readValues, weightName } from "../models/llama/load.ts";
import { tinyConfig, tinyWeights } from "../models/llama/tiny.ts";
import { twinAttention, twinFrequencies, twinLinear, twinRmsNorm, twinRotate } from "../models/llama/twin.ts";
import type { InputStatistics, Wanted } from "./taps.ts";
import { type BlockVisit, type Replacement, walkBlocks } from "./walk.ts";

// One thread: what threads change is tested where it is the question.
beforeEach(() => init({ threads: 1 }));
afterAll(shutdown);

const ALL: Wanted = { norms: true, means: true, variances: true, gram: true };

function sequencesOf(config: LlamaConfig, count: number, length: number): Int32Array[] {
  const draws = stream(11, "sequences");
  return Array.from({ length: count }, (_, s) =>
    Int32Array.from({ length }, (_, t) => draws.below(s * length + t, config.vocabSize)),
  );
}

interface Copied extends Omit<InputStatistics, "gram"> {
  readonly gram: Float64Array;
}

/** Copies, because the statistics are only good during the visit. */
function copyAll(visit: BlockVisit): Record<string, Copied> {
  return Object.fromEntries(
    LINEARS.map((name) => {
      const s = visit.statistics(name);
      return [`${visit.layer}.${name}`, { ...s, gram: (s.gram as { f64: Float64Array }).f64.slice() }];
    }),
  );
}

type WalkArgs = Parameters<typeof walkBlocks>;

async function collect(
  model: WalkArgs[0],
  sequences: readonly Int32Array[],
  change: (layer: number) => readonly Replacement[] = () => [],
  extra: Partial<WalkArgs[1]> = {},
): Promise<Record<string, Copied>> {
  const found: Record<string, Copied> = {};
  await walkBlocks(model, {
    sequences,
    wanted: () => ALL,
    visit: async (visit) => {
      Object.assign(found, copyAll(visit));
      return change(visit.layer);
    },
    ...extra,
  });
  return found;
}

/** Inputs of the linears of block 0 in f64, by the published formulas: one entry a sequence. */
async function twinInputs(
  { config, weights }: WalkArgs[0],
  sequences: readonly Int32Array[],
): Promise<Record<"q_proj" | "o_proj" | "gate_proj" | "down_proj", Float64Array[]>> {
  const { width: D, feedForward: F, heads: H, kvHeads: K, headWidth: E, normEps } = config;
  const get = async (name: string, shape: readonly number[]): Promise<Float64Array> =>
    Float64Array.from(await readValues(weights, name, shape));
  const linear = async (name: LinearName, out: number, width: number): Promise<Float64Array> =>
    get(weightName(0, name), [out, width]);
  const table = await get("model.embed_tokens.weight", [config.vocabSize, D]);
  const before = await get("model.layers.0.input_layernorm.weight", [D]);
  const between = await get("model.layers.0.post_attention_layernorm.weight", [D]);
  const w = {
    q: await linear("q_proj", H * E, D),
    k: await linear("k_proj", K * E, D),
    v: await linear("v_proj", K * E, D),
    o: await linear("o_proj", D, H * E),
    gate: await linear("gate_proj", F, D),
    up: await linear("up_proj", F, D),
  };
  const inputs = { q_proj: [], o_proj: [], gate_proj: [], down_proj: [] } as Record<string, Float64Array[]>;
  for (const ids of sequences) {
    const T = ids.length;
    const x = Float64Array.from(Array.from(ids).flatMap((id) => Array.from(table.subarray(id * D, (id + 1) * D))));
    const a = twinRmsNorm(x, before, normEps);
    const q = twinLinear(a, w.q, undefined, T, D, H * E);
    const k = twinLinear(a, w.k, undefined, T, D, K * E);
    const frequencies = twinFrequencies(config);
    twinRotate(q, H, frequencies, 0);
    twinRotate(k, K, frequencies, 0);
    const mixed = twinAttention(q, k, twinLinear(a, w.v, undefined, T, D, K * E), T, H, K, E);
    const o = twinLinear(mixed, w.o, undefined, T, H * E, D);
    const b = twinRmsNorm(
      x.map((v, i) => v + o[i]),
      between,
      normEps,
    );
    const gate = twinLinear(b, w.gate, undefined, T, D, F);
    const up = twinLinear(b, w.up, undefined, T, D, F);
    inputs.q_proj.push(a);
    inputs.o_proj.push(mixed);
    inputs.gate_proj.push(b);
    inputs.down_proj.push(gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]));
  }
  return inputs;
}

/** The definitions, straight from the dossier. */
function plainStatistics(xs: readonly Float64Array[], C: number) {
  const column = (x: Float64Array, j: number): number[] => Array.from({ length: x.length / C }, (_, t) => x[t * C + j]);
  const mean = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0) / v.length;
  const all = (j: number): number[] => xs.flatMap((x) => column(x, j));
  const columns = Array.from({ length: C }, (_, j) => j);
  return {
    norms: columns.map((j) => Math.hypot(...all(j))),
    means: columns.map((j) => mean(all(j))),
    variances: columns.map((j) => mean(xs.map((x) => mean(column(x, j).map((v) => (v - mean(column(x, j))) ** 2))))),
    gram: columns.flatMap((i) => columns.map((j) => mean(all(i).map((v, t) => v * all(j)[t])) * all(i).length)),
  };
}

test("statistics are those of the inputs that the formulas give", async () => {
  const config = tinyConfig({ width: 12, feedForward: 20, heads: 3, kvHeads: 1, headWidth: 4 });
  const model = { config, weights: await tinyWeights(config, { seed: 2 }) };
  const sequences = sequencesOf(config, 3, 10);
  const found = await collect(model, sequences);
  const inputs = await twinInputs(model, sequences);
  const sameInput: Record<string, LinearName[]> = {
    q_proj: ["q_proj", "k_proj", "v_proj"],
    o_proj: ["o_proj"],
    gate_proj: ["gate_proj", "up_proj"],
    down_proj: ["down_proj"],
  };
  for (const [input, names] of Object.entries(sameInput)) {
    const C = inputs[input as keyof typeof inputs][0].length / 10;
    const want = plainStatistics(inputs[input as keyof typeof inputs], C);
    for (const name of names) {
      const got = found[`0.${name}`];
      expect([got.width, got.tokens, got.sequences]).toEqual([C, 30, 3]);
      // f32 activations of about unit size, some tens of roundings each.
      for (const key of ["norms", "means", "variances"] as const) {
        const off = want[key].map((v, j) => Math.abs((got[key] as Float64Array)[j] - v));
        expect(Math.max(...off), key).toBeLessThan(3e-5);
      }
      for (let i = 0; i < C; i++) {
        for (let j = i; j < C; j++) expect(Math.abs(got.gram[i * C + j] - want.gram[i * C + j])).toBeLessThan(3e-4);
      }
    }
  }
});

test("each block sees inputs made by the blocks before it as they were left", async () => {
  const config = tinyConfig();
  const weights = await tinyWeights(config, { dtype: "BF16" });
  const sequences = sequencesOf(config, 4, 12);
  const sparse = new Map<string, Uint8Array>();
  const change: Replacement[] = [];
  for (const linear of ["k_proj", "o_proj", "down_proj"] as const) {
    const bytes = (await weights.read(weightName(0, linear))).slice();
    for (let i = 0; i < bytes.length; i += 4) bytes.fill(0, i, i + 2); // every other bf16 value
    sparse.set(weightName(0, linear), bytes);
    change.push({ linear, bytes });
  }
  const untouched = await collect({ config, weights }, sequences);
  const walked = await collect({ config, weights }, sequences, (layer) => (layer === 0 ? change : []));
  const stored = await collect({ config, weights: layOver(weights, sparse) }, sequences);
  // Block 0 is looked at before it is changed, block 1 after.
  expect(walked["0.down_proj"]).toEqual(untouched["0.down_proj"]);
  for (const name of LINEARS) {
    expect(walked[`1.${name}`]).toEqual(stored[`1.${name}`]);
    expect(walked[`1.${name}`].norms).not.toEqual(untouched[`1.${name}`].norms);
  }
});

test("the same bits for one, two and three threads, and for batches of any size", async () => {
  // Wide enough that products, norms and Gram matrices are handed to the pool.
  const config = tinyConfig({ width: 96, feedForward: 160, heads: 4, kvHeads: 4, headWidth: 24 });
  const weights = await tinyWeights(config);
  const sequences = sequencesOf(config, 6, 64);
  const bits = (arrays: readonly (ArrayBufferView | undefined)[]): string => {
    const hash = createHash("sha256");
    for (const a of arrays) hash.update(a as NodeJS.ArrayBufferView);
    return hash.digest("hex");
  };
  const runs: { statistics: string; states: string }[] = [];
  for (const threads of [1, 2, 3]) {
    await init({ threads });
    const found = await collect({ config, weights }, sequences);
    const all = Object.values(found).flatMap((s) => [s.norms, s.means, s.variances, s.gram]);
    const [batch] = await walkBlocks({ config, weights }, { sequences });
    runs.push({ statistics: bits(all), states: bits([batch.x.toArray()]) });
    batch.x.dispose();
  }
  expect(runs[1]).toEqual(runs[0]);
  expect(runs[2]).toEqual(runs[0]);
  const one = await walkBlocks({ config, weights }, { sequences, batchBytes: 1 });
  expect(one.length).toBe(6);
  expect(bits(one.map((b) => b.x.toArray()))).toBe(runs[0].states);
  for (const b of one) b.x.dispose();
});

test("a walk frees what it took, also when it is stopped or a visitor fails", async () => {
  const config = tinyConfig();
  const model = { config, weights: await tinyWeights(config) };
  const sequences = sequencesOf(config, 3, 8);
  await collect(model, sequences);
  const { live } = memory;
  await collect(model, sequences);
  expect(memory.live).toBe(live);
  const stop = new AbortController();
  const stopped = collect(model, sequences, () => [], {
    signal: stop.signal,
    onProgress: ({ done }) => done === 1 && stop.abort(new Error("enough")),
  });
  await expect(stopped).rejects.toThrow("enough");
  expect(memory.live).toBe(live);
  const failing = walkBlocks(model, { sequences, visit: () => Promise.reject(new Error("no")), wanted: () => ALL });
  await expect(failing).rejects.toThrow("no");
  expect(memory.live).toBe(live);
});
