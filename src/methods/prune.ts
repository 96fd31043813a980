/**
 * Pruning a model with a method: what is asked is settled first, then the blocks are pruned in order, each weight
 * rounded to its stored type before the calibration walk goes on. One weight at a time leaves through a sink: into
 * memory (`prune`), or into a folder (`prune-to-folder.ts`). What a method does is in `weights/`.
 */
import { drawWindows } from "../calibrate/draw.ts";
import { wantsAny } from "../calibrate/taps.ts";
import { breathe, type Replacement, walkBlocks } from "../calibrate/walk.ts";
import { LacunaError } from "../core/errors.ts";
import { checkTokenIds } from "../data/tokenizer.ts";
import { defaultLength } from "../evaluate/protocol.ts";
import { dtypeBytes } from "../formats/dtype.ts";
import { layOver } from "../formats/overlay.ts";
import { LINEARS, type LinearName } from "../models/llama/block.ts";
import { llamaPrunable, llamaTensorShapes } from "../models/llama/config.ts";
import { engineType, readValues, storedBytes, weightName } from "../models/llama/load.ts";
import { encodeFor, type Model } from "../models/model.ts";
import { type Budget, budgetNamed, keepCounts, uniform } from "../sparsity/budget.ts";
import type { Mask } from "../sparsity/mask.ts";
import {
  type LayerShape,
  type Pattern,
  parsePattern,
  printPattern,
  settleSparsity,
  unstructured,
} from "../sparsity/pattern.ts";
import { chooseLayers } from "./layers.ts";
import { countZeros, type LayerReport, type PruneReport, shares } from "./report.ts";
import { isSparse, type PrunedModel, type RecordedMask, recordMask } from "./sparse-model.ts";
import { type LayerStatistics, methodNamed, type WeightMethod } from "./weights/index.ts";

export type { LayerReport, PrunedModel, PruneReport };

export interface PruneProgress {
  /** share of the work done, 0 to 1 */
  readonly done: number;
  /** the layer that was pruned last */
  readonly layer: string;
}

export interface PruneOptions {
  /** a method or its id */
  readonly method: WeightMethod | string;
  /** fraction of zeros in [0, 1); N:M fixes it, and then it is left out or must agree */
  readonly sparsity?: number | undefined;
  /** a pattern or its text; default unstructured */
  readonly pattern?: Pattern | string | undefined;
  /** how the zeros are shared over layers; default uniform */
  readonly budget?: Budget | string | undefined;
  /** calibration text or its token ids; must be there for methods that look at inputs, ignored by the others */
  readonly calibrate?: string | Int32Array | undefined;
  /** calibration windows; default as many as the text gives, at most 128 */
  readonly samples?: number | undefined;
  /** tokens per calibration window; default `min(max_position_embeddings, 2048)` */
  readonly length?: number | undefined;
  /** which draw of calibration windows, and the seed of methods that draw; default 0 */
  readonly seed?: number | undefined;
  /** layers to leave alone, and layers to be the only ones (see `layers.ts`) */
  readonly skip?: readonly string[] | undefined;
  readonly only?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((p: PruneProgress) => void) | undefined;
}

/** One pruned weight on its way out. */
export interface PrunedWeight {
  readonly name: string;
  /** little-endian, in the stored type */
  readonly bytes: Uint8Array;
  readonly mask: Mask;
  readonly shape: LayerShape;
}

export type Sink = (weight: PrunedWeight) => Promise<void> | void;

interface Target {
  readonly shape: LayerShape;
  readonly layer: number;
  readonly linear: LinearName;
  /** units of the pattern to keep */
  readonly keep: number;
}

/** What is to be done, checked. */
export interface PrunePlan {
  readonly model: Model;
  readonly method: WeightMethod;
  readonly pattern: Pattern;
  readonly budget: Budget;
  readonly sparsity: number;
  readonly seed: number;
  /** in the order of the blocks */
  readonly targets: readonly Target[];
  readonly skipped: readonly string[];
  /** null when the method needs no inputs */
  readonly sequences: readonly Int32Array[] | null;
}

function drawCalibration(model: Model, method: WeightMethod, options: PruneOptions): Int32Array[] {
  const { calibrate } = options;
  const { maxPositions, vocabSize } = model.config;
  if (calibrate === undefined) {
    throw new LacunaError({
      about: "calibration text",
      expected: `a text for method ${method.id}, which looks at the layers' inputs`,
      got: "none",
      hint: "Give text like the model will see (--calibrate file); magnitude needs none.",
    });
  }
  const length = options.length ?? defaultLength(maxPositions);
  if (!Number.isInteger(length) || length < 1 || length > maxPositions) {
    throw new LacunaError({
      about: "length",
      expected: `a whole number from 1 to ${maxPositions}, the positions this model was made for`,
      got: String(length),
      hint: "It is the number of tokens of a calibration window.",
    });
  }
  const ids = typeof calibrate === "string" ? encodeFor(model, calibrate, "calibration text").ids : calibrate;
  if (typeof calibrate !== "string") checkTokenIds(ids, vocabSize, "calibration text");
  return drawWindows(ids, { length, samples: options.samples, seed: options.seed });
}

