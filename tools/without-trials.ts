/**
 * A bundler plugin: in the bundle for browsers the kernels' trials and ladders, which only tests, benches and docs run,
 * are empty lists, and what the kernels say about themselves for the docs is left out. The code is untouched.
 */
import { readFile } from "node:fs/promises";

export const TRIALS = /kernels[\\/].*[\\/](?:[\w-]+[.-])?(?:trials?|ladders)\.ts$/;

export const withoutTrials = {
  name: "without-trials",
  async load(id: string): Promise<{ code: string; moduleType: "js" } | null> {
    if (!TRIALS.test(id)) return null;
    const text = await readFile(id, "utf8");
    const names = [...text.matchAll(/^export (?:const|function) (\w+)/gm)].map((m) => m[1]);
    // Some are lists, some make lists; this is both.
    const none = "Object.assign(() => [], { *[Symbol.iterator]() {} })";
    return { code: names.map((n) => `export const ${n} = ${none};`).join("\n"), moduleType: "js" };
  },
  /** `does` and `summary` of kernels, where they are plain strings. */
  transform(code: string, id: string): { code: string; map: null } | null {
    if (!/[\\/]kernels[\\/]/.test(id)) return null;
    return { code: code.replace(/\b(does|summary):\s*"(?:[^"\\]|\\.)*"/g, '$1: ""'), map: null };
  },
};
