/** `lacuna reproduce <numbers...>`: runs experiments and judges their claims; resumes by itself what was stopped. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { InvalidArgumentError } from "commander";
import { LacunaError } from "../../core/errors.ts";
import type { PaperRecord } from "../../papers/contract.ts";
import type { Source } from "../../papers/load.ts";
import type { Mode } from "../../papers/reproduce.node.ts";
import { type Command, wholeNumber } from "../command.ts";
import { type Console, report } from "../console.ts";
import { paperArgument, recordLines } from "../papers.ts";

interface Options {
  readonly all?: boolean;
  readonly quick?: boolean;
  readonly dev?: boolean;
  readonly record?: boolean;
  readonly fresh?: boolean;
  readonly jobs?: number;
  readonly json?: boolean;
}

/** A number, or the file of one's own experiment. */
function source(text: string, before: Source[] | undefined): Source[] {
  if (/^\d+$/.test(text)) return [...(before ?? []), paperArgument(text)];
  if (!existsSync(text)) throw new InvalidArgumentError("Expected a paper's number or an experiment's file.");
  return [...(before ?? []), pathToFileURL(resolve(text)).href];
}

const refuse = (expected: string, got: string, hint: string): never => {
  throw new LacunaError({ about: "reproduce", expected, got, hint });
};

function modeOf({ quick, dev, record }: Options): Mode {
  if (quick && dev) refuse("one of --quick and --dev", "both", "Leave one out.");
  if (record && (quick || dev)) {
    refuse(
      "a full run for --record",
      quick ? "--quick" : "--dev",
      "A record holds figures of a full run on test data.",
    );
  }
  return quick ? "quick" : dev ? "dev" : "full";
}

async function show(record: PaperRecord, options: Options, console: Console): Promise<void> {
  const { entryOf } = await import("../../papers/load.ts");
  const { analysisFile, writeRecord } = await import("../../papers/records.node.ts");
  const entry = entryOf(record.paper);
  console.print(`${record.paper}  ${record.method}`);
  for (const line of recordLines(record)) console.print(line);
  if (options.record) {
    const file = await writeRecord(record, entry);
    console.print(file ? `written: ${file}` : "not written: a full record stands there");
    if (record.analysis === null) {
      process.stderr.write(
        `A main claim is not shown. Say what was tried and what the numbers say in ${analysisFile(entry)},\n` +
          `then run \`lacuna reproduce ${record.paper} --record\` again: finished cells are kept.\n`,
      );
    }
  }
  console.print("");
}

export const reproduce: Command = {
  register(program, run) {
    program
      .command("reproduce")
      .description("run papers' experiments and judge their claims; what was stopped goes on at the cell where it was")
      .argument("[papers...]", "numbers as in `lacuna papers`, or files of your own experiments", source)
      .option("--all", "every paper that is implemented")
      .option("--quick", "smoke run of seconds: no verdict, nothing kept or written")
      .option("--dev", "measure on validation data, for work on a method")
      .option("--record", "write the records into results/")
      .option("--fresh", "forget the cells that are kept from earlier runs")
      .option("--jobs <n>", "cells side by side, one thread each; default: the cores", wholeNumber(1, 64))
      .option("--json", "print the record as JSON on stdout (a list for several papers), nothing else")
      .action((given: Source[], options: Options) =>
        run(options, async (console) => {
          const mode = modeOf(options);
          const { implemented } = await import("../../papers/load.ts");
          const { reproduce: runPapers } = await import("../../papers/reproduce.node.ts");
          const sources = options.all ? implemented() : [...new Set(given)];
          if (options.all && given.length > 0) refuse("numbers or --all", "both", "Leave one out.");
          if (sources.length === 0) {
            refuse("a paper's number, or --all", "none", "`lacuna papers --status implemented` lists what can be run.");
          }
          const record = options.record ? sources.find((s) => typeof s === "string") : undefined;
          if (record) refuse("papers of the catalogue for --record", String(record), "Leave --record out.");
          const outcomes = await runPapers(sources, {
            mode,
            jobs: options.jobs,
            fresh: options.fresh,
            signal: console.signal,
            onProgress: (p) => {
              const now = p.running.length > 0 ? ` (${p.running.join(", ")})` : "";
              console.progress(`${p.finished} of ${p.cells} cells${now}`, p.done, p.secondsLeft);
            },
            onRecord: (r) => show(r, options, console),
          });
          console.endProgress();
          const records = outcomes.flatMap((o) => o.record ?? []);
          if (outcomes.length === 1) {
            if (outcomes[0].error !== undefined) throw outcomes[0].error;
            console.result(records[0]);
            return;
          }
          console.result(records);
          const errors = outcomes.flatMap((o) => o.error ?? []);
          for (const error of errors.slice(0, -1)) report(error);
          if (errors.length > 0) throw errors.at(-1);
        }),
      );
  },
};
