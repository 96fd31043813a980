/**
 * The recipe of the main job as data: which model and texts, which points of the curve, which variants are made whole,
 * and the bounds that the recommended one must keep. Paths are relative to the recipe's folder.
 */
import { z } from "zod";

const sparsity = z.number().min(0).lt(1);
const positive = z.number().int().positive();

const recovery = z.strictObject({
  steps: positive,
  batch: positive.default(8),
  rate: z.strictObject({
    peak: z.number().positive(),
    floor: z.number().nonnegative(),
    warmup: z.number().int().nonnegative(),
  }),
  /** weight of the dense model's predictions in the loss, and their temperature */
  distill: z.strictObject({ weight: z.number().min(0).max(1), temperature: z.number().positive() }),
});

/** A variant that the job makes: pruned, perhaps recovered, packed. */
const toMake = z.strictObject({
  label: z.string().min(1),
  method: z.string(),
  pattern: z.string(),
  sparsity: sparsity.optional(),
  recover: recovery.optional(),
});

/** A sparse model of the recipe's model, made before: judged and timed as the others; left out for another model. */
const ready = z.strictObject({ label: z.string().min(1), folder: z.string().min(1) });

export const compressRecipe = z.strictObject({
  kind: z.literal("compress"),
  model: z.string().min(1),
  text: z.strictObject({
    calibrate: z.string().min(1),
    /** short held-out text, for the curve */
    curve: z.string().min(1),
    /** long held-out text, for the table */
    table: z.string().min(1),
    /** training text for recovery */
    recover: z.string().min(1),
  }),
  /** seeds of calibration draws and recovery; variants are made once for each */
  seeds: z.array(z.number().int().nonnegative()).min(1),
  calibration: z.strictObject({ samples: positive, length: positive.optional() }),
  forecastSeconds: z.number().positive().max(600),
  curve: z.array(
    z.strictObject({
      method: z.string(),
      pattern: z.string().default("unstructured"),
      sparsity: z.array(sparsity).min(1),
    }),
  ),
  variants: z.array(z.union([toMake, ready])).min(1),
  speed: z.strictObject({ promptTokens: positive, tokens: positive, rounds: positive }),
  sample: z.strictObject({
    prompt: z.string().min(1),
    tokens: positive,
    temperature: z.number().nonnegative(),
    topK: positive.optional(),
  }),
  /** what the recommended variant must keep */
  promise: z.strictObject({
    perplexityRatio: z.number().positive(),
    decode: z.number().positive(),
    prefill: z.number().positive(),
    bytesShare: z.number().positive(),
  }),
});

export type CompressRecipe = z.infer<typeof compressRecipe>;
export type VariantRecipe = z.infer<typeof toMake>;
