/** The example as a newcomer runs it, on few images. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("prune-cnn.ts", import.meta.url));

test("the example is shorter than 40 lines", () => {
  expect(readFileSync(program, "utf8").split("\n").length).toBeLessThan(40);
});

test("a CNN that is pruned to a tenth while it learns reads far more digits than guessing would", () => {
  const run = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), program, "500", "6"], {
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  const epochs = [...run.stdout.matchAll(/epoch \d+: loss [\d.]+, (\d+) of (\d+) weights/g)].map((m) => Number(m[1]));
  expect(epochs).toHaveLength(6);
  // 72 + 1,152 + 4,608 + 320 weights, of which floor(0.9 n) are gone after six tenths of the run.
  const all = 72 + 1152 + 4608 + 320;
  expect(epochs.toSorted((a, b) => b - a)).toEqual(epochs);
  expect(epochs[3]).toBe(all - Math.floor(0.9 * all));
  expect(epochs[5]).toBe(epochs[3]);
  expect(Number(/([\d.]+) % of unseen/.exec(run.stdout)?.[1])).toBeGreaterThan(30);
});
