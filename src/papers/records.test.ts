/** The committed records: made by today's code, judged from their own figures, and honest about what they do not show. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { catalogue, paperName } from "./catalogue/index.ts";
import type { ClaimResult, PaperRecord } from "./contract.ts";
import { judge, owesAnalysis, verdictOf } from "./judge.ts";
import { entryOf, loadExperiment } from "./load.ts";
import {
  analysisFile,
  readRecord,
  readRecords,
  recordFile,
  resultsFolder,
  withAnalysis,
  writeRecord,
} from "./records.node.ts";
import { currentHashes, metricsOf } from "./reproduce.node.ts";

const committed = [...(await readRecords())];

test("every file in results/ that is named as a record is one of the catalogue's", () => {
  const names = readdirSync(resultsFolder()).filter((name) => /^\d\d-.*\.json$/.test(name));
  const known = new Set(catalogue.map((e) => `${paperName(e)}.json`));
  expect(names.filter((name) => !known.has(name))).toEqual([]);
  expect(names).toHaveLength(committed.length);
});

describe.runIf(committed.length > 0)("the record of paper", () => {
  test.for(committed)("%d is not older than the method it speaks of", async ([paper, record]) => {
    expect(record.hash).toBe(currentHashes(paper, await loadExperiment(paper)).record);
  });

  test.for(committed)(
    "%d follows from its own figures: no number was typed, no bound moved",
    async ([paper, record]) => {
      expect(record).toMatchObject({ paper, method: entryOf(paper).method, split: "test" });
      expect(record.quick).toBeUndefined();
      if (record.skipped !== undefined) {
        expect(record).toMatchObject({ cells: {}, claims: [], verdict: null });
        return;
      }
      const experiment = await loadExperiment(paper);
      expect(record.seeds).toEqual(experiment.seeds);
      const claims = judge(
        experiment.claims,
        experiment.seeds,
        metricsOf(experiment, experiment.seeds, (name) => record.cells[name]),
      );
      expect(record.claims).toEqual(claims);
      expect(record.verdict).toBe(verdictOf(claims));
    },
  );

  test.for(committed)("%d says why, if a main claim is not shown", async ([paper, record]) => {
    if (owesAnalysis(record.claims)) expect(record.analysis?.length ?? 0).toBeGreaterThan(100);
    expect(record).toEqual(await withAnalysis(record, entryOf(paper)));
  });
});

describe("writing", () => {
  const folder = mkdtempSync(join(tmpdir(), "lacuna-records-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const entry = entryOf(36);
  const record: PaperRecord = {
    paper: 36,
    method: entry.method,
    version: "0.1.0",
    hash: "0".repeat(16),
    date: "2026-01-01T00:00:00.000Z",
    machine: "none",
    split: "test",
    seeds: [1],
    seconds: 1,
    jobs: 1,
    minutesPromised: 1,
    peakBytes: 1,
    cells: {},
    claims: [],
    verdict: "shown",
  };
  const missed = { main: true, shown: false } as ClaimResult;

  test("a record is written under its paper's name and read back", async () => {
    expect(await writeRecord(record, entry, folder)).toBe(join(folder, "36-dsnot.json"));
    expect(await readRecord(entry, folder)).toEqual(record);
    expect([...(await readRecords(folder)).keys()]).toEqual([36]);
  });

  test("a run that was skipped does not take the place of one that was not", async () => {
    const before = readFileSync(recordFile(entry, folder), "utf8");
    expect(await writeRecord({ ...record, skipped: "no data" }, entry, folder)).toBe(null);
    expect(readFileSync(recordFile(entry, folder), "utf8")).toBe(before);
  });

  test("smoke runs and validation figures are no records", async () => {
    await expect(writeRecord({ ...record, quick: true }, entry, folder)).rejects.toThrow(/a smoke run/);
    await expect(writeRecord({ ...record, split: "validation" }, entry, folder)).rejects.toThrow(/validation data/);
  });

  test("the analysis comes from its file; owed and not written it is null", async () => {
    const { mkdirSync, writeFileSync } = await import("node:fs");
    expect(await withAnalysis(record, entry, folder)).toEqual(record);
    expect((await withAnalysis({ ...record, claims: [missed] }, entry, folder)).analysis).toBe(null);
    mkdirSync(join(folder, "analysis"));
    writeFileSync(analysisFile(entry, folder), "\nThe gap is noise.\n");
    expect((await withAnalysis({ ...record, claims: [missed] }, entry, folder)).analysis).toBe("The gap is noise.");
  });
});
