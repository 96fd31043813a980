/** `lacuna papers [words...]`: the catalogue of papers, filtered. */
import { Option } from "commander";
import { SITES, STAGES } from "../../papers/catalogue/entry.ts";
import type { Filter, Status } from "../../papers/listing.ts";
import type { Command } from "../command.ts";
import { table } from "../format.ts";

interface Options extends Omit<Filter, "words"> {
  readonly json?: boolean;
}

const statuses: readonly Status[] = ["implemented", "planned"];

export const papers: Command = {
  register(program, run) {
    program
      .command("papers")
      .description("list the 59 papers: where their zeros are, when they are made, and what has been shown here")
      .argument("[words...]", "only papers whose entry has all of these words")
      .addOption(new Option("--site <site>", "only papers with zeros there").choices(SITES))
      .addOption(new Option("--stage <stage>", "only papers that make them then").choices(STAGES))
      .addOption(new Option("--status <status>", "only papers that are").choices(statuses))
      .option("--json", "print JSON on stdout, nothing else")
      .action((words: string[], options: Options) =>
        run(options, async (console) => {
          const { listing } = await import("../../papers/listing.ts");
          const { readRecords } = await import("../../papers/records.node.ts");
          const found = listing(await readRecords(), { ...options, words });
          const rows = found.map((e) => [
            String(e.paper),
            e.method,
            String(e.year ?? "-"),
            e.sites.length > 3 ? "all" : e.sites.join(", "),
            e.stages.join(", "),
            e.verdict ? `${e.status}: ${e.verdict}` : e.status,
          ]);
          if (rows.length > 0) {
            for (const line of table(["no.", "method", "year", "zeros in", "made", "status"], rows))
              console.print(line);
          }
          const implemented = found.filter((e) => e.status === "implemented").length;
          console.print(`${found.length} papers, ${implemented} implemented; \`lacuna paper <no.>\` tells more of one`);
          console.result(found);
        }),
      );
  },
};
