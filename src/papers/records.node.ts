/**
 * Records on disk: `results/NN-slug.json`, and `results/analysis/NN-slug.md`, in which a person says why a main claim is
 * not shown. A record carries a copy of its analysis. Node only.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LacunaError } from "../core/errors.ts";
import { writeFileAtomically } from "../formats/atomic.node.ts";
import { type CatalogueEntry, catalogue, paperName } from "./catalogue/index.ts";
import type { PaperRecord } from "./contract.ts";
import { owesAnalysis } from "./judge.ts";

/** The package's folder: the nearest one above this file with our package.json. */
function packageFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, "package.json");
    if (existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as { name?: string }).name === "lacuna")
      return folder;
    if (folder === dirname(folder)) return process.cwd();
  }
}

export const resultsFolder = (): string => join(packageFolder(), "results");

type Named = Pick<CatalogueEntry, "paper" | "slug">;

export const recordFile = (entry: Named, folder = resultsFolder()): string => join(folder, `${paperName(entry)}.json`);

/** Where a person writes the analysis of a paper. */
export const analysisFile = (entry: Named, folder = resultsFolder()): string =>
  join(folder, "analysis", `${paperName(entry)}.md`);

const textOf = (file: string): Promise<string | null> =>
  readFile(file, "utf8").then(
    (text) => text,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    },
  );

/** The last record of a paper, or null. */
export async function readRecord(entry: Named, folder = resultsFolder()): Promise<PaperRecord | null> {
  const file = recordFile(entry, folder);
  const text = await textOf(file);
  if (text === null) return null;
  try {
    return JSON.parse(text) as PaperRecord;
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    const hint = `Make it again: lacuna reproduce ${entry.paper} --record.`;
    throw new LacunaError({ about: file, expected: "a record in JSON", got, hint }, { cause });
  }
}

/** All records, by paper number. */
export async function readRecords(folder = resultsFolder()): Promise<Map<number, PaperRecord>> {
  const found = new Map<number, PaperRecord>();
  const names = new Set(existsSync(folder) ? readdirSync(folder) : []);
  for (const entry of catalogue) {
    if (!names.has(`${paperName(entry)}.json`)) continue;
    const record = await readRecord(entry, folder);
    if (record) found.set(entry.paper, record);
  }
  return found;
}

/**
 * The record with the analysis that stands in its file: always when it owes one (null until it is written), otherwise
 * when there is one.
 */
export async function withAnalysis(record: PaperRecord, entry: Named, folder = resultsFolder()): Promise<PaperRecord> {
  const text = (await textOf(analysisFile(entry, folder)))?.trim() || null;
  const { analysis: _, ...rest } = record;
  return text !== null || owesAnalysis(record.claims) ? { ...rest, analysis: text } : rest;
}

export const recordText = (record: PaperRecord): string => `${JSON.stringify(record, null, 2)}\n`;

/**
 * Writes a record and gives its path; null, and nothing is written, for one that was skipped where a full one stands.
 * Throws for a smoke run and for figures from validation data, which are no record.
 */
export async function writeRecord(record: PaperRecord, entry: Named, folder = resultsFolder()): Promise<string | null> {
  if (record.quick || record.split !== "test") {
    throw new LacunaError({
      about: `record of paper ${record.paper}`,
      expected: "figures of a full run on test data",
      got: record.quick ? "a smoke run" : "validation data",
      hint: "Run it without --quick and --dev.",
    });
  }
  const file = recordFile(entry, folder);
  if (record.skipped !== undefined && existsSync(file)) return null;
  await writeFileAtomically(file, recordText(record));
  return file;
}
