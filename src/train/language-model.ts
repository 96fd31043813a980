/**
 * Trains a Llama from a recipe: data, fresh parameters, steps, validation, checkpoints, and the finished folder in BF16
 * with its training record. A stopped run resumes from its checkpoints beside the output folder.
 */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { exp } from "../core/elementary.ts";
import { memory, parallel, scratch } from "../core/engine.ts";
import { scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { type Batch, batchStream, joinDocuments, START } from "../data/batches.ts";
import { loadSotu } from "../data/sotu.ts";
import type { TextDocument } from "../data/text-package.ts";
import { checkTokenIds, loadTokenizer } from "../data/tokenizer.ts";
import { checkTarget, type FolderOptions } from "../formats/atomic.node.ts";
import type { JsonObject } from "../formats/json.ts";
import { writeModelFolder } from "../formats/model-write.node.ts";
import { convert } from "../kernels/convert/index.ts";
import { parseLlamaConfig } from "../models/llama/config.ts";
import { assembleLlama, forwardLogits, ropeTables } from "../models/llama/model.ts";
import { freshParameters } from "../models/llama/parameters.ts";
import { readText } from "../models/open.node.ts";
import { crossEntropy } from "../nn/ops/loss.ts";
import { AdamW, type Parameter } from "../nn/optimiser.ts";
import { type CheckpointState, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { trainLoop } from "./loop.ts";
import type { TrainRecipe } from "./recipe.ts";

export interface TrainProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

export interface TrainOptions {
  /** folder that the recipe's paths are relative to */
  readonly base: string;
  readonly onProgress?: (p: TrainProgress) => void;
  readonly signal?: AbortSignal;
  /** forget checkpoints of this output folder */
  readonly fresh?: boolean;
  /** replace an existing output folder */
  readonly force?: boolean;
}

export interface TrainRecord {
  readonly recipe: TrainRecipe;
  readonly parameters: number;
  readonly tokens: number;
  readonly epochs: number;
  readonly seconds: number;
  readonly resumedFrom: number;
  readonly history: readonly Readonly<Record<string, number>>[];
}

async function documents(
  recipe: TrainRecipe,
  base: string,
): Promise<{ train: readonly TextDocument[]; validation: readonly TextDocument[] }> {
  if ("source" in recipe.data) return loadSotu();
  const read = (paths: readonly string[]): Promise<TextDocument[]> =>
    Promise.all(paths.map(async (p) => ({ name: basename(p), text: await readText(resolve(base, p)) })));
  return { train: await read(recipe.data.train), validation: await read(recipe.data.validation) };
}

/** Where a run keeps its checkpoints: a hidden sibling of the output folder. */
export const checkpointFolder = (out: string): string => join(dirname(out), `.${basename(out)}.train`);

/** BF16 bytes of an f32 tensor, rounded to nearest even. */
export function bf16Bytes(t: Tensor): Uint8Array {
  return scratch(2 * t.size, (p) => {
    parallel(convert, "f32ToBf16Stored", [t.ptr, p], t.size, 1 << 14);
    return memory.u8(p, 2 * t.size).slice();
  });
}

/** Writes parameters as a Hugging Face folder in BF16, with the tokenizer's files and `files` beside them. */
export async function saveTrained(
  target: string,
  config: JsonObject,
  parameters: readonly Parameter[],
  tokenizerFolder: string,
  files: Readonly<Record<string, string>>,
  options: FolderOptions = {},
): Promise<void> {
  const plan = parameters.map((p) => ({ name: p.name, dtype: "BF16" as const, shape: p.value.shape }));
  await writeModelFolder(
    target,
    { config, format: "dense", plan, companions: tokenizerFolder, files },
    async (write) => {
      for (const p of parameters) await write(p.name, bf16Bytes(p.value));
    },
    options,
  );
}

export async function trainLanguageModel(recipe: TrainRecipe, options: TrainOptions): Promise<TrainRecord> {
  const { base, onProgress, signal } = options;
  const out = resolve(base, recipe.out);
  await checkTarget(out, options);
  const tokenizerFolder = resolve(base, recipe.tokenizer);
  const config = parseLlamaConfig(recipe.model as JsonObject, "recipe, field model");
  const tokenizer = await loadTokenizer(tokenizerFolder);
  const text = await documents(recipe, base);
  const trainTokens = joinDocuments(text.train, tokenizer);
  const validTokens = joinDocuments(text.validation, tokenizer);
  checkTokenIds(trainTokens, config.vocabSize, "training text");
  const batches = batchStream(trainTokens, { batch: recipe.batch, length: recipe.length, seed: recipe.seed });
  const validation = batchStream(validTokens, { batch: 1, length: recipe.length, seed: 0 });

  const parameters = freshParameters(config, recipe.seed);
  const byName = new Map(parameters.map((p) => [p.name, p.value]));
  const model = assembleLlama(config, (name) => byName.get(name)!);
  const tables = ropeTables(config, recipe.length);
  const optimiser = new AdamW(parameters, recipe.optimiser);

  const folder = checkpointFolder(out);
  if (options.fresh) await rm(folder, { recursive: true, force: true });
  const id = createHash("sha256").update(JSON.stringify(recipe)).digest("hex");
  const resumed = await loadCheckpoint(folder, optimiser, id);
  const history: Record<string, number>[] = [...(resumed?.history ?? [])];
  let cursor = resumed?.cursor ?? START;
  let turn = resumed?.turn ?? 0;
  let before = resumed?.seconds ?? 0;
  let started = performance.now();
  const firstStep = optimiser.steps;

  const evaluate = (): number =>
    noGrad(() => {
      const windows = Math.min(recipe.validationWindows, validation.batchesIn(0));
      let sum = 0;
      for (let i = 0; i < windows; i++) {
        const { inputs, targets } = validation.at({ epoch: 0, index: i });
        sum += scope(() => crossEntropy(forwardLogits(model, tables, inputs, 1), tensor(targets)).item());
      }
      return sum / windows;
    });

  let batch: Batch | null = null;
  let smooth = Number.NaN;
  const tokensPerStep = recipe.batch * recipe.length;
  await trainLoop(
    {
      optimiser,
      loss: () => {
        batch = batches.at(cursor);
        return crossEntropy(forwardLogits(model, tables, batch.inputs, recipe.batch), tensor(batch.targets));
      },
    },
    {
      rate: { ...recipe.rate, steps: recipe.steps },
      signal,
      afterStep: async ({ step, steps, loss, rate, gradientNorm }) => {
        cursor = (batch as Batch).next;
        smooth = Number.isNaN(smooth) ? loss : 0.95 * smooth + 0.05 * loss;
        const seconds = (performance.now() - started) / 1000;
        const tokensPerSecond = ((step - firstStep) * tokensPerStep) / seconds;
        onProgress?.({
          step,
          steps,
          loss: smooth,
          tokensPerSecond,
          secondsLeft: ((steps - step) * tokensPerStep) / tokensPerSecond,
        });
        if (step % recipe.every.evaluate === 0 || step === steps) {
          const valid = evaluate();
          history.push({
            step,
            loss: smooth,
            rate,
            gradientNorm,
            validationLoss: valid,
            validationPerplexity: exp(valid),
          });
        }
        if (step % recipe.every.checkpoint === 0 || step === steps) {
          const state: CheckpointState = { version: 1, step, cursor, recipe: id, seconds: before + seconds, history };
          await saveCheckpoint(folder, optimiser, state, turn++);
        }
      },
    },
  );
  before += (performance.now() - started) / 1000;
  started = performance.now();

  const record: TrainRecord = {
    recipe,
    parameters: parameters.reduce((n, p) => n + p.value.size, 0),
    tokens: recipe.steps * tokensPerStep,
    epochs: (recipe.steps * tokensPerStep) / trainTokens.length,
    seconds: before,
    resumedFrom: firstStep,
    history,
  };
  await saveTrained(
    out,
    recipe.model as JsonObject,
    parameters,
    tokenizerFolder,
    { "training.json": `${JSON.stringify(record, null, 2)}\n` },
    options,
  );
  optimiser.dispose();
  return record;
}
