/** `lacuna compress [model]`: the main job, by a recipe; writes packed folders, the record and the HTML report. */
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { LacunaError } from "../../core/errors.ts";
import { readText } from "../../models/open.node.ts";
import type { Command } from "../command.ts";
import { timeLeft } from "../console.ts";

interface Options {
  readonly recipe?: string;
  readonly output?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** The recipe that ships, wherever the package is installed. */
function shippedRecipe(): string {
  for (const up of ["../../recipes", "../../../recipes"]) {
    const file = fileURLToPath(new URL(`${up}/compress.yaml`, import.meta.url));
    if (existsSync(file)) return file;
  }
  throw new Error("recipes/compress.yaml was not found beside the package");
}

/** `out/<name>`, or the first free `out/<name>-2`, `-3`, ... */
function freeFolder(name: string): string {
  for (let i = 1; ; i++) {
    const folder = join("out", i === 1 ? name : `${name}-${i}`);
    if (!existsSync(folder)) return folder;
  }
}

/** What only this command needs, loaded when it runs: pictures and their DOM take longer to load than all the rest. */
async function load() {
  const [{ compress }, { compressRecipe }, { parseRecipe }, { reportHtml }, { reportText }] = await Promise.all([
    import("../../pipeline/compress.ts"),
    import("../../pipeline/recipe.ts"),
    import("../../train/recipe.ts"),
    import("../../report/html.ts"),
    import("../../report/terminal.ts"),
  ]);
  return { runCompress: compress, compressRecipe, parseRecipe, reportHtml, reportText };
}

export const compress: Command = {
  register(program, run) {
    program
      .command("compress")
      .description("the main job: forecast, prune in several ways, recover, evaluate, pack, time, report")
      .argument("[model]", "model folder, or hf:owner/name; default the recipe's")
      .option("--recipe <file>", "pipeline as data; default the one that ships (recipes/compress.yaml)")
      .option("-o, --output <folder>", "folder for packed models, record and report; default a free one under out/")
      .option("--force", "replace an existing output folder")
      .option("--dry-run", "print what would be done, and do nothing")
      .option("--json", "print the run's record as JSON on stdout, nothing else")
      .action((model: string | undefined, options: Options) =>
        run(options, async (console) => {
          const { runCompress, compressRecipe, parseRecipe, reportHtml, reportText } = await load();
          const file = options.recipe ?? shippedRecipe();
          const recipe = parseRecipe(await readText(file), file, compressRecipe);
          const target = options.output ?? freeFolder(basename(model ?? recipe.model));
          if (!options.force && existsSync(target)) {
            throw new LacunaError({
              about: target,
              expected: "a folder that does not exist yet",
              got: "one that does",
              hint: "Choose another with -o, or replace it with --force.",
            });
          }
          if (options.dryRun) {
            const points = recipe.curve.reduce((n, c) => n + c.sparsity.length, 0);
            console.print(`recipe    ${file}`);
            console.print(`model     ${model ?? resolve(dirname(file), recipe.model)}`);
            console.print(`forecast  at most ${recipe.forecastSeconds} s`);
            console.print(`curve     ${points} points of quality against sparsity`);
            for (const v of recipe.variants) {
              if ("folder" in v) {
                console.print(`variant   ${v.label}: ${model ? "left out, made from another model" : v.folder}`);
                continue;
              }
              const steps = v.recover ? `, ${v.recover.steps} steps of recovery` : "";
              console.print(
                `variant   ${v.label}: ${v.method}, ${v.pattern}, ${v.sparsity ?? "by the pattern"}${steps}`,
              );
            }
            console.print(`seeds     ${recipe.seeds.join(", ")}`);
            console.print(`output    ${target}`);
            console.result({ recipe, output: target });
            return;
          }
          const left = timeLeft();
          const record = await runCompress(recipe, target, {
            base: dirname(file),
            ...(model !== undefined && { model }),
            ...(options.force && { force: true, mayReplace: (entries) => entries.includes("compress.json") }),
            signal: console.signal,
            onProgress: (stage, done) => console.progress(stage, done, left(done)),
            render: (r) => ({ "report.html": reportHtml(r) }),
          });
          console.endProgress();
          console.print(reportText(record, process.stdout.columns ?? 80));
          console.print(`report: ${join(target, "report.html")}`);
          console.result(record);
        }),
      );
  },
};
