/** `lacuna paper <number>`: one paper's card. */
import type { Command } from "../command.ts";
import { claimLines, paperArgument, recordLines } from "../papers.ts";

export const paper: Command = {
  register(program, run) {
    program
      .command("paper")
      .description("one paper: its idea, where it is implemented, its oracles, its claims and its last record")
      .argument("<number>", "as in `lacuna papers`", paperArgument)
      .option("--json", "print JSON on stdout, nothing else")
      .action((number: number, options: { json?: boolean }) =>
        run(options, async (console) => {
          const { cardOf } = await import("../../papers/card.node.ts");
          const card = await cardOf(number);
          const { entry, experiment, record } = card;
          const print = (...lines: string[]): void => lines.forEach(console.print);
          print(`${entry.paper}  ${entry.method} (${entry.status})`, "", entry.title);
          const place = [entry.venue, entry.arxiv && `arXiv ${entry.arxiv}`, entry.code].filter(Boolean).join(" · ");
          print(entry.authors, place, "", entry.idea, "");
          print(`zeros in   ${entry.sites.join(", ")}`, `made       ${entry.stages.join(", ")}`);
          if (entry.pattern) print(`pattern    ${entry.pattern}`);
          if (entry.note) print(`note       ${entry.note}`);
          if (experiment) {
            print("", `experiment ${experiment.file}`, `method     ${experiment.method}`);
            for (const file of experiment.uses) print(`uses       ${file}`);
            for (const { file, tests } of experiment.oracles) {
              print(`oracles    ${file}`, ...tests.map((name) => `           - ${name}`));
            }
            print(`data       ${experiment.data.join(", ") || "generated"}`);
            print(`promised   ${experiment.minutes} min on two cores, ${experiment.seeds.length} seeds`);
            if (!record) print("", ...claimLines(experiment.claims), "", "no record yet");
          }
          if (record) print("", ...recordLines(record));
          if (record?.analysis) print("", record.analysis);
          if (card.stale) {
            const again = experiment ? `: lacuna reproduce ${entry.paper} --record` : "";
            print("", `The record is older than the code it speaks of; make it again${again}.`);
          }
          console.result(card);
        }),
      );
  },
};
