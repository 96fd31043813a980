/** `lacuna unpack <model> -o dir`: a packed folder as a dense one, zeros included, for other tools. */
import { unpack as unpackModel } from "../../methods/save.ts";
import type { Command } from "../command.ts";
import { bytes } from "../format.ts";
import { openModel } from "../model.ts";

export const unpack: Command = {
  register(program, run) {
    program
      .command("unpack")
      .description("write a packed model as a dense folder that other tools open")
      .argument("<model>", "model folder")
      .requiredOption("-o, --output <folder>", "folder to write; it must not exist")
      .option("--force", "replace an existing output folder")
      .option("--json", "print JSON on stdout, nothing else")
      .action((name: string, options: { output: string; force?: boolean; json?: boolean }) =>
        run(options, async (console) => {
          const model = await openModel(name, console);
          const size = await unpackModel(model, options.output, {
            force: options.force,
            signal: console.signal,
            onProgress: (done) => console.progress("unpacking", done),
          });
          console.endProgress();
          console.print(`${options.output}: ${bytes(size)} of dense weights`);
          console.result({ folder: options.output, bytes: size });
        }),
      );
  },
};
