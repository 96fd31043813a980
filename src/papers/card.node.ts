/** All that is known of one paper here: catalogue, experiment, where it is implemented, its oracles, its last record. Node only. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { paperName } from "./catalogue/index.ts";
import type { Claim, Experiment, PaperRecord } from "./contract.ts";
import { sourceFolder } from "./hash.node.ts";
import { type Listed, listing } from "./listing.ts";
import { entryOf, isImplemented, loadExperiment } from "./load.ts";
import { readRecord } from "./records.node.ts";
import { currentHashes } from "./reproduce.node.ts";

export interface OracleFile {
  /** relative to the package's folder */
  readonly file: string;
  /** names of its tests; empty where the sources are not at hand */
  readonly tests: readonly string[];
}

export interface Card {
  readonly entry: Listed;
  /** null while the paper is planned */
  readonly experiment: {
    /** relative to the package's folder */
    readonly file: string;
    readonly method: string;
    readonly uses: readonly string[];
    readonly oracles: readonly OracleFile[];
    readonly data: readonly string[];
    readonly seeds: readonly number[];
    readonly minutes: number;
    readonly claims: readonly Claim[];
  } | null;
  readonly record: PaperRecord | null;
  /** the record was made by other code than today's */
  readonly stale: boolean;
}

const TEST_NAME = /\b(?:test|it)(?:\.\w+(?:\([^()]*\))?)*\(\s*(["'`])((?:\\.|(?!\1).)*)\1/g;

/** Names of the tests in a test file's text. */
export const testNames = (text: string): string[] =>
  [...text.matchAll(TEST_NAME)].map((m) => m[2].replace(/\\(.)/g, "$1"));

/** The tests that hold a method to its oracles, relative to src/. */
export function oracleFiles(experiment: Experiment): readonly string[] {
  return experiment.oracles ?? [experiment.method.replace(/\.ts$/, ".test.ts")];
}

function oracle(file: string): OracleFile {
  const path = sourceFolder && join(sourceFolder, file);
  return { file: `src/${file}`, tests: path && existsSync(path) ? testNames(readFileSync(path, "utf8")) : [] };
}

export async function cardOf(paper: number, results?: string): Promise<Card> {
  const { slug } = entryOf(paper);
  const record = await readRecord({ paper, slug }, results);
  const records = new Map(record ? [[paper, record] as const] : []);
  const entry = listing(records).find((e) => e.paper === paper) as Listed;
  if (!isImplemented(paper)) return { entry, experiment: null, record, stale: record !== null };
  const experiment = await loadExperiment(paper);
  const { method, uses, data, seeds, minutes, claims } = experiment;
  return {
    entry,
    experiment: {
      file: `src/papers/${paperName(entry)}.ts`,
      method: `src/${method}`,
      uses: uses.map((file) => `src/${file}`),
      oracles: oracleFiles(experiment).map(oracle),
      data,
      seeds,
      minutes,
      claims,
    },
    record,
    stale: record !== null && record.hash !== currentHashes(paper, experiment).record,
  };
}
