/** The first example of README.md, run as it stands there, and what the API offers. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as lacuna from "./index.ts";

const src = dirname(fileURLToPath(import.meta.url));
const root = dirname(src);
let folder: string;

interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs TypeScript in a folder of its own. */
function runTypeScript(cwd: string, ...args: string[]): Promise<Said> {
  const tsx = import.meta.resolve("tsx");
  const child = spawn(process.execPath, ["--import", tsx, ...args], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (piece: string) => {
      text[name] += piece;
    });
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => resolve({ code, ...text }));
  });
}

/** Before the shipped weights are there, a random model stands in for them. */
async function modelFolder(): Promise<string> {
  const shipped = join(root, "models", "sotu");
  if (existsSync(join(shipped, "model.safetensors"))) return shipped;
  const target = join(folder, "random");
  const made = await runTypeScript(root, "tools/random-llama.ts", "--shape", "tiny", "--out", target);
  if (made.code !== 0) throw new Error(made.stderr);
  symlinkSync(join(shipped, "text"), join(target, "text"));
  return target;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lacuna-api-"));
  mkdirSync(join(folder, "models"));
  symlinkSync(await modelFolder(), join(folder, "models", "sotu"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const example = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8"))?.[1] ?? "";

test("the README's first example is ten lines, and does what it says", async () => {
  expect(example.trimEnd().split("\n")).toHaveLength(10);
  expect(example).toContain('from "lacuna"');
  const entry = pathToFileURL(join(src, "index.ts")).href;
  writeFileSync(join(folder, "example.ts"), example.replace('from "lacuna"', `from "${entry}"`));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));

  const { code, stdout, stderr } = await runTypeScript(folder, "example.ts");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const [dense, sparse, ...text] = stdout.split("\n");
  expect(text.join("\n")).not.toBe("");

  // The perplexities printed are those of the folders as anyone else finds them.
  const test = readFileSync(join(folder, "models/sotu/text/test-32k.txt"), "utf8");
  const model = await lacuna.loadModel(join(folder, "models/sotu"));
  const packed = await lacuna.loadModel(join(folder, "out/sotu-2-4"));
  for (const [printed, m] of [
    [dense, model],
    [sparse, packed],
  ] as const) {
    expect(Number(printed)).toBe((await lacuna.perplexity(m, test, { windows: 16 })).perplexity);
  }
  expect(Number(sparse)).not.toBe(Number(dense));
  const facts = await lacuna.inspect(packed);
  expect(facts.prunable.sparsity).toBe(0.5);
  expect(new Set(facts.layers.filter((l) => l.name.includes("proj")).map((l) => l.pattern))).toEqual(new Set(["2:4"]));
});

test("the names that README and docs use are there", () => {
  const names = `LacunaError init shutdown loadModel prune recover perplexity pack unpack save generate createRunner
    forecast inspect methods magnitude wanda sparsegpt nm blocks unstructured parsePattern tensor scope valueAndGrad`;
  for (const name of names.split(/\s+/)) expect(lacuna).toHaveProperty(name);
  expect(lacuna.methods.map((m) => m.id)).toEqual(["magnitude", "wanda", "sparsegpt"]);
});

test("the engine's own pieces work together: a gradient through a linear layer", () => {
  const { scope, tensor, valueAndGrad, linear, crossEntropy } = lacuna;
  const gradient = scope(() => {
    const w = tensor([1, 0, 0, 1, 0, 0], [3, 2]);
    const x = tensor([2, -1], [1, 2]);
    const { gradients } = valueAndGrad(() => crossEntropy(linear(x, w), tensor(Int32Array.of(0))), [w]);
    return [...gradients[0].toArray()];
  });
  // d loss / dW = (softmax - onehot) x^T
  const logits = [2, -1, 0];
  const sum = logits.reduce((s, l) => s + Math.exp(l), 0);
  const expected = logits.flatMap((l, i) => [2, -1].map((x) => (Math.exp(l) / sum - (i === 0 ? 1 : 0)) * x));
  // A handful of f32 operations on values of about 1.
  for (const [i, g] of gradient.entries()) expect(Math.abs(g - expected[i])).toBeLessThan(1e-6);
});
