/**
 * The main job: forecast, prune in several ways, recover, evaluate, pack, reload, time; a recipe in, a record out.
 *
 * It decides nothing of its own: what is pruned stands in the recipe, what computes a layer is the runtime's choice,
 * and every figure is measured on the packed folder as it was read back. The output folder appears whole or not at all.
 */
import { basename, join, resolve } from "node:path";
import { demand } from "../core/errors.ts";
import { inspect } from "../evaluate/inspect.ts";
import { perplexity } from "../evaluate/perplexity.ts";
import type { PerplexityResult } from "../evaluate/protocol.ts";
import { compareSpeed } from "../evaluate/speed.ts";
import { type FolderOptions, writeFolderAtomically } from "../formats/atomic.node.ts";
import { prune } from "../methods/prune.ts";
import { recover } from "../methods/recovery/finetune.ts";
import { howMade, pack, packedSizes } from "../methods/save.ts";
import type { PrunedModel } from "../methods/sparse-model.ts";
import { llamaPrunable } from "../models/llama/config.ts";
import { encodeFor, type Model } from "../models/model.ts";
import { loadModel, readText } from "../models/open.node.ts";
import { type ForecastRecord, forecast, forecastRatio } from "../runtime/forecast.ts";
import { generate } from "../runtime/generate.ts";
import { provenance } from "../runtime/machine.node.ts";
import { machineSpeeds } from "../runtime/profile-cache.node.ts";
import { createRunner, type Runner } from "../runtime/runner.ts";
import { type Spread, spread } from "../runtime/timing.ts";
import type { CompressRecipe, VariantRecipe } from "./recipe.ts";
import type {
  Bytes,
  CompressRecord,
  CurvePoint,
  LayerRow,
  PromiseLine,
  SpeedRow,
  VariantResult,
  VariantSpec,
} from "./record.ts";

export interface CompressOptions extends FolderOptions {
  /** folder that the recipe's paths are relative to */
  readonly base: string;
  /** used instead of the recipe's model; variants that were made before are left out then */
  readonly model?: string;
  readonly onProgress?: (stage: string, done: number) => void;
  /** makes files that go beside the record, such as the report, from it */
  readonly render?: (record: CompressRecord) => Readonly<Record<string, string>>;
}

interface Texts {
  readonly calibrate: Int32Array;
  readonly recover: Int32Array;
  readonly curve: { ids: Int32Array; bytes: Int32Array };
  readonly table: { ids: Int32Array; bytes: Int32Array };
}

async function readTexts(model: Model, recipe: CompressRecipe, base: string): Promise<Texts> {
  const read = async (file: string) => encodeFor(model, await readText(resolve(base, file)), file);
  const { calibrate, recover, curve, table } = recipe.text;
  return {
    calibrate: (await read(calibrate)).ids,
    recover: (await read(recover)).ids,
    curve: await read(curve),
    table: await read(table),
  };
}

const specOf = (v: VariantRecipe, achieved: number): VariantSpec => ({
  method: v.method,
  pattern: v.pattern,
  sparsity: v.sparsity ?? achieved,
  recoverSteps: v.recover?.steps ?? 0,
});

/** Runs stages in order, timing each; progress runs from 0 to 1 over the whole job by the weights given. */
class Stages {
  readonly times: { name: string; seconds: number }[] = [];
  readonly #report: ((stage: string, done: number) => void) | undefined;
  readonly #total: number;
  #before = 0;

  constructor(total: number, report?: (stage: string, done: number) => void) {
    this.#total = total;
    this.#report = report;
  }

  async run<R>(name: string, weight: number, body: (tick: (done: number) => void) => Promise<R>): Promise<R> {
    const start = performance.now();
    const tick = (done: number): void => this.#report?.(name, (this.#before + weight * done) / this.#total);
    tick(0);
    const result = await body(tick);
    this.#before += weight;
    this.times.push({ name, seconds: (performance.now() - start) / 1000 });
    return result;
  }
}

/** Bytes and zeros of a model as they are in its folder. */
async function storedFacts(model: Model): Promise<{ bytes: Bytes; achieved: number; achievedAll: number }> {
  const { prunable, all } = await inspect(model);
  const bytes: Bytes = {
    prunable: prunable.packedBytes,
    prunableBf16: prunable.bf16Bytes,
    share: prunable.packedBytes / prunable.bf16Bytes,
    file: all.packedBytes,
  };
  return { bytes, achieved: prunable.sparsity, achievedAll: all.sparsity };
}

