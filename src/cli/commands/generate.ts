/** `lacuna generate <model> --prompt p`: streams text, then says how fast it came. */
import { initSync } from "../../core/engine.ts";
import { generate as generateText } from "../../runtime/generate.ts";
import { machineSpeeds } from "../../runtime/profile-cache.node.ts";
import { createRunner } from "../../runtime/runner.ts";
import { type Command, realNumber, wholeNumber } from "../command.ts";
import { openModel } from "../model.ts";

interface Options {
  readonly prompt: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
  readonly threads?: number;
  readonly json?: boolean;
}

export const generate: Command = {
  register(program, run) {
    program
      .command("generate")
      .description("continue a prompt, streaming, then print tokens per second")
      .argument("<model>", "model folder, or hf:owner/name")
      .requiredOption("--prompt <text>", "what the model continues")
      .option("--tokens <n>", "most tokens to make", wholeNumber(1), 64)
      .option("--temperature <t>", "0 takes the likeliest token each time", realNumber(0, 100), 0.8)
      .option("--top-k <k>", "draw from the k likeliest", wholeNumber(1))
      .option("--top-p <p>", "draw from the fewest that hold this probability", realNumber(0, 1))
      .option("--seed <n>", "of the draws", wholeNumber(0), 0)
      .option("--threads <n>", "threads that compute", wholeNumber(1, 64))
      .option("--json", "print JSON on stdout at the end, nothing else")
      .action((name: string, options: Options) =>
        run(options, async (console) => {
          if (options.threads) initSync({ threads: options.threads });
          const model = await openModel(name, console);
          const runner = await createRunner(model, { speeds: machineSpeeds(model), signal: console.signal });
          const { tokens, temperature, topK, topP, seed } = options;
          const generation = generateText(runner, options.prompt, {
            tokens,
            temperature,
            seed,
            signal: console.signal,
            ...(topK !== undefined && { topK }),
            ...(topP !== undefined && { topP }),
          });
          let text = "";
          console.write(options.prompt);
          for await (const piece of generation) {
            text += piece;
            console.write(piece);
          }
          console.print("");
          const s = generation.statistics;
          if (s)
            console.print(
              `${s.tokens} tokens, ${s.tokensPerSecond.toFixed(1)} tokens/s (prompt ${s.promptTokens} tokens)`,
            );
          console.result({ prompt: options.prompt, text, ...s });
          runner.dispose();
        }),
      );
  },
};
