/** `lacuna train <recipe>`: trains a language model from a recipe, or goes on where a stopped run left off. */

import { dirname } from "node:path";
import { initSync } from "../../core/engine.ts";
import { readText } from "../../models/open.node.ts";
import { type Command, wholeNumber } from "../command.ts";
import { duration } from "../console.ts";

interface Options {
  readonly json?: boolean;
  readonly fresh?: boolean;
  readonly force?: boolean;
  readonly threads?: number;
}

export const train: Command = {
  register(program, run) {
    program
      .command("train")
      .description("train a language model from a recipe (YAML or JSON); resumes by itself from checkpoints")
      .argument("<recipe>", "recipe file, e.g. recipes/sotu.yaml")
      .option("--fresh", "forget the checkpoints of this recipe's output folder")
      .option("--force", "replace an existing output folder")
      .option("--threads <n>", "threads that compute", wholeNumber(1, 64))
      .option("--json", "print the training record as JSON on stdout, nothing else")
      .action((file: string, options: Options) =>
        run(options, async (console) => {
          const { trainLanguageModel } = await import("../../train/language-model.ts");
          const { parseRecipe, trainRecipe } = await import("../../train/recipe.ts");
          if (options.threads) initSync({ threads: options.threads });
          const recipe = parseRecipe(await readText(file), file, trainRecipe);
          const record = await trainLanguageModel(recipe, {
            base: dirname(file),
            fresh: options.fresh,
            force: options.force,
            signal: console.signal,
            onProgress: (p) =>
              console.progress(
                `step ${p.step} of ${p.steps}, loss ${p.loss.toFixed(3)}, ${Math.round(p.tokensPerSecond)} tokens/s`,
                p.step / p.steps,
                p.secondsLeft,
              ),
          });
          console.endProgress();
          const last = record.history.at(-1);
          console.print(
            `trained ${record.parameters} parameters on ${record.tokens} tokens in ${duration(record.seconds)}`,
          );
          if (last) console.print(`validation perplexity ${last.validationPerplexity.toFixed(2)}`);
          console.result(record);
        }),
      );
  },
};