/** Bytes of a model that is still in memory, as they will be in its packed folder. */
async function bytesWhenPacked(model: PrunedModel): Promise<Bytes> {
  const prunable = new Set(llamaPrunable(model.config));
  let inside = 0;
  let bf16 = 0;
  let file = 0;
  for (const { name, bytes } of await packedSizes(model)) {
    file += bytes;
    if (!prunable.has(name)) continue;
    inside += bytes;
    bf16 += 2 * model.weights.info(name).shape.reduce((a, b) => a * b, 1);
  }
  return { prunable: inside, prunableBf16: bf16, share: inside / bf16, file };
}

async function layerRows(model: Model, runner: Runner): Promise<LayerRow[]> {
  const facts = new Map((await inspect(model)).layers.map((l) => [l.name, l]));
  return runner.layers.flatMap((layer) => {
    const f = facts.get(`${layer.name}.weight`);
    if (!f?.prunable) return [];
    const use = ({ form, reason }: { form: string; reason: string }) => ({ kernel: form, reason });
    return [
      {
        name: layer.name,
        rows: f.shape[0],
        columns: f.shape[1],
        sparsity: f.sparsity,
        packedBytes: f.packedBytes,
        bf16Bytes: f.bf16Bytes,
        decode: use(layer.choice.decode),
        prefill: use(layer.choice.prefill),
      },
    ];
  });
}

async function sampleOf(runner: Runner, recipe: CompressRecipe, seed: number): Promise<string> {
  const { prompt, tokens, temperature, topK } = recipe.sample;
  let text = "";
  for await (const piece of generate(runner, prompt, { tokens, temperature, topK, seed })) text += piece;
  return text;
}

/** A variant as it was read back, one model and one quality a seed. */
interface Made {
  readonly label: string;
  readonly spec: VariantSpec | null;
  readonly models: readonly Model[];
  /** of the first seed */
  readonly folder?: string;
  readonly qualities: readonly PerplexityResult[];
}

/** File name of a variant's folder. */
const slug = (label: string): string =>
  label
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");

function promiseLines(recipe: CompressRecipe, v: VariantResult): PromiseLine[] {
  const bounds = recipe.promise;
  const line = (
    what: string,
    bound: number,
    atMost: boolean,
    value: number,
    perSeed?: readonly number[],
  ): PromiseLine => ({
    what,
    bound,
    atMost,
    value,
    kept: atMost ? value <= bound : value >= bound,
    ...(perSeed && perSeed.length > 1 && { perSeed }),
  });
  return [
    line("perplexity over dense", bounds.perplexityRatio, true, v.ratio, v.ratios),
    line("decode over the best dense", bounds.decode, false, v.decode.ratio.median, v.decode.perSeed),
    line("prefill over the best dense", bounds.prefill, false, v.prefill.ratio.median, v.prefill.perSeed),
    line("bytes of the prunable weights over BF16", bounds.bytesShare, true, v.bytes.share),
  ];
}

/** By what factor the line that misses its bound by most misses it; at most 1 where all are kept. */
const worstMiss = (lines: readonly PromiseLine[]): number =>
  Math.max(...lines.map(({ value, bound, atMost }) => (atMost ? value / bound : bound / value)));

/**
 * Quality first: of those that keep the perplexity bound, the one that keeps most lines, then the fastest decode. Where
 * none keeps it, the one that comes closest to its bounds.
 */
export function recommend(
  recipe: CompressRecipe,
  variants: readonly VariantResult[],
): { label: string; promise: PromiseLine[] } {
  const rated = variants
    .filter((v) => v.spec !== null)
    .map((v) => ({ v, promise: promiseLines(recipe, v) }))
    .map((r) => ({ ...r, kept: r.promise.filter((l) => l.kept).length }));
  const good = (r: (typeof rated)[number]): number => Number(r.promise[0].kept);
  rated.sort((a, b) => {
    if (good(a) !== good(b)) return good(b) - good(a);
    if (!good(a)) return worstMiss(a.promise) - worstMiss(b.promise);
    return b.kept - a.kept || b.v.decode.ratio.median - a.v.decode.ratio.median;
  });
  return { label: rated[0].v.label, promise: rated[0].promise };
}

/** Weights of the stages in seconds as they come out on two cores with the shipped model; only progress depends on them. */
const WEIGHT = { evaluate: 8, prune: 7, step: 0.6, speed: 30 };

