/**
 * A bundler plugin: in the bundle for browsers the kernels' trials, which only tests run, are empty lists. The kernels
 * themselves are untouched.
 */
import { readFile } from "node:fs/promises";

export const TRIALS = /kernels[\\/].*[\\/](?:[\w-]+[.-])?trials?\.ts$/;

export const withoutTrials = {
  name: "without-trials",
  async load(id: string): Promise<{ code: string; moduleType: "js" } | null> {
    if (!TRIALS.test(id)) return null;
    const names = [...(await readFile(id, "utf8")).matchAll(/^export (?:const|function) (\w+)/gm)].map((m) => m[1]);
    // Some are lists, some make lists; this is both.
    const none = "Object.assign(() => [], { *[Symbol.iterator]() {} })";
    return { code: names.map((n) => `export const ${n} = ${none};`).join("\n"), moduleType: "js" };
  },
};
