/** `lacuna inspect <model>`: what is in the weights, found from the values. */
import { inspect as inspectModel } from "../../evaluate/inspect.ts";
import type { Command } from "../command.ts";
import { bytes, percent, table } from "../format.ts";
import { openModel } from "../model.ts";

export const inspect: Command = {
  register(program, run) {
    program
      .command("inspect")
      .description("layers, shapes, types, and the sparsity and pattern found in the weights; bytes packed and in BF16")
      .argument("<model>", "model folder, or hf:owner/name")
      .option("--json", "print JSON on stdout, nothing else")
      .action((name: string, options: { json?: boolean }) =>
        run(options, async (console) => {
          const model = await openModel(name, console);
          const facts = await inspectModel(model, (done) => console.progress("reading weights", done));
          console.endProgress();
          const rows = facts.layers.map((l) => [
            l.name,
            l.dtype,
            l.shape.join(" x "),
            percent(l.sparsity),
            l.pattern ?? "-",
            bytes(l.packedBytes),
            bytes(l.bf16Bytes),
          ]);
          const header = ["tensor", "type", "shape", "zeros", "pattern", "stored", "as BF16"];
          for (const line of table(header, rows)) console.print(line);
          for (const [what, t] of [
            ["prunable weights", facts.prunable],
            ["all weights", facts.all],
          ] as const) {
            console.print(
              `${what}: ${t.elements} elements, ${percent(t.sparsity)} zeros, ${bytes(t.packedBytes)} stored, ${bytes(t.bf16Bytes)} as BF16`,
            );
          }
          console.result(facts);
        }),
      );
  },
};