export async function compress(
  recipe: CompressRecipe,
  target: string,
  options: CompressOptions,
): Promise<CompressRecord> {
  const { base, signal } = options;
  const started = performance.now();
  const facts = provenance();
  const dense = await loadModel(options.model ?? resolve(base, recipe.model));
  const texts = await readTexts(dense, recipe, base);
  const curvePoints = recipe.curve.reduce((n, c) => n + c.sparsity.length, 0);
  const wanted = recipe.variants.filter((v) => !(options.model && "folder" in v));
  const variantWork = wanted.reduce((n, v) => {
    if ("folder" in v) return n + WEIGHT.evaluate;
    return n + recipe.seeds.length * (WEIGHT.prune + WEIGHT.evaluate + WEIGHT.step * (v.recover?.steps ?? 0));
  }, 0);
  const total =
    recipe.forecastSeconds +
    2 * WEIGHT.evaluate +
    curvePoints * (WEIGHT.prune + WEIGHT.evaluate / 2) +
    variantWork +
    WEIGHT.speed;
  const stages = new Stages(total, options.onProgress);
  const calibration = { calibrate: texts.calibrate, ...recipe.calibration };
  let record!: CompressRecord;

  await writeFolderAtomically(
    target,
    async (folder, inner) => {
      const stop = inner ?? signal;
      const foreseen: ForecastRecord = await stages.run("forecast", recipe.forecastSeconds, (tick) =>
        forecast(dense.config, { seconds: recipe.forecastSeconds, signal: stop, onProgress: tick }),
      );
      const score = (model: Model, text: Texts["table"], tick: (done: number) => void) =>
        perplexity(model, text, { signal: stop, onProgress: (p) => tick(p.done) });
      const denseCurve = await stages.run("dense, short text", WEIGHT.evaluate / 2, (t) =>
        score(dense, texts.curve, t),
      );

      const curve: CurvePoint[] = [];
      for (const c of recipe.curve) {
        for (const sparsity of c.sparsity) {
          const name = `${c.method} ${c.pattern} ${Math.round(100 * sparsity)} %`;
          curve.push(
            await stages.run(name, WEIGHT.prune + WEIGHT.evaluate / 2, async (tick) => {
              const start = performance.now();
              const pruned = await prune(dense, {
                method: c.method,
                pattern: c.pattern,
                sparsity,
                ...calibration,
                seed: recipe.seeds[0],
                signal: stop,
                onProgress: (p) => tick(0.6 * p.done),
              });
              const seconds = (performance.now() - start) / 1000;
              const quality = await score(pruned, texts.curve, (d) => tick(0.6 + 0.4 * d));
              const spec = { method: c.method, pattern: c.pattern, sparsity, recoverSteps: 0 };
              const achieved = pruned.report.achieved;
              return {
                ...spec,
                achieved,
                perplexity: quality.perplexity,
                bytes: await bytesWhenPacked(pruned),
                seconds,
              };
            }),
          );
        }
      }

      const made: Made[] = [
        {
          label: "dense",
          spec: null,
          models: [dense],
          qualities: [await stages.run("dense, long text", WEIGHT.evaluate, (t) => score(dense, texts.table, t))],
        },
      ];
      for (const v of wanted) {
        if ("folder" in v) {
          const at = resolve(base, v.folder);
          const model = await loadModel(at);
          demand(
            model.config.vocabSize === dense.config.vocabSize && model.config.layers === dense.config.layers,
            () => ({
              about: `variant "${v.label}", ${at}`,
              expected: `a sparse model of the recipe's model: ${dense.config.layers} layers, ${dense.config.vocabSize} tokens`,
              got: `${model.config.layers} layers, ${model.config.vocabSize} tokens`,
              hint: "Give the folder that was made from this model, or leave the variant out.",
            }),
          );
          const quality = await stages.run(`${v.label}: evaluate`, WEIGHT.evaluate, (t) =>
            score(model, texts.table, t),
          );
          made.push({ label: v.label, spec: await howMade(at), models: [model], qualities: [quality] });
          continue;
        }
        const qualities: PerplexityResult[] = [];
        const models: Model[] = [];
        let first: { folder: string; achieved: number } | undefined;
        for (const seed of recipe.seeds) {
          const many = recipe.seeds.length > 1 ? `, seed ${seed}` : "";
          let variant: PrunedModel = await stages.run(`${v.label}: prune${many}`, WEIGHT.prune, (tick) =>
            prune(dense, {
              method: v.method,
              pattern: v.pattern,
              sparsity: v.sparsity,
              ...calibration,
              seed,
              signal: stop,
              onProgress: (p) => tick(p.done),
            }),
          );
          if (v.recover) {
            const { steps, ...how } = v.recover;
            const sparse = variant;
            variant = await stages.run(`${v.label}: recover${many}`, WEIGHT.step * steps, (tick) =>
              recover(sparse, {
                dense,
                text: texts.recover,
                steps,
                ...how,
                length: recipe.calibration.length,
                seed,
                signal: stop,
                onProgress: (p) => tick(p.step / p.steps),
              }),
            );
          }
          // What is judged is the folder as it was read back.
          const at = join(folder, recipe.seeds.length > 1 ? `${slug(v.label)}-seed${seed}` : slug(v.label));
          await pack(variant, at, { signal: stop });
          const reloaded = await loadModel(at);
          qualities.push(
            await stages.run(`${v.label}: evaluate${many}`, WEIGHT.evaluate, (t) => score(reloaded, texts.table, t)),
          );
          models.push(reloaded);
          first ??= { folder: at, achieved: variant.report.achieved };
        }
        if (first)
          made.push({ label: v.label, spec: specOf(v, first.achieved), models, folder: first.folder, qualities });
      }

      const variants = await stages.run("speed", WEIGHT.speed, (tick) => timeAll(made, recipe, foreseen, stop, tick));
      const best = recommend(recipe, variants);
      record = {
        kind: "compress",
        version: 1,
        provenance: facts,
        seconds: (performance.now() - started) / 1000,
        stages: stages.times,
        recipe,
        model: {
          // The name only: a record travels, a machine's paths do not.
          folder: basename(dense.folder),
          parameters: [...dense.weights.names].reduce(
            (n, name) => n + dense.weights.info(name).shape.reduce((a, b) => a * b, 1),
            0,
          ),
          prunable: variants[0].bytes.prunableBf16 / 2,
          layers: dense.config.layers,
        },
        prompt: recipe.sample.prompt,
        forecast: foreseen,
        denseCurve,
        curve,
        variants: variants.map((v) => (v.folder ? { ...v, folder: v.folder.slice(folder.length + 1) } : v)),
        recommended: best.label,
        promise: best.promise,
      };
      const { writeFile } = await import("node:fs/promises");
      await writeFile(join(folder, "compress.json"), `${JSON.stringify(record, null, 2)}\n`);
      for (const [name, text] of Object.entries(options.render?.(record) ?? {}))
        await writeFile(join(folder, name), text);
      for (const m of made.slice(1)) for (const model of m.models) await model.weights.close();
    },
    options,
  );
  return record;
}

