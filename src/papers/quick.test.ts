/**
 * Every experiment, as a smoke run of seconds: it runs, its metrics cover its claims, its modules and oracles exist. What
 * needs data that this machine does not have is skipped by name.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findData } from "../data/find.node.ts";
import { oracleFiles, testNames } from "./card.node.ts";
import { paperName } from "./catalogue/index.ts";
import { sourceFolder } from "./hash.node.ts";
import { entryOf, implemented, loadExperiment } from "./load.ts";
import { reproduce } from "./reproduce.node.ts";

const src = sourceFolder as string;
const experiments = await Promise.all(
  implemented().map(async (paper) => [paper, await loadExperiment(paper)] as const),
);

test("the registry's numbers are papers of the catalogue, each with a file of its name", () => {
  const missing = implemented().filter((paper) => !existsSync(join(src, "papers", `${paperName(entryOf(paper))}.ts`)));
  expect(missing).toEqual([]);
});

describe.runIf(experiments.length > 0).for(experiments)("paper %d", ([paper, experiment]) => {
  const missing = experiment.data.map((id) => findData(id).missing).filter((m) => m !== null);

  test("is of that number, within 15 minutes, and has oracles", () => {
    expect(experiment.paper).toBe(paper);
    expect(experiment.minutes).toBeLessThanOrEqual(15);
    for (const file of oracleFiles(experiment)) {
      expect(testNames(readFileSync(join(src, file), "utf8")).length, file).toBeGreaterThan(0);
    }
  });

  test.skipIf(missing.length > 0)(`runs quickly${missing.length > 0 ? ` (${missing.join(", ")})` : ""}`, async () => {
    const [{ record, error }] = await reproduce([paper], { mode: "quick", jobs: 0 });
    if (error !== undefined) throw error;
    expect(record).toMatchObject({ paper, quick: true, verdict: null });
    expect(record?.claims.map((c) => c.id)).toEqual(experiment.claims.map((c) => c.id));
  });
});
