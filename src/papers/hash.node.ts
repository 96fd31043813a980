/**
 * Content hashes of experiments, by which a record tells whether it is older than the code it speaks of.
 *
 * - `record`: over the experiment with what it imports from this folder, its method and its `uses`. Not over every
 *   transitive import: a fix deep in the engine would stale the records of all papers, hours of work.
 * - `cells`: over every module that the experiment reaches. Kept cells are resumed only under this one, so that changed
 *   code never goes on with what older code has computed.
 *
 * From source both are computed; a build carries them in `papers/hashes.json` (tools/paper-hashes.ts), because the
 * sources beside a build may be newer than it. Node only.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { LacunaError } from "../core/errors.ts";
import { codeOf } from "./code.ts";
import type { Experiment } from "./contract.ts";

export interface Hashes {
  readonly record: string;
  readonly cells: string;
}

/** The folder src/ that this code runs from; null in a build. */
export const sourceFolder: string | null = import.meta.url.endsWith(".ts")
  ? dirname(dirname(fileURLToPath(import.meta.url)))
  : null;

const IMPORT = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;
/** The same without what a type leaves behind, which is nothing. */
const TYPE_IMPORT = /^(?:import|export) type [^;]*;/gm;

function importsOf(file: string, text: string): string[] {
  return [...text.replace(TYPE_IMPORT, "").matchAll(IMPORT)].map((m) => resolve(dirname(file), m[1]));
}

function read(file: string, about: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new LacunaError(
      { about, expected: "modules that exist", got: `no ${file}`, hint: "Mend `method` or `uses` of the experiment." },
      { cause },
    );
  }
}

/** `start` and the modules it reaches through imports; those for which `enter` is false are left out. */
function reach(start: string, about: string, enter: (file: string) => boolean): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (file: string): void => {
    if (found.has(file)) return;
    const text = read(file, about);
    found.set(file, text);
    for (const next of importsOf(file, text)) if (enter(next)) visit(next);
  };
  visit(start);
  return found;
}

/** One hash of many files: names relative to `base`, sorted, each with its code. */
function hashOf(base: string, files: ReadonlyMap<string, string>): string {
  const hash = createHash("sha256");
  const named = [...files].map(([file, text]) => [relative(base, file).replaceAll("\\", "/"), text] as const);
  for (const [name, text] of named.sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(`${name}\n${codeOf(text)}\n`);
  return hash.digest("hex").slice(0, 16);
}

/** Hashes of an experiment in `file`, computed from the sources under `src`. */
export function hashesOf(experiment: Experiment, file: string, src: string): Hashes {
  const about = `experiment ${relative(src, file)}`;
  const papers = join(src, "papers");
  const own = reach(file, about, (next) => dirname(next).startsWith(papers));
  for (const module of [experiment.method, ...experiment.uses]) {
    const path = join(src, module);
    own.set(path, read(path, about));
  }
  const all = reach(file, about, () => true);
  for (const [path, text] of own) all.set(path, text);
  return { record: hashOf(src, own), cells: hashOf(src, all) };
}

/** Hashes of an experiment outside of this package: its module, and what that imports by relative paths. */
export function moduleHashes(file: string, version: string): Hashes {
  const record = hashOf(
    dirname(file),
    reach(file, file, () => true),
  );
  return { record, cells: `${record}-${version}` };
}

/** A file of the build, looked for from wherever this code was bundled to. */
export function buildFile(name: string): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  return [".", "papers", "../papers"].map((up) => join(here, up, name)).find((path) => existsSync(path));
}

/** Hashes that a build carries, by paper number. */
export function builtHashes(paper: number): Hashes {
  const file = buildFile("hashes.json");
  const all = file === undefined ? {} : (JSON.parse(readFileSync(file, "utf8")) as Record<string, Hashes>);
  const found = all[String(paper)];
  if (found) return found;
  throw new LacunaError({
    about: `paper ${paper}`,
    expected: "a build with the hashes of its experiments",
    got: file === undefined ? "a build without hashes.json" : "no hash of this paper",
    hint: "Build again: npm run build.",
  });
}
