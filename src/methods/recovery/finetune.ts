/**
 * Recovery: masked fine-tuning of a pruned model, with distillation from the dense one. It follows any method.
 *
 * Every parameter gets an f32 master; where a mask is 0, value and moments stay 0. Loss: (1 - w) cross-entropy plus
 * w T^2 KL(teacher || student) (Hinton et al. 2015). The result is rounded to the stored types: patterns and masks are
 * those that came in, bit for bit. Not resumable; the shipped recipes take minutes.
 */
import { LacunaError } from "../../core/errors.ts";
import { outside, scope } from "../../core/scope.ts";
import { noGrad } from "../../core/tape.ts";
import { type Tensor, tensor } from "../../core/tensor.ts";
import { batchStream, START } from "../../data/batches.ts";
import { checkTokenIds } from "../../data/tokenizer.ts";
import { defaultLength } from "../../evaluate/protocol.ts";
import { dtypeBytes } from "../../formats/dtype.ts";
import { layOver } from "../../formats/overlay.ts";
import { type LlamaConfig, llamaPrunable, llamaTensorShapes } from "../../models/llama/config.ts";
import { disposeLlama, engineType, loadLlama, readTensor, readValues, storedBytes } from "../../models/llama/load.ts";
import { assembleLlama, forwardLogits, type Llama, ropeTables } from "../../models/llama/model.ts";
import { encodeFor, type Model } from "../../models/model.ts";
import { add, scale } from "../../nn/ops/elementwise.ts";
import { crossEntropy, distillation } from "../../nn/ops/loss.ts";
import { AdamW, type AdamWOptions, type Parameter } from "../../nn/optimiser.ts";
import { maskOfValues } from "../../sparsity/mask.ts";
import { parsePattern, printPattern } from "../../sparsity/pattern.ts";
import { trainLoop } from "../../train/loop.ts";
import {
  countZeros,
  type LayerReport,
  type PruneReport,
  type RecoveryReport,
  shares,
  type Trained,
} from "../report.ts";
import { isSparse, type PrunedModel, type RecordedMask, readMask, recordMask } from "../sparse-model.ts";

export type { RecoveryReport, Trained };

export interface RecoveryProgress {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly secondsLeft: number;
}

export interface RecoverOptions {
  /** the teacher; without it there is no distillation */
  readonly dense?: Model | undefined;
  /** training text or its token ids */
  readonly text: string | Int32Array;
  readonly steps: number;
  /** sequences per step; default 8 */
  readonly batch?: number | undefined;
  /** tokens per sequence; default `min(max_position_embeddings, 2048)` */
  readonly length?: number | undefined;
  readonly rate: { readonly peak: number; readonly floor: number; readonly warmup: number };
  /** share of the teacher in the loss, 0 to 1, and the softmax temperature; default weight 0.5 at 1 with a teacher */
  readonly distill?: { readonly weight: number; readonly temperature: number } | undefined;
  /** default `all` */
  readonly train?: Trained | undefined;
  /** default: no weight decay, clipping at 1 */
  readonly optimiser?: Partial<AdamWOptions> | undefined;
  /** of the order of the batches; default 0 */
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((p: RecoveryProgress) => void) | undefined;
}

function demandNumber(about: string, expected: string, value: number, fits: boolean): void {
  if (!fits) throw new LacunaError({ about, expected, got: String(value), hint: "Mend this option of the recovery." });
}

const whole = (n: number): boolean => Number.isInteger(n) && n >= 1;

/** The teacher's share, checked. */
function settleDistillation(options: RecoverOptions): RecoveryReport["distill"] {
  const { dense, distill } = options;
  const settled = distill ?? (dense ? { weight: 0.5, temperature: 1 } : null);
  if (settled === null || settled.weight === 0) return null;
  const { weight, temperature } = settled;
  demandNumber("distillation weight", "a number from 0 to 1", weight, weight >= 0 && weight <= 1);
  demandNumber("distillation temperature", "a number above 0", temperature, temperature > 0);
  if (!dense) {
    throw new LacunaError({
      about: "distillation",
      expected: "the dense model as a teacher",
      got: "none",
      hint: "Give it as `dense`, or leave distillation out.",
    });
  }
  return settled;
}

