/**
 * The recipe of a training run as data: validated YAML or JSON, paths relative to the recipe's own folder.
 */
import { parse } from "yaml";
import { z } from "zod";
import { LacunaError } from "../core/errors.ts";

const positive = z.number().int().positive();

export const trainRecipe = z.strictObject({
  kind: z.literal("train"),
  /** where the finished model folder goes */
  out: z.string().min(1),
  /** the model's config.json, as Hugging Face writes it */
  model: z.record(z.string(), z.unknown()),
  /** folder with tokenizer.json */
  tokenizer: z.string().min(1),
  data: z.union([
    z.strictObject({ source: z.literal("sotu") }),
    z.strictObject({ train: z.array(z.string().min(1)).min(1), validation: z.array(z.string().min(1)).min(1) }),
  ]),
  seed: z.number().int().nonnegative(),
  batch: positive,
  length: positive,
  steps: positive,
  rate: z.strictObject({
    peak: z.number().positive(),
    floor: z.number().nonnegative(),
    warmup: z.number().int().nonnegative(),
  }),
  optimiser: z
    .strictObject({
      beta1: z.number().min(0).lt(1),
      beta2: z.number().min(0).lt(1),
      eps: z.number().positive(),
      weightDecay: z.number().nonnegative(),
      clip: z.number().nonnegative(),
    })
    .partial()
    .default({}),
  every: z
    .strictObject({ evaluate: positive.default(500), checkpoint: positive.default(250) })
    .default({ evaluate: 500, checkpoint: 250 }),
  /** windows of the validation text that are scored at each evaluation */
  validationWindows: positive.default(64),
});

export type TrainRecipe = z.infer<typeof trainRecipe>;

/** Parses YAML (JSON is a part of it) against a schema; the error names the field, what was expected, what came. */
export function parseRecipe<S extends z.ZodType>(text: string, where: string, schema: S): z.infer<S> {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (cause) {
    throw new LacunaError(
      {
        about: where,
        expected: "YAML or JSON",
        got: (cause as Error).message.split("\n")[0],
        hint: "Check the file's syntax.",
      },
      { cause },
    );
  }
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LacunaError({
    about: `${where}, field ${issue.path.join(".") || "(top)"}`,
    expected: "a valid recipe",
    got: issue.message,
    hint: "See recipes/ for examples and docs/recipes.md for every field.",
  });
}
