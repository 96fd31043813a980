/** Bad input through the real command line: exit code 1, one clear error, nothing on stdout, nothing left behind. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSafetensors } from "../formats/safetensors.ts";
import { encodeSafetensors, type NewTensor } from "../formats/safetensors-write.ts";
import { memorySource } from "../formats/source.ts";
import { type Driver, drive, type Said, trainRecipe } from "./drive.ts";

let cli: Driver;
const at = (name: string): string => join(cli.folder, name);

beforeAll(async () => {
  cli = await drive();
  cli.randomModel("tiny");
  writeFileSync(at("text.txt"), "The state of our Union is strong, and the people are too. ".repeat(20));
  writeFileSync(at("empty.txt"), "");
  mkdirSync(at("kept"));
  writeFileSync(at("kept/diary.txt"), "mine");
  await makeDamagedModels();
}, 120_000);

afterAll(() => cli?.dispose());

type Tensors = Map<string, NewTensor>;

/** A copy of the tiny model with its weights or its config.json changed. */
async function variant(name: string, change: (tensors: Tensors, config: Record<string, unknown>) => void) {
  cpSync(at("tiny"), at(name), { recursive: true });
  const file = at(`${name}/model.safetensors`);
  const source = await openSafetensors(memorySource(readFileSync(file)), file);
  const tensors: Tensors = new Map();
  for (const tensor of source.names) tensors.set(tensor, { ...source.info(tensor), data: await source.read(tensor) });
  const config = JSON.parse(readFileSync(at(`${name}/config.json`), "utf8"));
  change(tensors, config);
  writeFileSync(file, encodeSafetensors(tensors.values()));
  writeFileSync(at(`${name}/config.json`), JSON.stringify(config));
}

const UP = "model.layers.1.mlp.up_proj.weight";
const EMBED = "model.embed_tokens.weight";

async function makeDamagedModels(): Promise<void> {
  await variant("no-tensor", (tensors) => tensors.delete(UP));
  await variant("wrong-shape", (tensors) => {
    const up = tensors.get(UP) as NewTensor;
    tensors.set(UP, { ...up, shape: [...up.shape].reverse() });
  });
  await variant("wrong-type", (tensors) => {
    const up = tensors.get(UP) as NewTensor;
    tensors.set(UP, { ...up, dtype: "I16" });
  });
  for (const [name, bits] of [
    ["nan", 0x7fc0],
    ["infinite", 0xff80],
  ] as const) {
    await variant(name, (tensors) => {
      const up = tensors.get(UP) as NewTensor;
      new DataView(up.data.buffer, up.data.byteOffset).setUint16(2 * 77, bits, true);
    });
  }
  await variant("small-vocabulary", (tensors, config) => {
    const embed = tensors.get(EMBED) as NewTensor;
    tensors.set(EMBED, { ...embed, shape: [300, 64], data: embed.data.slice(0, 300 * 64 * 2) });
    config.vocab_size = 300;
  });
  await variant("new-field", (_, config) => {
    config.attention_sink_tokens = 4;
  });
  await variant("other-family", (_, config) => {
    config.model_type = "mamba";
  });
  cpSync(at("tiny"), at("truncated"), { recursive: true });
  truncateSync(at("truncated/model.safetensors"), 100_000);
  cpSync(at("tiny"), at("absurd"), { recursive: true });
  writeFileSync(at("absurd/model.safetensors"), Buffer.from("ffffffffffffff7f7b7d", "hex"));
  for (const [name, file] of [
    ["traversal", "../tiny/model.safetensors"],
    ["absolute", "/etc/model.safetensors"],
  ] as const) {
    cpSync(at("tiny"), at(name), { recursive: true });
    rmSync(at(`${name}/model.safetensors`));
    writeFileSync(at(`${name}/model.safetensors.index.json`), JSON.stringify({ weight_map: { [EMBED]: file } }));
  }
  cpSync(at("tiny"), at("no-config"), { recursive: true });
  rmSync(at("no-config/config.json"));
  cpSync(at("tiny"), at("no-tokenizer"), { recursive: true });
  rmSync(at("no-tokenizer/tokenizer.json"));
}

/** Progress is not part of the error. */
const complaint = ({ stderr }: Said): string => stderr.replace(/^.*: \d+ %.*\n/gm, "");

