/** The example as a newcomer runs it, on few images. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("select-features.ts", import.meta.url));

test("the example is shorter than 40 lines", () => {
  expect(readFileSync(program, "utf8").split("\n").length).toBeLessThan(40);
});

test("QuickSelection's pixels tell digits apart better than guessed ones", () => {
  const run = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), program, "2000", "6"], {
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  expect(run.stdout).toMatch(/epoch 6: /);
  expect(run.stdout).toMatch(/connections: 3\.0 % of the dense network/);
  const pixels = run.stdout.split("\n").filter((line) => /^[#·]/.test(line));
  expect(pixels).toHaveLength(28);
  expect(pixels.join("").split("#")).toHaveLength(51);
  const [chosen, guessed] = [...run.stdout.matchAll(/pixels: ([\d.]+) % right/g)].map((m) => Number(m[1]));
  expect(chosen).toBeGreaterThan(guessed + 3);
});
