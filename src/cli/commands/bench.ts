/** `lacuna bench <model> [others...]`: tokens per second side by side, in one interleaved run. */
import { initSync } from "../../core/engine.ts";
import { compareSpeed } from "../../evaluate/speed.ts";
import { provenance } from "../../runtime/machine.node.ts";
import { machineSpeeds } from "../../runtime/profile-cache.node.ts";
import { createRunner, type Runner } from "../../runtime/runner.ts";
import type { Spread } from "../../runtime/timing.ts";
import { type Command, wholeNumber } from "../command.ts";
import { timeLeft } from "../console.ts";
import { bytes, table } from "../format.ts";
import { openModel } from "../model.ts";

interface Options {
  readonly threads?: number;
  readonly prompt?: number;
  readonly tokens?: number;
  readonly rounds: number;
  readonly json?: boolean;
}

const spreadText = (s: Spread, digits: number): string =>
  `${s.median.toFixed(digits)} (${s.low.toFixed(digits)} to ${s.high.toFixed(digits)})`;

export const bench: Command = {
  register(program, run) {
    program
      .command("bench")
      .description("decode and prefill tokens per second, interleaved; medians, quartiles, ratio to the first model")
      .argument("<model>", "the one that others are compared with")
      .argument("[others...]", "more model folders")
      .option("--threads <n>", "threads that compute", wholeNumber(1, 64))
      .option("--prompt <tokens>", "tokens of a prefill; default 128, or half of the context", wholeNumber(1))
      .option("--tokens <n>", "tokens decoded in a stretch; default 32", wholeNumber(1))
      .option("--rounds <n>", "interleaved rounds", wholeNumber(3), 15)
      .option("--json", "print JSON on stdout, nothing else")
      .action((first: string, others: string[], options: Options) =>
        run(options, async (console) => {
          if (options.threads) initSync({ threads: options.threads });
          const names = [first, ...others];
          const runners: Runner[] = [];
          try {
            for (const name of names) {
              console.progress(`loading ${name}`, runners.length / names.length);
              const model = await openModel(name, console);
              const speeds = machineSpeeds(model, { signal: console.signal });
              runners.push(await createRunner(model, { speeds, signal: console.signal }));
            }
            const left = timeLeft();
            const results = await compareSpeed(runners, {
              rounds: options.rounds,
              ...(options.prompt !== undefined && { promptTokens: options.prompt }),
              ...(options.tokens !== undefined && { tokens: options.tokens }),
              signal: console.signal,
              onProgress: (done) => console.progress("timing", done, left(done)),
            });
            console.endProgress();
            const rows = results.map((r, i) => [
              names[i],
              spreadText(r.decode.tokensPerSecond, 0),
              spreadText(r.decode.ratio, 2),
              spreadText(r.prefill.tokensPerSecond, 0),
              spreadText(r.prefill.ratio, 2),
              bytes(runners[i].bytes.resident),
            ]);
            const header = ["model", "decode tokens/s", "to the first", "prefill tokens/s", "to the first", "resident"];
            for (const line of table(header, rows)) console.print(line);
            const made = provenance();
            console.print(
              `medians and quartiles of ${options.rounds} rounds; prefill of ${results[0].promptTokens} tokens, ${made.threads} threads, ${made.machine.cpu}`,
            );
            const models = results.map((r, i) => ({
              model: names[i],
              ...r,
              bytes: runners[i].bytes,
              layers: runners[i].layers,
            }));
            console.result({ kind: "bench", version: 1, provenance: made, models });
          } finally {
            for (const r of runners) r.dispose();
          }
        }),
      );
  },
};
