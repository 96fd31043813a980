/** The house rules that a machine can check: imports run downwards, files stay short, nothing imports in a circle. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const src = dirname(fileURLToPath(import.meta.url));
const root = dirname(src);
const FLOORS = [
  "entry",
  "cli",
  "papers",
  "report",
  "pipeline",
  "methods",
  "evaluate",
  "hardware",
  "runtime",
  "calibrate",
  "train",
  "sparsity",
  "models",
  "data",
  "formats",
  "nn",
  "linalg",
  "core",
  "kernels",
];
/** May be imported from anywhere and imports nothing: what an error is. */
const GROUND = "core/errors.ts";

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts") && !f.includes("node_modules"))
    .map((f) => join(folder, f));
}

const sources = filesUnder(src);
const floorOf = (file: string): string => relative(src, file).split(/[\\/]/)[0];
const IMPORT = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;
const importsOf = (file: string): string[] =>
  [...readFileSync(file, "utf8").matchAll(IMPORT)].map((m) => resolve(dirname(file), m[1]));

test("every folder under src is one of the floors", () => {
  const folders = readdirSync(src, { withFileTypes: true })
    .filter((d) => d.isDirectory())
    .map((d) => d.name);
  expect(folders.filter((f) => !FLOORS.includes(f))).toEqual([]);
});

test("imports run downwards only", () => {
  const wrong: string[] = [];
  let looked = 0;
  for (const file of sources) {
    const from = FLOORS.indexOf(floorOf(file));
    if (from < 0) continue; // src/index.ts and this file stand above all floors
    for (const target of importsOf(file)) {
      looked++;
      if (relative(src, target) === GROUND) continue;
      const to = FLOORS.indexOf(floorOf(target));
      // Tests stand above all floors: they may look at anything, also outside of src.
      if (file.endsWith(".test.ts")) continue;
      if (to < from) wrong.push(`${relative(src, file)} imports ${relative(src, target)}`);
    }
  }
  expect(looked).toBeGreaterThan(50);
  expect(wrong).toEqual([]);
});

/** Types vanish when the code runs, so a circle through `import type` is none. */
const runningImportsOf = (file: string): string[] =>
  [
    ...readFileSync(file, "utf8")
      .replace(/^(?:import|export) type [^;]*;/gm, "")
      .matchAll(IMPORT),
  ].map((m) => resolve(dirname(file), m[1]));

test("no file imports itself through others", () => {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      cycles.push([...path.slice(path.indexOf(file)), file].map((f) => relative(src, f)).join(" -> "));
      return;
    }
    state.set(file, "open");
    for (const target of runningImportsOf(file)) if (sources.includes(target)) visit(target, [...path, file]);
    state.set(file, "done");
  };
  for (const file of sources) visit(file, []);
  expect(cycles).toEqual([]);
});

test("no file is longer than 600 lines, and few are longer than 300", () => {
  const all = [
    ...sources,
    ...["tools", "bench/src", "examples"].flatMap((f) => {
      try {
        return filesUnder(join(root, f));
      } catch {
        return [];
      }
    }),
  ];
  const lines = all.map((f) => ({ file: relative(root, f), lines: readFileSync(f, "utf8").split("\n").length }));
  expect(lines.filter((l) => l.lines > 600)).toEqual([]);
  expect(lines.filter((l) => l.lines > 300).length / lines.length).toBeLessThan(0.1);
});

test("every module says what it is: a header comment comes first", () => {
  const bare = sources.filter((f) => !f.endsWith(".test.ts") && !/^(#!.*\n)?\/\*\*/.test(readFileSync(f, "utf8")));
  expect(bare.map((f) => relative(src, f))).toEqual([]);
});
