/**
 * Runs the command line as a user does: built once, started as a child process, everything it said kept. For tests and
 * tools; no part of the package.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "tsdown";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface Said {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly said: Promise<Said>;
}

export interface Driver {
  /** empty folder, the commands' working folder */
  readonly folder: string;
  /** the script that is run */
  readonly script: string;
  start(...args: string[]): Running;
  /** starts a command and waits for its end */
  run(...args: string[]): Promise<Said>;
  /** path of a new model with random weights, of a shape of tools/random-llama.ts */
  randomModel(name: string, shape?: string): string;
  /** stops what still runs and removes every file */
  dispose(): void;
}

/** Bundles the command line below the project's root, so that its imports of packages resolve. */
async function bundle(): Promise<string> {
  mkdirSync(join(root, "out"), { recursive: true });
  const out = mkdtempSync(join(root, "out", "command-line-"));
  await build({
    config: false,
    cwd: root,
    entry: { "cli/main": "src/cli/main.ts", "papers/cell": "src/papers/cell.node.ts" },
    outDir: out,
    format: "esm",
    fixedExtension: false,
    platform: "node",
    target: "node20",
    dts: false,
    clean: false,
    report: false,
    logLevel: "silent",
  });
  cpSync(join(root, "package.json"), join(out, "package.json"));
  return out;
}

/** A command line to drive, freshly built. */
export async function drive(): Promise<Driver> {
  const built = await bundle();
  const main = join(built, "cli", "main.js");
  const folder = mkdtempSync(join(tmpdir(), "lacuna-drive-"));
  const running = new Set<ChildProcess>();
  const start = (...args: string[]): Running => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: folder,
      env: { ...process.env, LACUNA_CACHE: join(folder, "cache"), NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(child);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const said = new Promise<Said>((resolve, reject) => {
      child.on("error", reject).on("close", (code, signal) => {
        running.delete(child);
        resolve({ code, signal, stdout, stderr });
      });
    });
    return { child, said };
  };
  return {
    folder,
    script: main,
    start,
    run: (...args) => start(...args).said,
    randomModel(name, shape = "tiny") {
      const target = join(folder, name);
      const args = ["--import", "tsx", "tools/random-llama.ts", "--shape", shape, "--out", target, "--seed", "1"];
      const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
      if (status !== 0) throw new Error(`tools/random-llama.ts failed: ${stderr}`);
      return target;
    },
    dispose() {
      for (const child of running) child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
      rmSync(built, { recursive: true, force: true });
    },
  };
}

/** Text of the shipped model, e.g. `test-32k`. */
export const textFile = (name: string): string => join(root, "models", "sotu", "text", `${name}.txt`);

/** The first `characters` of a shipped text. */
export const someText = (name: string, characters: number): string =>
  readFileSync(textFile(name), "utf8").slice(0, characters);

/** A training recipe of a moment, with a checkpoint every other step; paths are relative to where it is written. */
export const trainRecipe = (files: { out: string; text: string; validation: string; steps?: number }) => ({
  kind: "train",
  out: files.out,
  model: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 2048,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
    torch_dtype: "bfloat16",
  },
  tokenizer: join(root, "models", "sotu"),
  data: { train: [files.text], validation: [files.validation] },
  seed: 1,
  batch: 2,
  length: 32,
  steps: files.steps ?? 6,
  rate: { peak: 3e-3, floor: 1e-4, warmup: 2 },
  every: { evaluate: 2, checkpoint: 2 },
  validationWindows: 4,
});