/** Settles everything that can be wrong with what was asked, before any work. Throws a `LacunaError` for it. */
export function planPruning(model: Model, options: PruneOptions): PrunePlan {
  const { config } = model;
  const method = typeof options.method === "string" ? methodNamed(options.method) : options.method;
  const given = options.pattern ?? unstructured;
  const pattern = typeof given === "string" ? parsePattern(given) : given;
  const sparsity = settleSparsity(pattern, options.sparsity);
  const asked = options.budget ?? uniform;
  const budget = typeof asked === "string" ? budgetNamed(asked) : asked;
  const prunable = llamaPrunable(config);
  const chosen = new Set(chooseLayers(prunable, options));
  const shapes = llamaTensorShapes(config);
  const all = Array.from({ length: config.layers }, (_, layer) =>
    LINEARS.map((linear) => ({ layer, linear, name: weightName(layer, linear) })),
  ).flat();
  const places = all.filter(({ name }) => chosen.has(name));
  const layers = places.map(({ name }): LayerShape => {
    const [rows, columns] = shapes.get(name) as readonly number[];
    return { name, rows, columns };
  });
  const keep = keepCounts(budget, layers, pattern, sparsity);
  const sequences = wantsAny(method.needs) ? drawCalibration(model, method, options) : null;
  return {
    model,
    method,
    pattern,
    budget,
    sparsity,
    seed: options.seed ?? 0,
    targets: places.map(({ layer, linear }, i) => ({ layer, linear, shape: layers[i], keep: keep[i] })),
    skipped: prunable.filter((name) => !chosen.has(name)),
    sequences,
  };
}

/** Does what was planned, handing each pruned weight to the sink as soon as it is there. */
export async function runPruning(
  plan: PrunePlan,
  sink: Sink,
  options: Pick<PruneOptions, "signal" | "onProgress"> = {},
): Promise<PruneReport> {
  const started = performance.now();
  const { model, method, pattern, targets, sequences, seed } = plan;
  const { signal, onProgress } = options;
  const { weights, config } = model;
  const reports: LayerReport[] = [];

  const pruneOne = async (target: Target, statistics: LayerStatistics): Promise<Replacement> => {
    signal?.throwIfAborted();
    const { shape, linear, keep } = target;
    const { name, rows, columns } = shape;
    const values = await readValues(weights, name, [rows, columns]);
    const result = method.prune({ shape, weights: values, pattern, keep, statistics, seed });
    const { dtype } = weights.info(name);
    const bytes = storedBytes(name, result.weights, engineType(dtype));
    const zeros = countZeros(bytes, dtypeBytes[dtype]);
    const elements = rows * columns;
    const { kept } = result.mask;
    reports.push({ name, rows, columns, kept, zeros, sparsity: zeros / elements, notes: result.notes });
    await sink({ name, bytes, mask: result.mask, shape });
    onProgress?.({ done: reports.length / targets.length, layer: name });
    await breathe();
    return { linear, bytes };
  };

  if (sequences === null) {
    for (const target of targets) await pruneOne(target, {});
  } else {
    const at = (layer: number): Target[] => targets.filter((t) => t.layer === layer);
    const last = Math.max(...targets.map((t) => t.layer));
    await walkBlocks(model, {
      sequences,
      signal,
      blocks: last + 1,
      wanted: (layer, linear) => (at(layer).some((t) => t.linear === linear) ? method.needs : undefined),
      visit: async ({ layer, statistics }) => {
        const replacements: Replacement[] = [];
        for (const target of at(layer)) replacements.push(await pruneOne(target, statistics(target.linear)));
        return replacements;
      },
    });
  }

  let zeros = reports.reduce((sum, l) => sum + l.zeros, 0);
  for (const name of plan.skipped) {
    signal?.throwIfAborted();
    zeros += countZeros(await weights.read(name), dtypeBytes[weights.info(name).dtype]);
  }
  return {
    method: method.id,
    pattern: printPattern(pattern),
    budget: plan.budget.id,
    requested: plan.sparsity,
    ...shares(config, zeros),
    calibration: sequences && {
      samples: sequences.length,
      length: sequences[0].length,
      tokens: sequences.length * sequences[0].length,
      seed,
    },
    layers: reports,
    skipped: plan.skipped,
    seconds: (performance.now() - started) / 1000,
  };
}

/**
 * Prunes a model; the pruned weights are held in memory, in their stored type, over the model's own source.
 *
 * Throws a `LacunaError`, before any work, for an unknown method, pattern, budget or layer name, a sparsity outside
 * [0, 1) or against the pattern's own, a pattern that does not divide a layer, and a calibration text that is missing,
 * empty, too short or beyond the vocabulary; later for weights that are not finite. The signal's reason when aborted.
 */
export async function prune(model: Model, options: PruneOptions): Promise<PrunedModel> {
  const plan = planPruning(model, options);
  const replaced = new Map<string, Uint8Array>();
  const masks = new Map<string, RecordedMask>(isSparse(model) ? model.masks : []);
  const report = await runPruning(
    plan,
    ({ name, bytes, mask, shape }) => {
      replaced.set(name, bytes);
      masks.set(name, recordMask(mask, plan.pattern, shape.rows, shape.columns));
    },
    options,
  );
  return { ...model, weights: layOver(model.weights, replaced), masks, report };
}
