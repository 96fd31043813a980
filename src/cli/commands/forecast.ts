/** `lacuna forecast <model>`: will sparsity pay on this machine, for this model's shapes? */
import { initSync } from "../../core/engine.ts";
import { forecast as runForecast, type UseForecast } from "../../runtime/forecast.ts";
import { type Command, realNumber, wholeNumber } from "../command.ts";
import { timeLeft } from "../console.ts";
import { percent, table } from "../format.ts";
import { openModel } from "../model.ts";

interface Options {
  readonly seconds: number;
  readonly fresh?: boolean;
  readonly threads?: number;
  readonly json?: boolean;
}

function breakEven(b: UseForecast["model"][number]["breakEven"]): string {
  if (!b) return "never";
  return b.kind === "below" ? `below ${percent(b.sparsity)}` : percent(b.sparsity);
}

export const forecast: Command = {
  register(program, run) {
    program
      .command("forecast")
      .description("which pattern and sparsity pays on this machine, for the model's own layer shapes; prunes nothing")
      .argument("<model>", "model folder, or hf:owner/name")
      .option("--seconds <n>", "most seconds to measure", realNumber(1, 600), 45)
      .option("--fresh", "measure again what the machine profile already has")
      .option("--threads <n>", "threads that compute", wholeNumber(1, 64))
      .option("--json", "print JSON on stdout, nothing else")
      .action((name: string, options: Options) =>
        run(options, async (console) => {
          if (options.threads) initSync({ threads: options.threads });
          const model = await openModel(name, console);
          const left = timeLeft();
          const f = await runForecast(model.config, {
            seconds: options.seconds,
            fresh: options.fresh === true,
            signal: console.signal,
            onProgress: (done, label) => console.progress(label, done, left(done)),
          });
          console.endProgress();
          console.print(f.recommendation);
          for (const use of [f.decode, f.prefill]) {
            console.print("");
            console.print(
              `${use.use}, ${use.tokens} ${use.tokens === 1 ? "token" : "tokens"} at a time: layers are ${percent(use.layersShare.median)} of a dense run`,
            );
            const rows = use.model.flatMap((c) =>
              c.points.map((p) => [
                p.pattern,
                percent(p.sparsity),
                p.layers.toFixed(2),
                p.model.toFixed(2),
                `${p.low.toFixed(2)} to ${p.high.toFixed(2)}`,
                breakEven(c.breakEven),
              ]),
            );
            const header = ["pattern", "sparsity", "layers", "model", "spread", "pays from"];
            for (const line of table(header, rows)) console.print(line);
          }
          console.print("");
          console.print(
            `times as fast as the best dense form; ${f.cached ? "from the machine profile" : `measured in ${f.seconds.toFixed(0)} s`}`,
          );
          console.result(f);
        }),
      );
  },
};