/** One spread of several models': the median of medians, the outermost quartiles. */
function pooled(spreads: readonly Spread[]): Spread {
  if (spreads.length === 1) return spreads[0];
  const of = (f: (s: Spread) => number): number[] => spreads.map(f);
  return {
    median: spread(of((s) => s.median)).median,
    low: Math.min(...of((s) => s.low)),
    high: Math.max(...of((s) => s.high)),
    min: Math.min(...of((s) => s.min)),
    max: Math.max(...of((s) => s.max)),
    repeats: spreads[0].repeats,
  };
}

/** Times every seed of all variants in one interleaved run and puts their rows together. */
async function timeAll(
  made: readonly Made[],
  recipe: CompressRecipe,
  foreseen: ForecastRecord,
  signal: AbortSignal | undefined,
  tick: (done: number) => void,
): Promise<VariantResult[]> {
  const runners: Runner[] = [];
  try {
    const speeds = machineSpeeds(made[0].models[0], { signal });
    for (const { models, spec } of made)
      for (const model of models)
        runners.push(await createRunner(model, { kernels: spec ? "auto" : "dense", speeds, signal }));
    const speed = await compareSpeed(runners, { ...recipe.speed, signal, onProgress: tick });
    const rows: VariantResult[] = [];
    let start = 0;
    for (const m of made) {
      const runner = runners[start];
      const timed = speed.slice(start, start + m.models.length);
      start += m.models.length;
      const { bytes, achieved, achievedAll } = await storedFacts(m.models[0]);
      const quality = m.qualities[0];
      const mean = (f: (q: PerplexityResult) => number): number =>
        m.qualities.reduce((n, q) => n + f(q), 0) / m.qualities.length;
      const ratios = m.qualities.map((q) => q.perplexity / made[0].qualities[0].perplexity);
      const row = (use: "decode" | "prefill"): SpeedRow => {
        const forecast = m.spec ? forecastRatio(foreseen[use], m.spec.pattern, achieved) : undefined;
        return {
          tokensPerSecond: pooled(timed.map((t) => t[use].tokensPerSecond)),
          ratio: pooled(timed.map((t) => t[use].ratio)),
          ...(timed.length > 1 && { perSeed: timed.map((t) => t[use].ratio.median) }),
          ...(forecast !== undefined && { forecast }),
        };
      };
      rows.push({
        label: m.label,
        spec: m.spec,
        achieved,
        achievedAll,
        quality: { ...quality, perplexity: mean((q) => q.perplexity), nll: mean((q) => q.nll) },
        ratio: ratios.reduce((a, b) => a + b, 0) / ratios.length,
        ratios,
        bytes,
        residentBytes: runner.bytes.resident,
        bytesPerToken: runner.bytes.perToken,
        decode: row("decode"),
        prefill: row("prefill"),
        layers: await layerRows(m.models[0], runner),
        sample: await sampleOf(runner, recipe, recipe.seeds[0]),
        ...(m.folder && { folder: m.folder }),
      });
    }
    return rows;
  } finally {
    for (const r of runners) r.dispose();
  }
}
