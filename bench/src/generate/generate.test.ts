/** A seat of `generate` on a small random model: the calls do what they are timed for. */
import { execFileSync } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../../src/core/engine.ts";
import { makeRandomLlama } from "../../../tools/random-llama.ts";
import { ROOT } from "../machine.ts";
import { Seat } from "../seat.ts";
import { labelsOf } from "../suites/generate.ts";
import type { GenerateFacts, GenerateSetup } from "./lacuna.ts";

let folder = "";
let model = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lacuna-bench-"));
  model = join(folder, "tiny");
  await init({ threads: 1 });
  await makeRandomLlama("tiny", model, 1, false);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await copyFile(join(ROOT, "models", "sotu", file), join(model, file));
  }
  shutdown();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const text = "The state of the union is strong, and its people are many. ".repeat(60);
const setup = (): GenerateSetup => ({
  folder: model,
  threads: 1,
  text,
  prefill: 48,
  prompt: 24,
  decode: 8,
  profile: null,
});

test("decoding and prefill agree, and calls can go on for ever", async () => {
  const seat = await Seat.open("tiny", new URL("./lacuna.ts", import.meta.url), setup());
  const logits = (stepwise: boolean): Float32Array => seat.call("logits", { tokens: 20, stepwise });
  const [many, one] = [logits(false), logits(true)];
  expect(many.length).toBe(2048);
  // f32 sums in two orders over widths of 64 and 172
  many.forEach((x, i) => void expect(Math.abs(x - one[i])).toBeLessThan(1e-4));
  for (let i = 0; i < 50; i++) seat.call(i % 7 === 6 ? "prefill" : "decode");
  expect(logits(false)).toEqual(many);
  const facts = seat.call<GenerateFacts>("facts");
  expect(facts.sparsity).toBeLessThan(0.01);
  expect(facts.shape).toBe("L2 D64 F172 H4 K2 V2048");
  expect(facts.bytes.file).toBeGreaterThan(2 * 2048 * 64);
  await seat.close();
});

test("the resident size of a process of its own", () => {
  const script = fileURLToPath(new URL("./resident.ts", import.meta.url));
  const stdout = execFileSync(process.execPath, ["--import", "tsx", script, model, "1", "48", "8"], {
    encoding: "utf8",
  });
  const { before, peak } = JSON.parse(stdout) as { before: number; peak: number | null };
  expect(before).toBeGreaterThan(2 ** 20);
  if (peak !== null) expect(peak).toBeGreaterThanOrEqual(before * 0.9);
});

test("labels of folders are unique", () => {
  expect(labelsOf(["a/sotu", "b/sotu-4x1", "c/sotu/"])).toEqual(["sotu", "sotu-4x1", "sotu-3"]);
});
