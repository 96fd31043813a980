/** The command line of the bench: what it takes, and what is a mistake. */
import { parseArgs } from "node:util";
import { demand } from "../../src/core/errors.ts";
import { MATRIX, SUITES } from "./suites/index.ts";
import type { Suite } from "./suites/suite.ts";

export const USAGE = `npm run bench -- [suite..] [options]

suites
${SUITES.map((s) => `  ${s.name.padEnd(10)} ${s.shows}`).join("\n")}
  ${"matrix".padEnd(10)} ${MATRIX.map((s) => s.name).join(", ")}: what docs/speed.md shows; also the default with options
  ${"all".padEnd(10)} every one of them

options
  --quick          smaller inputs and fewer rounds; never recorded
  --json           the ratios as one JSON array on stdout and nothing else (with npm run --silent)
  --record         write results/bench/<suite>.json, suite by suite as they end
  --resume         with --record: leave out suites whose record is of this very commit
  --threads 1,2    numbers of threads for Lacuna in train and generate; default 1,2
  --models a,b     model folders for generate, the dense one first; default models/sotu
`;

export interface Call {
  readonly suites: readonly Suite[];
  readonly quick: boolean;
  readonly json: boolean;
  readonly record: boolean;
  readonly resume: boolean;
  readonly threads: readonly number[];
  readonly models: readonly string[];
}

const listOf = (text: string | undefined): string[] => (text ?? "").split(",").filter((part) => part !== "");

/** Reads the arguments; a mistake is a LacunaError. */
export function parseCall(args: readonly string[]): Call | "help" {
  const flag = { type: "boolean", default: false } as const;
  const options = {
    quick: flag,
    json: flag,
    record: flag,
    resume: flag,
    help: flag,
    threads: { type: "string" },
    models: { type: "string" },
  } as const;
  const parse = () => parseArgs({ args: [...args], options, allowPositionals: true });
  let parsed: ReturnType<typeof parse> | undefined;
  try {
    parsed = parse();
  } catch (error) {
    demand(false, () => ({
      about: "bench",
      expected: "the options of --help",
      got: (error as Error).message.split(". ")[0],
      hint: "Run npm run bench -- --help.",
    }));
  }
  const { values, positionals } = parsed!;
  if (values.help || args.length === 0) return "help";
  const groups: Readonly<Record<string, readonly Suite[]>> = { all: SUITES, matrix: MATRIX };
  const asked = positionals.length === 0 ? ["matrix"] : positionals;
  const names = new Set(
    asked.flatMap((name) => (Object.hasOwn(groups, name) ? groups[name].map((s) => s.name) : name)),
  );
  const suites = [...names].map((name) => {
    const suite = SUITES.find((s) => s.name === name);
    demand(suite !== undefined, () => ({
      about: "suite",
      expected: [...SUITES.map((s) => s.name), "matrix", "all"].join(", "),
      got: name,
      hint: "Run npm run bench -- --help.",
    }));
    return suite!;
  });
  const threads = values.threads === undefined ? [1, 2] : listOf(values.threads).map(Number);
  demand(
    threads.length > 0 && threads.every((n, i) => Number.isInteger(n) && n >= 1 && n <= 64 && !(n <= threads[i - 1])),
    () => ({
      about: "--threads",
      expected: "whole numbers from 1 to 64, ascending, as 1,2",
      got: String(values.threads),
      hint: "Leave it out for 1,2.",
    }),
  );
  demand(!(values.quick && values.record), () => ({
    about: "--record",
    expected: "a full run",
    got: "--quick",
    hint: "Leave --quick out: short runs are for looking, not for the record.",
  }));
  demand(values.record || !values.resume, () => ({
    about: "--resume",
    expected: "--record beside it",
    got: "--resume alone",
    hint: "Add --record.",
  }));
  const { quick, json, record, resume } = values;
  return { suites, quick, json, record, resume, threads, models: listOf(values.models) };
}
