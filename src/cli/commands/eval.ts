/** `lacuna eval <model> --text file`: perplexity by the one protocol. */
import { perplexity } from "../../evaluate/perplexity.ts";
import { readText } from "../../models/open.node.ts";
import { type Command, wholeNumber } from "../command.ts";
import { timeLeft } from "../console.ts";
import { openModel } from "../model.ts";

interface Options {
  readonly text: string;
  readonly length?: number;
  readonly windows?: number;
  readonly json?: boolean;
}

export const evaluate: Command = {
  register(program, run) {
    program
      .command("eval")
      .description("perplexity of a model on a text, in windows that do not overlap")
      .argument("<model>", "model folder, or hf:owner/name")
      .requiredOption("--text <file>", "UTF-8 text file")
      .option("--length <tokens>", "tokens per window; default: the model's context, at most 2048", wholeNumber(2))
      .option("--windows <n>", "only the first n windows", wholeNumber(1))
      .option("--json", "print JSON on stdout, nothing else")
      .action((name: string, options: Options) =>
        run(options, async (console) => {
          const model = await openModel(name, console);
          const text = await readText(options.text);
          const left = timeLeft();
          const r = await perplexity(model, text, {
            length: options.length,
            windows: options.windows,
            signal: console.signal,
            onProgress: ({ done }) => console.progress("evaluating", done, left(done)),
          });
          console.endProgress();
          console.print(`perplexity ${r.perplexity.toFixed(3)}`);
          console.print(
            `${r.nll.toFixed(4)} nats a token, ${r.bitsPerByte === null ? "?" : r.bitsPerByte.toFixed(4)} bits a byte; ` +
              `${r.tokens} tokens in ${r.windows} windows of ${r.length}; ${r.seconds.toFixed(1)} s`,
          );
          console.result(r);
        }),
      );
  },
};
