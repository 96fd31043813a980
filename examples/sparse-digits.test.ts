/** The example as a newcomer runs it, on few images. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("sparse-digits.ts", import.meta.url));

test("the example is shorter than 40 lines", () => {
  expect(readFileSync(program, "utf8").split("\n").length).toBeLessThan(40);
});

test("a network with a twentieth of its weights reads digits, and has tried more places than it holds", () => {
  const run = spawnSync(process.execPath, ["--import", import.meta.resolve("tsx"), program, "2000", "8"], {
    encoding: "utf8",
  });
  expect(run.stderr).toBe("");
  expect(run.status).toBe(0);
  const weights = 784 * 1024 + 1024 * 1024 + 1024 * 10;
  const [, kept, all] = /(\d+) of (\d+) parameters/.exec(run.stdout) ?? [];
  expect(Number(all)).toBe(weights + 2058);
  expect(Number(kept)).toBe(weights - Math.floor(0.95 * weights + 1e-6) + 2058);
  expect(Number(/([\d.]+) % of all places/.exec(run.stdout)?.[1])).toBeGreaterThan(5);
  expect(Number(/([\d.]+) % of unseen/.exec(run.stdout)?.[1])).toBeGreaterThan(80);
});