/** Recorded masks, or those of the values that are not 0. Throws a `LacunaError` when nothing is pruned. */
async function masksOf(model: Model): Promise<Map<string, RecordedMask>> {
  if (isSparse(model)) return new Map(model.masks);
  const masks = new Map<string, RecordedMask>();
  const shapes = llamaTensorShapes(model.config);
  for (const name of llamaPrunable(model.config)) {
    const [rows, columns] = shapes.get(name) as readonly number[];
    const mask = maskOfValues(await readValues(model.weights, name, [rows, columns]));
    if (mask.kept === mask.bits.length) continue;
    const pattern = parsePattern(model.weights.info(name).packing?.pattern ?? "unstructured");
    masks.set(name, recordMask(mask, pattern, rows, columns));
  }
  if (masks.size === 0) {
    throw new LacunaError({
      about: "model",
      expected: "a pruned model",
      got: "one without a zero in its prunable weights",
      hint: "Prune it first.",
    });
  }
  return masks;
}

interface Student {
  readonly model: Llama;
  readonly parameters: readonly Parameter[];
  dispose(): void;
}

async function buildStudent(
  sparse: Model,
  masks: ReadonlyMap<string, RecordedMask>,
  trained: Trained,
): Promise<Student> {
  const { config, weights } = sparse;
  const parameters: Parameter[] = [];
  const held = new Map<string, Tensor>();
  const dispose = (): void => {
    for (const t of held.values()) t.dispose();
    for (const p of parameters) p.mask?.dispose();
  };
  try {
    for (const [name, shape] of llamaTensorShapes(config)) {
      if (trained === "blocks" && /^(model\.embed_tokens|lm_head)\./.test(name)) {
        const t = await readTensor(weights, name, shape);
        held.set(name, t);
        continue;
      }
      const values = await readValues(weights, name, shape);
      const value = outside(() => tensor(values, shape));
      held.set(name, value);
      const mask = masks.get(name);
      const decay = shape.length === 2;
      if (!mask) parameters.push({ name, value, decay });
      else parameters.push({ name, value, decay, mask: outside(() => tensor(readMask(mask).bits, shape)) });
    }
    return { model: assembleLlama(config, (name) => held.get(name) as Tensor), parameters, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The report of what was pruned before, with zeros counted anew: a kept weight may have become 0, or left 0. */
function countAnew(
  model: Model,
  masks: ReadonlyMap<string, RecordedMask>,
  bytesOf: ReadonlyMap<string, Uint8Array>,
): PruneReport {
  const { config, weights } = model;
  const before = isSparse(model) ? model.report : undefined;
  const zerosOf = (name: string): number =>
    countZeros(bytesOf.get(name) as Uint8Array, dtypeBytes[weights.info(name).dtype]);
  const layers = [...masks].map(([name, { rows, columns, kept }]): LayerReport => {
    const zeros = zerosOf(name);
    const notes = before?.layers.find((l) => l.name === name)?.notes ?? {};
    return { name, rows, columns, kept, zeros, sparsity: zeros / (rows * columns), notes };
  });
  const prunable = llamaPrunable(config);
  const achieved = shares(
    config,
    prunable.reduce((sum, name) => sum + zerosOf(name), 0),
  );
  if (before) return { ...before, ...achieved, layers };
  const patterns = new Set([...masks.values()].map((m) => printPattern(m.pattern)));
  return {
    method: "given",
    pattern: patterns.size === 1 ? [...patterns][0] : "mixed",
    budget: "given",
    requested: achieved.achieved,
    ...achieved,
    calibration: null,
    layers,
    skipped: prunable.filter((name) => !masks.has(name)),
    seconds: 0,
  };
}

function checkTeacher(dense: Model, config: LlamaConfig): void {
  if (dense.config.vocabSize === config.vocabSize) return;
  throw new LacunaError({
    about: "teacher",
    expected: `a vocabulary of ${config.vocabSize}, the pruned model's`,
    got: String(dense.config.vocabSize),
    hint: "Give the model that was pruned.",
  });
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Fine-tunes the weights that pruning left; returns a model whose trained tensors lie over the given one's source.
 *
 * Throws a `LacunaError` for options out of range, a text that is too short or beyond the vocabulary, a model that is
 * not pruned, and distillation without a teacher; the signal's reason when aborted, between two steps.
 */
export async function recover(
  sparse: Model,
  options: RecoverOptions,
): Promise<PrunedModel & { readonly recovery: RecoveryReport }> {
  const started = performance.now();
  const { config, weights } = sparse;
  const { dense, steps, rate, seed = 0, batch = 8, train = "all", signal, onProgress } = options;
  const length = options.length ?? defaultLength(config.maxPositions);
  demandNumber("steps", "a whole number from 1 up", steps, whole(steps));
  demandNumber("length", `1 to ${config.maxPositions} tokens`, length, whole(length) && length <= config.maxPositions);
  demandNumber("learning rate", "a number above 0", rate.peak, rate.peak > 0 && Number.isFinite(rate.peak));
  const distill = settleDistillation(options);
  if (dense && distill) checkTeacher(dense, config);
  const ids = typeof options.text === "string" ? encodeFor(sparse, options.text, "training text").ids : options.text;
  checkTokenIds(ids, config.vocabSize, "training text");
  const batches = batchStream(ids, { batch, length, seed });
  const masks = await masksOf(sparse);

  const student = await buildStudent(sparse, masks, train);
  let teacher: Llama | undefined;
  let optimiser: AdamW | undefined;
  const tables = ropeTables(config, length);
  const losses: number[] = [];
  const replaced = new Map<string, Uint8Array>();
  try {
    if (dense && distill) teacher = await loadLlama(dense.weights, dense.config);
    optimiser = new AdamW(student.parameters, { weightDecay: 0, ...options.optimiser });
    let cursor = START;
    const loss = (): Tensor => {
      const b = batches.at(cursor);
      cursor = b.next;
      const logits = forwardLogits(student.model, tables, b.inputs, batch);
      const ce = (): Tensor => crossEntropy(logits, tensor(b.targets));
      if (!teacher || !distill) return ce();
      const t = teacher;
      const target = noGrad(() => scope(() => forwardLogits(t, tables, b.inputs, batch)));
      const kl = scale(distillation(logits, target, distill.temperature), distill.weight);
      return distill.weight === 1 ? kl : add(scale(ce(), 1 - distill.weight), kl);
    };
    const begun = performance.now();
    await trainLoop(
      { optimiser, loss },
      {
        rate: { ...rate, steps },
        ...(signal && { signal }),
        afterStep: ({ step, loss: value }) => {
          losses.push(value);
          const secondsLeft = ((performance.now() - begun) / 1000 / step) * (steps - step);
          onProgress?.({ step, steps, loss: value, secondsLeft });
        },
      },
    );
    for (const { name, value } of student.parameters) {
      replaced.set(name, storedBytes(name, value.toArray(), engineType(weights.info(name).dtype)));
    }
  } finally {
    optimiser?.dispose();
    if (teacher) disposeLlama(teacher);
    student.dispose();
    tables.cos.dispose();
    tables.sin.dispose();
  }

  const tenth = Math.max(1, Math.floor(steps / 10));
  return {
    ...sparse,
    weights: layOver(weights, replaced),
    masks,
    report: countAnew(sparse, masks, replaced),
    recovery: {
      steps,
      batch,
      length,
      tokens: steps * batch * length,
      rate,
      distill,
      train,
      seed,
      loss: { first: mean(losses.slice(0, tenth)), last: mean(losses.slice(-tenth)) },
      seconds: (performance.now() - started) / 1000,
    },
  };
}
