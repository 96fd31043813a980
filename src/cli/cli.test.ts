/** The command line as a user meets it: help, JSON, and a model's way from dense to packed and back. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Driver, drive, root, type Said, someText, trainRecipe } from "./drive.ts";

let cli: Driver;

beforeAll(async () => {
  cli = await drive();
  cli.randomModel("tiny");
  writeFileSync(join(cli.folder, "test.txt"), someText("test-32k", 3000));
  writeFileSync(join(cli.folder, "calibrate.txt"), someText("calibration-32k", 6000));
}, 120_000);

afterAll(() => cli?.dispose());

/** The one value that a command with --json prints. */
function value(said: Said): Record<string, unknown> {
  expect({ code: said.code, stderr: said.stderr.replace(/^.*: \d+ %.*\n/gm, "") }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(said.stdout);
}

/** What each command must offer; those that are not there yet are not asked. */
const OPTIONS: Readonly<Record<string, string>> = {
  compress: "recipe dry-run json",
  prune: "method sparsity pattern budget calibrate samples length seed recover output format force skip only json",
  unpack: "output json",
  eval: "text length windows json",
  generate: "prompt tokens temperature top-k top-p seed json",
  bench: "threads json",
  inspect: "json",
  forecast: "json",
  train: "json",
  doctor: "json",
  papers: "site stage status json",
  paper: "json",
  reproduce: "all quick dev record fresh jobs json",
};

describe("--help", () => {
  test("lists every command, and each command's lists its options, all with words", async () => {
    const all = await cli.run("--help");
    expect(all.code).toBe(0);
    const commands = [...all.stdout.matchAll(/^ {2}([a-z]+) (?:\[options\]|<|\[).*? {2,}\S/gm)].map((m) => m[1]);
    const own = commands.filter((name) => name !== "help");
    expect(own.length).toBeGreaterThanOrEqual(6);
    expect(own.filter((name) => !(name in OPTIONS))).toEqual([]);
    await Promise.all(
      own.map(async (name) => {
        const { code, stdout } = await cli.run(name, "--help");
        const listed = [...stdout.matchAll(/^ {2}(?:-\w, )?--([\w-]+)(?: <[^>]+>)? {2,}\S/gm)].map((m) => m[1]);
        expect({ name, code, listed }).toEqual({ name, code: 0, listed: expect.arrayContaining(["help"]) });
        expect(listed).toEqual(expect.arrayContaining(OPTIONS[name].split(" ")));
      }),
    );
  });

  test("without a command it is what comes, with exit code 1; --version is the package's", async () => {
    const [none, version] = await Promise.all([cli.run(), cli.run("--version")]);
    expect(none).toMatchObject({ code: 1, stdout: "" });
    expect(none.stderr).toMatch(/Usage: lacuna/);
    const { version: own } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect(version).toMatchObject({ code: 0, stdout: `${own}\n`, stderr: "" });
  });
});

describe("from dense to packed and back", () => {
  const PRUNE = ["prune", "tiny", "--calibrate", "calibrate.txt", "--length", "64", "--samples", "8", "--json"];
  const EVAL = ["eval", "--text", "test.txt", "--length", "64", "--json"];

  test("each command's --json is one value, and progress goes to stderr", async () => {
    const said = await cli.run(...PRUNE, "--method", "wanda", "--sparsity", "0.5", "-o", "half");
    expect(said.stderr).toMatch(/^pruning: \d+ %/);
    expect(value(said)).toMatchObject({ method: "wanda", pattern: "unstructured", requested: 0.5, achieved: 0.5 });
    expect(readdirSync(join(cli.folder, "half")).sort()).toEqual([
      "config.json",
      "lacuna.json",
      "model.safetensors",
      "special_tokens_map.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);

    const seen = await cli.run("inspect", "half", "--json");
    const facts = value(seen) as {
      layers: { name: string; shape: readonly number[]; sparsity: number; packedBytes: number }[];
      prunable: { sparsity: number; bf16Bytes: number };
      all: { elements: number };
    };
    const pruned = facts.layers.filter((l) => l.name.includes("proj"));
    expect(pruned).toHaveLength(14);
    // Half of the values, 2 bytes each, and one bit an element, whole bytes a row.
    for (const { name, shape, sparsity, packedBytes } of pruned) {
      const [rows, columns] = shape;
      expect({ name, sparsity, packedBytes }).toEqual({
        name,
        sparsity: 0.5,
        packedBytes: rows * columns + rows * Math.ceil(columns / 8),
      });
    }
    expect(facts.prunable).toMatchObject({
      sparsity: 0.5,
      bf16Bytes: 2 * 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172),
    });
    expect(facts.all.elements).toBe(2048 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172 + 2 * 64) + 64);

    const back = await cli.run("unpack", "half", "-o", "dense", "--json");
    expect(value(back)).toMatchObject({ folder: "dense", bytes: expect.any(Number) });
    const [packed, dense, before] = await Promise.all(
      ["half", "dense", "tiny"].map(async (model) => value(await cli.run(...EVAL, model))),
    );
    expect(packed).toEqual({ ...dense, seconds: packed.seconds });
    expect(packed).toMatchObject({ length: 64, protocol: { name: "non-overlapping windows" } });
    expect(packed.tokens).toBe(63 * (packed.windows as number));
    expect(packed.perplexity).toBe(Math.exp(packed.nll as number));
    expect(packed.perplexity).not.toBe(before.perplexity);
  });

  test("2:4, a layer left out, and dense weights with --force over a folder that is there", async () => {
    const args = ["--method", "sparsegpt", "--pattern", "2:4", "--skip", "down_proj", "-o", "two-four"];
    const record = value(await cli.run(...PRUNE, ...args)) as { skipped: string[]; layers: unknown[] };
    expect(record).toMatchObject({ pattern: "2:4", requested: 0.5 });
    expect(record.skipped).toEqual([0, 1].map((i) => `model.layers.${i}.mlp.down_proj.weight`));
    expect(record.layers).toHaveLength(12);
    const again = await cli.run(...PRUNE, ...args, "--format", "dense", "--force");
    expect(value(again).layers).toEqual(record.layers);
    const facts = value(await cli.run("inspect", "two-four", "--json")) as {
      layers: { name: string; pattern: string | null }[];
    };
    for (const l of facts.layers.filter((layer) => layer.name.includes("proj"))) {
      expect(l.pattern).toBe(l.name.includes("down_proj") ? null : "2:4");
    }
    expect(readdirSync(cli.folder).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("--recover keeps the pattern and says what it did", async () => {
    const args = ["--method", "magnitude", "--pattern", "4x1", "--sparsity", "0.5", "-o", "recovered"];
    const record = value(await cli.run(...PRUNE, ...args, "--recover", "2", "--recover-text", "test.txt"));
    expect(record).toMatchObject({ method: "magnitude", pattern: "4x1", achieved: 0.5 });
    const written = JSON.parse(readFileSync(join(cli.folder, "recovered", "lacuna.json"), "utf8"));
    expect(written).toMatchObject({ prune: { pattern: "4x1" }, recover: { steps: 2, length: 64 } });
    const facts = value(await cli.run("inspect", "recovered", "--json"));
    expect(facts.prunable).toMatchObject({ sparsity: 0.5 });
  });

  test("without --json the figures are there for people", async () => {
    const said = await cli.run("inspect", "tiny");
    expect(said.code).toBe(0);
    expect(said.stdout).toMatch(/^tensor +type +shape +zeros +pattern +stored +as BF16\n/);
    expect(said.stdout).toMatch(/^model\.layers\.1\.mlp\.down_proj\.weight +BF16 +64 x 172 +0\.0 % +- +22\.0 kB/m);
    expect(said.stdout).toMatch(/^all weights: \d+ elements/m);
  });
});

describe("generate", () => {
  const GENERATE = ["generate", "tiny", "--prompt", "The people", "--tokens", "12"];

  test("the same seed gives the same text, another seed another", async () => {
    // One after the other: the first measures the machine, the others find that in the cache.
    const first = value(await cli.run(...GENERATE, "--seed", "7", "--json"));
    const second = value(await cli.run(...GENERATE, "--seed", "7", "--json"));
    const other = value(await cli.run(...GENERATE, "--seed", "8", "--json"));
    expect(first).toMatchObject({ prompt: "The people", tokens: expect.any(Number), stopped: expect.any(String) });
    expect(second.text).toBe(first.text);
    expect(other.text).not.toBe(first.text);
  });

  test("without --json the text is streamed after its prompt, then its speed", async () => {
    const greedy = value(await cli.run(...GENERATE, "--temperature", "0", "--json"));
    const said = await cli.run(...GENERATE, "--temperature", "0");
    expect(said.code).toBe(0);
    expect(said.stdout.startsWith(`The people${greedy.text}\n`)).toBe(true);
    expect(said.stdout).toMatch(/\d+ tokens, [\d.]+ tokens\/s \(prompt \d+ tokens\)\n$/);
  });
});

describe("the other commands' --json is one value, too", () => {
  test("compress --dry-run says what it would do, and does nothing", async () => {
    const before = readdirSync(cli.folder);
    const plan = value(await cli.run("compress", "--dry-run", "--json", "-o", "planned"));
    expect(plan).toMatchObject({ recipe: { kind: "compress", variants: expect.any(Array) }, output: "planned" });
    expect((await cli.run("compress", "--dry-run", "-o", "planned")).stdout).toMatch(/^output {4}planned$/m);
    expect(readdirSync(cli.folder)).toEqual(before);
  });

  test("forecast, bench and doctor give figures with the machine they were measured on", async () => {
    const few = ["--prompt", "8", "--tokens", "2", "--rounds", "3", "--threads", "1", "--json"];
    const facts = [
      value(await cli.run("forecast", "tiny", "--seconds", "1", "--threads", "1", "--json")),
      value(await cli.run("bench", "tiny", "tiny", ...few)),
      value(await cli.run("doctor", "--threads", "1", "--json")),
    ];
    expect(facts[0]).toMatchObject({ recommendation: expect.any(String), decode: { model: expect.any(Array) } });
    expect(facts[1]).toMatchObject({ kind: "bench", models: [{ model: "tiny" }, { model: "tiny" }] });
    expect(facts[2]).toMatchObject({ simd: true, threads: 1 });
    for (const f of facts) expect(f).toMatchObject({ provenance: { lacuna: expect.any(String), threads: 1 } });
  });

  test("train trains a recipe to a folder that evaluates", async () => {
    const recipe = trainRecipe({ out: "trained", text: "calibrate.txt", validation: "test.txt" });
    writeFileSync(join(cli.folder, "train.yaml"), JSON.stringify(recipe));
    const record = value(await cli.run("train", "train.yaml", "--json")) as { history: { validationLoss: number }[] };
    expect(record).toMatchObject({ resumedFrom: 0, tokens: 6 * 2 * 32 });
    expect(record.history).toHaveLength(3);
    const losses = record.history.map((h) => h.validationLoss);
    expect(losses[2]).toBeLessThan(losses[0]);
    expect(value(await cli.run("eval", "trained", "--text", "test.txt", "--json")).perplexity).toBeLessThan(2048);
  });
});

test("a reader of stdout that goes away ends the command quietly", async () => {
  const { child, said } = cli.start("inspect", "tiny");
  child.stdout?.destroy();
  const { code, stderr } = await said;
  expect({ code, stderr: stderr.replace(/^.*: \d+ %.*\n/gm, "") }).toEqual({ code: 0, stderr: "" });
});
