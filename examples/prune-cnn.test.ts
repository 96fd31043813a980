/** The example as a newcomer runs it, on few images. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("prune-cnn.ts", import.meta.url));

test("the example is shorter than 40 lines", () => {
  expect(readFileSync(program, "utf8").split("\n").length).toBeLessThan(40);
});

test("a CNN that is pruned to a fifth while it learns reads far more digits than guessing would", () => {
  const run = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), program, "1000", "5"], {
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  const epochs = [...run.stdout.matchAll(/epoch \d+: loss [\d.]+, (\d+) of (\d+) weights/g)].map((m) => Number(m[1]));
  expect(epochs).toHaveLength(5);
  // 144 + 4,608 + 18,432 + 640 weights, of which floor(0.8 n) are gone after six tenths of the run.
  const all = 144 + 4608 + 18432 + 640;
  expect(epochs.toSorted((a, b) => b - a)).toEqual(epochs);
  expect(epochs[3]).toBe(all - Math.floor(0.8 * all));
  expect(epochs[4]).toBe(epochs[3]);
  expect(Number(/([\d.]+) % of unseen/.exec(run.stdout)?.[1])).toBeGreaterThan(30);
});
