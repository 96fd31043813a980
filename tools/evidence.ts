/**
 * Records what the project claims of its methods on the shipped model: which method is better than which, bytes of
 * packed layers, and agreement with the independent f64 twin. `npx tsx tools/evidence.ts` writes results/methods.json.
 *
 * Test text only: nothing is chosen here. Every comparison is paired over three calibration draws.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wantsAny } from "../src/calibrate/taps.ts";
import { scope } from "../src/core/scope.ts";
import { fromBytes } from "../src/core/tensor.ts";
import { inspect } from "../src/evaluate/inspect.ts";
import { perplexity } from "../src/evaluate/perplexity.ts";
import { writeFileAtomically } from "../src/formats/atomic.node.ts";
import { prune } from "../src/methods/prune.ts";
import { pack } from "../src/methods/save.ts";
import { methodNamed } from "../src/methods/weights/index.ts";
import { engineType, toF32 } from "../src/models/llama/load.ts";
import { twinPerplexity } from "../src/models/llama/twin.ts";
import { encodeFor, type Model } from "../src/models/model.ts";
import { loadModel } from "../src/models/open.node.ts";
import { provenance } from "../src/runtime/machine.node.ts";

const FOLDER = "models/sotu";
const SEEDS = [1, 2, 3];
const METHODS = ["magnitude", "wanda", "sparsegpt"];
const PATTERNS = [
  { pattern: "unstructured", sparsity: 0.5 },
  { pattern: "2:4", sparsity: 0.5 },
  { pattern: "4x1", sparsity: 0.5 },
];
/** Windows that the twin scores: it takes seconds for each. */
const TWIN_WINDOWS = 8;

const text = (name: string): Promise<string> => readFile(join(FOLDER, "text", name), "utf8");

async function weightsOf(model: Model): Promise<Map<string, Float64Array>> {
  const out = new Map<string, Float64Array>();
  for (const name of model.weights.names) {
    const { shape, dtype } = model.weights.info(name);
    const bytes = (await model.weights.read(name)).slice();
    out.set(
      name,
      scope(() => Float64Array.from(toF32(fromBytes(bytes, shape, engineType(dtype))).f32)),
    );
  }
  return out;
}

async function againstTwin(model: Model, test: string): Promise<{ engine: number; twin: number; relative: number }> {
  const { ids, bytes } = encodeFor(model, test);
  const LENGTH = 256;
  const engine = (await perplexity(model, { ids, bytes }, { length: LENGTH, windows: TWIN_WINDOWS })).perplexity;
  const twin = twinPerplexity(
    model.config,
    await weightsOf(model),
    ids.subarray(0, LENGTH * TWIN_WINDOWS),
    LENGTH,
  ).perplexity;
  return { engine, twin, relative: Math.abs(engine / twin - 1) };
}

const started = performance.now();
const dense = await loadModel(FOLDER);
const [calibrate, test] = [encodeFor(dense, await text("calibration-32k.txt")).ids, await text("test-64k.txt")];
const target = encodeFor(dense, test);
const denseQuality = await perplexity(dense, target);
const runs: { method: string; pattern: string; sparsity: number; perplexity: number[]; achieved: number }[] = [];
for (const { pattern, sparsity } of PATTERNS) {
  for (const method of METHODS) {
    const values: number[] = [];
    let achieved = 0;
    // A method that looks at no inputs gives the same weights for every draw.
    const draws = wantsAny(methodNamed(method).needs) ? SEEDS : SEEDS.slice(0, 1);
    for (const seed of draws) {
      const pruned = await prune(dense, { method, pattern, sparsity, calibrate, samples: 64, length: 256, seed });
      achieved = pruned.report.achieved;
      values.push((await perplexity(pruned, target)).perplexity);
    }
    while (values.length < SEEDS.length) values.push(values[0]);
    runs.push({ method, pattern, sparsity, perplexity: values, achieved });
    console.log(pattern, sparsity, method, values.map((v) => v.toFixed(3)).join(" "));
  }
}
const of = (method: string, pattern: string, sparsity: number): number[] =>
  runs.find((r) => r.method === method && r.pattern === pattern && r.sparsity === sparsity)?.perplexity ?? [];
/** Pairwise orders of every pattern: a is better than b in every draw, with the paired ratios. */
const orders = PATTERNS.flatMap(({ pattern, sparsity }) =>
  METHODS.flatMap((better) =>
    METHODS.filter((m) => m !== better).flatMap((worse) => {
      const b = of(worse, pattern, sparsity);
      const ratios = of(better, pattern, sparsity).map((p, i) => p / b[i]);
      return ratios.every((r) => r < 1) ? [{ pattern, sparsity, better, worse, ratios }] : [];
    }),
  ),
);

const bytes: {
  pattern: string;
  sparsity: number;
  packedBytes: number;
  bf16Bytes: number;
  share: number;
  identical: boolean;
}[] = [];
const twin: Record<string, { engine: number; twin: number; relative: number }> = {
  dense: await againstTwin(dense, test),
};
const scratch = await mkdtemp(join(tmpdir(), "lacuna-evidence-"));
try {
  for (const [pattern, sparsity] of [
    ["unstructured", 0.5],
    ["unstructured", 0.8],
    ["2:4", 0.5],
    ["4x1", 0.5],
    ["4x1", 0.8],
  ] as const) {
    const pruned = await prune(dense, {
      method: "sparsegpt",
      pattern,
      sparsity,
      calibrate,
      samples: 64,
      length: 256,
      seed: 1,
    });
    const folder = join(scratch, `${pattern.replace(":", "-")}-${sparsity}`);
    await pack(pruned, folder);
    const back = await loadModel(folder);
    const { prunable } = await inspect(back);
    let identical = true;
    for (const name of back.weights.names) {
      identical &&= Buffer.from(await back.weights.read(name)).equals(Buffer.from(await pruned.weights.read(name)));
    }
    const { packedBytes, bf16Bytes } = prunable;
    bytes.push({ pattern, sparsity, packedBytes, bf16Bytes, share: packedBytes / bf16Bytes, identical });
    console.log(pattern, sparsity, (packedBytes / bf16Bytes).toFixed(4), identical);
    if (sparsity === 0.5) twin[`sparsegpt ${pattern} 50 %`] = await againstTwin(back, test);
    await back.weights.close();
  }
} finally {
  await rm(scratch, { recursive: true, force: true });
}
console.log(twin);
const record = {
  kind: "methods",
  version: 1,
  provenance: provenance(),
  seconds: (performance.now() - started) / 1000,
  model: FOLDER,
  text: "test-64k.txt",
  calibration: { text: "calibration-32k.txt", samples: 64, length: 256, seeds: SEEDS },
  dense: denseQuality,
  runs,
  orders,
  bytes,
  twin,
};
await writeFileAtomically("results/methods.json", `${JSON.stringify(record, null, 2)}\n`);