/** One error of four lines: about, expected, got, what to do. */
function expectError(said: Said, ...parts: readonly (string | RegExp)[]): void {
  const text = complaint(said);
  expect(text).toMatch(/^error: .+\n {2}expected: .+\n {2}got: {6}.+\n {2}.+\n$/);
  for (const part of parts) expect(text).toMatch(part);
  expect({ code: said.code, stdout: said.stdout }).toEqual({ code: 1, stdout: "" });
}

const literally = (text: string): RegExp => new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
const PRUNE = ["prune", "tiny", "--method", "magnitude", "--json", "-o"];

describe.concurrent("the call", () => {
  const mistakes: readonly (readonly [string, readonly string[], RegExp])[] = [
    ["an unknown command", ["prun", "tiny"], /unknown command 'prun'\n\(Did you mean prune\?\)/],
    [
      "an unknown option",
      [...PRUNE, "o1", "--sparsty", "0.5"],
      /unknown option '--sparsty'\n\(Did you mean --sparsity/,
    ],
    ["a required option left out", ["prune", "tiny", "-o", "o2"], /required option '--method <name>' not specified/],
    ["an argument left out", ["eval", "--text", "text.txt"], /missing required argument 'model'/],
    ["an argument too many", ["inspect", "tiny", "kept"], /too many arguments/],
    [
      "a word for a number",
      ["eval", "tiny", "--text", "text.txt", "--windows", "two"],
      /--windows.*'two'.*whole number/,
    ],
    ["a number out of range", ["generate", "tiny", "--prompt", "a", "--top-p", "2"], /--top-p.*'2'.*from 0 to 1/],
  ];
  test.for(mistakes)("%s", async ([, args, message], { expect }) => {
    const said = await cli.run(...args);
    expect(said.stderr).toMatch(message);
    expect(said.stderr).toMatch(/^error: /);
    expect({ code: said.code, stdout: said.stdout }).toEqual({ code: 1, stdout: "" });
  });
});

describe.concurrent("what is asked of prune", () => {
  const DOWN = "layer model.layers.0.mlp.down_proj.weight";
  const asked: readonly (readonly [string, readonly string[], readonly (string | RegExp)[]])[] = [
    ["a mistyped method", ["--method", "wnada", "--sparsity", "0.5"], ["method", /Did you mean wanda\?/]],
    ["a mistyped budget", ["--budget", "unifrom", "--sparsity", "0.5"], ["budget", /uniform/]],
    ["a mistyped format", ["--format", "pakced", "--sparsity", "0.5"], ["format", /packed, dense/]],
    ["a bad pattern", ["--pattern", "2.4"], ["pattern", /got: +"2\.4"/, /Did you mean 2:4\?/]],
    ["a pattern that keeps all", ["--pattern", "4:4"], [/N = 4, M = 4/]],
    ["a pattern that does not divide", ["--pattern", "4:8"], [DOWN, /172 inputs/, /pattern 4:8/, /Use 2:4/]],
    ["no sparsity", [], ["sparsity", /got: +none/]],
    ["sparsity 1", ["--sparsity", "1"], [/\[0, 1\)/, /got: +1\n/]],
    ["sparsity -0.1", ["--sparsity", "-0.1"], [/\[0, 1\)/, /got: +-0\.1\n/]],
    ["sparsity NaN", ["--sparsity", "NaN"], [/\[0, 1\)/, /got: +NaN\n/]],
    ["sparsity in words", ["--sparsity", "half"], [/\[0, 1\)/, /got: +"half"\n/]],
    ["sparsity in per cent", ["--sparsity", "50"], [/\[0, 1\)/, /For 50 %, write 0\.5\./]],
    [
      "a sparsity that the pattern denies",
      ["--pattern", "2:4", "--sparsity", "0.6"],
      [/0\.5, which pattern 2:4 fixes/],
    ],
    ["a layer that is not there", ["--sparsity", "0.5", "--skip", "down_porj"], [/Did you mean down_proj\?/]],
    ["no calibration text", ["--method", "wanda", "--sparsity", "0.5"], [/calibration text/, /--calibrate/]],
    ["nothing to recover on", ["--sparsity", "0.5", "--recover", "2"], [/--recover-text/]],
  ];
  test.for(asked)("%s", async ([name, args, parts]) => {
    const target = `out-${name.replaceAll(" ", "-")}`;
    const said = await cli.run(
      "prune",
      "tiny",
      "--json",
      "-o",
      target,
      ...(args.includes("--method") ? [] : ["--method", "magnitude"]),
      ...args,
    );
    expectError(said, ...parts);
    expect(readdirSync(cli.folder).filter((entry) => entry.includes(target))).toEqual([]);
  });
});

describe.concurrent("the output folder", () => {
  test("one that exists is left as it was, also where --recover would take long", async () => {
    const before = statSync(at("kept/diary.txt")).mtimeMs;
    for (const more of [[], ["--recover", "2", "--recover-text", "text.txt", "--length", "16"]]) {
      const said = await cli.run(...PRUNE, "kept", "--sparsity", "0.5", ...more);
      expectError(said, "kept", /a folder that exists/, /--force/);
      expect(said.stderr).not.toMatch(/recovering/);
    }
    expectError(await cli.run("unpack", "tiny", "--json", "-o", "kept"), "kept", /a folder that exists/);
    expect(readdirSync(at("kept"))).toEqual(["diary.txt"]);
    expect(statSync(at("kept/diary.txt")).mtimeMs).toBe(before);
  });

  test("one that holds no model is not replaced by --force", async () => {
    expectError(await cli.run(...PRUNE, "kept", "--sparsity", "0.5", "--force"), "kept", /another kind of folder/);
    expect(readdirSync(at("kept"))).toEqual(["diary.txt"]);
  });

  test("a file of that name stays", async () => {
    expectError(await cli.run(...PRUNE, "text.txt", "--sparsity", "0.5"), "text.txt", /a file of that name/);
    expectError(await cli.run(...PRUNE, "text.txt/below", "--sparsity", "0.5"), /text\.txt/);
  });
});

describe.concurrent("the model", () => {
  const broken: readonly (readonly [string, string, readonly (string | RegExp)[]])[] = [
    ["is not there", "absent", ["absent", /nothing of that name/]],
    ["is a file", "text.txt", ["text.txt", /a model folder/]],
    ["has no config.json", "no-config", [/no config\.json/]],
    ["has no tokenizer", "no-tokenizer", [/tokenizer\.json/]],
    ["is cut short", "truncated", [/truncated\/model\.safetensors/, /97912 bytes/, /cut short/]],
    ["has an absurd header", "absurd", [/absurd\/model\.safetensors/, /header/]],
    ["lacks a tensor", "no-tensor", [literally(UP)]],
    ["has a tensor of the wrong shape", "wrong-shape", [literally(UP), /172/, /64/]],
    ["has a tensor of the wrong type", "wrong-type", [literally(UP), /I16/]],
    ["has a field nobody knows", "new-field", [/attention_sink_tokens/, /got: +4\n/]],
    ["is of another family", "other-family", [/model_type/, /"mamba"/]],
    ["names a file above its folder", "traversal", [/plain name/, literally("../tiny/model.safetensors")]],
    ["names a file by its path", "absolute", [/plain name/, literally("/etc/model.safetensors")]],
  ];
  test.for(broken)("that %s is refused", async ([, name, parts]) => {
    expectError(await cli.run("inspect", name, "--json"), ...parts);
  });

  test("with NaN or infinite weights is refused by all that read them, and the tensor is named", async () => {
    for (const model of ["nan", "infinite"]) {
      expectError(
        await cli.run("eval", model, "--text", "text.txt", "--json"),
        literally(UP),
        /element 77 of \[172, 64\]/,
      );
    }
    expectError(await cli.run("generate", "nan", "--prompt", "We", "--json"), literally(UP), /element 77/);
    const pruned = await cli.run("prune", "nan", "--method", "magnitude", "--sparsity", "0.5", "-o", "from-nan");
    expectError(pruned, literally(UP), /element 77/);
    expect(readdirSync(cli.folder).filter((entry) => entry.includes("from-nan"))).toEqual([]);
  });
});

describe.concurrent("the text", () => {
  const EVAL = ["eval", "tiny", "--json", "--text"];
  const WANDA = ["prune", "tiny", "--method", "wanda", "--sparsity", "0.5", "--json", "-o", "w", "--calibrate"];
  const texts: readonly (readonly [string, readonly string[], readonly (string | RegExp)[]])[] = [
    ["to evaluate is not there", [...EVAL, "absent.txt"], ["absent.txt", /ENOENT/]],
    ["to evaluate is a folder", [...EVAL, "kept"], ["kept", /EISDIR/]],
    ["to evaluate is empty", [...EVAL, "empty.txt"], ["text", /an empty text/]],
    ["has tokens beyond the vocabulary", ["eval", "small-vocabulary", "--text", "text.txt"], [/300/]],
    ["has windows beyond the context", [...EVAL, "text.txt", "--length", "257"], [/at most 256/, /257/]],
    ["to calibrate is not there", [...WANDA, "absent.txt"], ["absent.txt", /ENOENT/]],
    ["to calibrate is empty", [...WANDA, "empty.txt"], [/calibration text/, /an empty text/]],
    [
      "to calibrate is too short",
      [...WANDA, "text.txt", "--samples", "50"],
      [/at least 12800 tokens for 50 windows of 256/],
    ],
    [
      "to calibrate has windows beyond the context",
      [...WANDA, "text.txt", "--length", "500"],
      [/from 1 to 256/, /500/],
    ],
  ];
  test.for(texts)("that %s is refused", async ([, args, parts]) => {
    expectError(await cli.run(...args), ...parts);
    expect(readdirSync(cli.folder).filter((entry) => /^\.?w(\.|$)/.test(entry))).toEqual([]);
  });

  test("to start from is too long for the context", async () => {
    const prompt = "the people of the United States ".repeat(80);
    expectError(await cli.run("generate", "tiny", "--prompt", prompt, "--json"), "prompt", /256|tokens/);
  });
});

describe.concurrent("the recipe", () => {
  test("that is not there, or not of the kind asked for, is refused and the field named", async () => {
    expectError(await cli.run("train", "absent.yaml", "--json"), "absent.yaml", /a text file/);
    writeFileSync(at("broken.yaml"), "kind: [train");
    expectError(await cli.run("train", "broken.yaml", "--json"), "broken.yaml", /YAML or JSON/);
    const recipe = trainRecipe({ out: "kept", text: "text.txt", validation: "text.txt" });
    writeFileSync(at("field.yaml"), JSON.stringify({ ...recipe, rate: { ...recipe.rate, peak: "high" } }));
    expectError(await cli.run("train", "field.yaml", "--json"), /field\.yaml, field rate\.peak/);
    writeFileSync(at("kind.yaml"), JSON.stringify({ ...recipe, kind: "compress" }));
    expectError(await cli.run("train", "kind.yaml", "--json"), /field kind/);
  });

  test("whose output folder exists, or whose texts are missing or short, is refused before any training", async () => {
    const recipe = trainRecipe({ out: "kept", text: "text.txt", validation: "text.txt" });
    writeFileSync(at("kept.yaml"), JSON.stringify(recipe));
    expectError(await cli.run("train", "kept.yaml", "--json"), "kept", /a folder that exists/);
    writeFileSync(
      at("text.yaml"),
      JSON.stringify({ ...recipe, out: "t", data: { ...recipe.data, train: ["no.txt"] } }),
    );
    expectError(await cli.run("train", "text.yaml", "--json"), "no.txt");
    writeFileSync(at("short.yaml"), JSON.stringify({ ...recipe, out: "t", length: 4000, batch: 1 }));
    expectError(await cli.run("train", "short.yaml", "--json"), /token/);
    expect(readdirSync(cli.folder).filter((entry) => /^\.?t(\.|$)/.test(entry))).toEqual([]);
  });

  test("whose training diverges is stopped, and no model is written", async () => {
    const recipe = trainRecipe({ out: "diverged", text: "text.txt", validation: "text.txt" });
    const rate = { peak: 1e30, floor: 0, warmup: 0 };
    writeFileSync(at("diverging.yaml"), JSON.stringify({ ...recipe, rate }));
    expectError(await cli.run("train", "diverging.yaml", "--json"), /training, step \d/, /finite/, /learning rate/);
    expect(readdirSync(cli.folder)).not.toContain("diverged");
  });

  test("of the main job, too; an output folder that exists stays", async () => {
    writeFileSync(at("main.yaml"), "kind: compress\nmodle: tiny\n");
    expectError(await cli.run("compress", "--recipe", "main.yaml", "--dry-run", "--json"), "main.yaml");
    expectError(await cli.run("compress", "tiny", "-o", "kept", "--json"), "kept");
    expect(readdirSync(at("kept"))).toEqual(["diary.txt"]);
  });
});
