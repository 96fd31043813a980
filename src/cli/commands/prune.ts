/** `lacuna prune <model>`: one method, one pattern, one sparsity; writes a model folder. */
import { LacunaError } from "../../core/errors.ts";
import { checkTarget } from "../../formats/atomic.node.ts";
import { parseWeightFormat } from "../../formats/weights-write.ts";
import { type PruneOptions, type PruneReport, prune as pruneModel } from "../../methods/prune.ts";
import { pruneToFolder } from "../../methods/prune-to-folder.ts";
import { recover } from "../../methods/recovery/finetune.ts";
import { type SaveOptions, save } from "../../methods/save.ts";
import type { Model } from "../../models/model.ts";
import { readText } from "../../models/open.node.ts";
import { provenance } from "../../runtime/machine.node.ts";
import { type Command, list, share, wholeNumber } from "../command.ts";
import { type Console, duration, timeLeft } from "../console.ts";
import { percent } from "../format.ts";
import { openModel } from "../model.ts";

interface Options {
  readonly method: string;
  readonly sparsity?: number;
  readonly pattern: string;
  readonly budget: string;
  readonly calibrate?: string;
  readonly samples?: number;
  readonly length?: number;
  readonly seed: number;
  readonly skip?: string[];
  readonly only?: string[];
  readonly recover?: number;
  readonly recoverText?: string;
  readonly output: string;
  readonly format: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Learning rate of `--recover`: high enough to move what is left, back to 0 at the end. */
const RATE = { peak: 1e-3, floor: 0, warmup: 10 };

async function pruneAndRecover(
  model: Model,
  options: Options,
  how: PruneOptions,
  writing: SaveOptions,
  console: Console,
): Promise<PruneReport> {
  const file = options.recoverText ?? options.calibrate;
  if (file === undefined) {
    throw new LacunaError({
      about: "--recover",
      expected: "a text to train on",
      got: "neither --recover-text nor --calibrate",
      hint: "Name a training text with --recover-text.",
    });
  }
  const text = await readText(file);
  await checkTarget(options.output, writing);
  const pruned = await pruneModel(model, how);
  const recovered = await recover(pruned, {
    dense: model,
    text,
    steps: options.recover as number,
    length: options.length,
    rate: RATE,
    seed: options.seed,
    signal: console.signal,
    onProgress: (p) => console.progress("recovering", p.step / p.steps, p.secondsLeft),
  });
  await save(recovered, options.output, writing);
  return recovered.report;
}

export const prune: Command = {
  register(program, run) {
    program
      .command("prune")
      .description("prune a model with one method and write the result as a model folder")
      .argument("<model>", "model folder, or hf:owner/name")
      .requiredOption("--method <name>", "magnitude, wanda or sparsegpt")
      .option("--sparsity <share>", "share of zeros in [0, 1); left out with N:M patterns", share("--sparsity"))
      .option("--pattern <pattern>", "unstructured, N:M such as 2:4, blocks such as 4x1, 2:4@4x1", "unstructured")
      .option("--budget <name>", "how the zeros are shared over the layers", "uniform")
      .option("--calibrate <file>", "text that the model is run on; needed by wanda and sparsegpt")
      .option("--samples <n>", "calibration windows; default as many as the text gives, at most 128", wholeNumber(1))
      .option("--length <tokens>", "tokens per window; default the model's context, at most 2048", wholeNumber(2))
      .option("--seed <n>", "which windows are drawn", wholeNumber(0), 0)
      .option("--skip <layers>", "layers left dense: names or globs, by commas", list)
      .option("--only <layers>", "prune only these: names or globs, by commas", list)
      .option("--recover <steps>", "steps of masked fine-tuning afterwards", wholeNumber(1))
      .option("--recover-text <file>", "training text for --recover; default the calibration text")
      .requiredOption("-o, --output <folder>", "folder to write; it must not exist")
      .option("--format <format>", "packed, dense, sparse-bitmask or sparse-24-bitmask", "packed")
      .option("--force", "replace an existing output folder")
      .option("--json", "print the run's record as JSON on stdout, nothing else")
      .action((name: string, options: Options) =>
        run(options, async (console) => {
          const format = parseWeightFormat(options.format);
          const model = await openModel(name, console);
          const left = timeLeft();
          const how = {
            method: options.method,
            sparsity: options.sparsity,
            pattern: options.pattern,
            budget: options.budget,
            calibrate: options.calibrate === undefined ? undefined : await readText(options.calibrate),
            samples: options.samples,
            length: options.length,
            seed: options.seed,
            skip: options.skip,
            only: options.only,
            signal: console.signal,
            onProgress: ({ done }: { done: number }) => console.progress("pruning", done, left(done)),
          };
          const writing = {
            format,
            force: options.force,
            signal: console.signal,
            provenance: { ...provenance() },
          };
          const report =
            options.recover === undefined
              ? await pruneToFolder(model, options.output, { ...how, ...writing })
              : await pruneAndRecover(model, options, how, writing, console);
          console.endProgress();
          console.print(
            `${options.output}: ${percent(report.achieved)} of the prunable weights are zero (${percent(report.achievedAll)} of all), ` +
              `pattern ${report.pattern}, ${duration(report.seconds)}`,
          );
          console.result(report);
        }),
      );
  },
};
