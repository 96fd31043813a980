/**
 * Where data sets lie on this machine: `$LACUNA_DATA/<set>`, then `data/<set>` in the user's cache, then the npm or
 * Debian package that brings the files, if there is one. Nothing is downloaded here. Node only.
 */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { LacunaError } from "../core/errors.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { type DataSetId, dataSet, dataSetIds, missingFiles } from "./catalogue.ts";
import { type DataFiles, missing } from "./files.ts";

export type Place = "LACUNA_DATA" | "cache" | "package" | "system";

export interface Finding {
  readonly id: DataSetId;
  readonly title: string;
  /** folder with all files of the set, or null */
  readonly where: string | null;
  readonly place: Place | null;
  /** where not found: what to say, as `LACUNA_DATA/ml-100k missing` */
  readonly missing: string | null;
}

const namesIn = (folder: string): string[] | undefined => {
  try {
    return readdirSync(folder).sort();
  } catch {
    return undefined;
  }
};

/** The folder of an npm package, seen from this file or from the caller's own project. */
function packageFolder(name: string): string | undefined {
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return dirname(createRequire(from).resolve(`${name}/package.json`));
    } catch {
      // not installed there
    }
  }
  return undefined;
}

/** Folders that may hold the set, in the order in which they are tried. */
function candidates(id: DataSetId, environment: NodeJS.ProcessEnv): { place: Place; folder: string }[] {
  const set = dataSet(id);
  const found: { place: Place; folder: string }[] = [];
  const names = set.also ? [set.folder, set.also] : [set.folder];
  const data = environment.LACUNA_DATA;
  if (data) found.push(...names.map((name) => ({ place: "LACUNA_DATA" as const, folder: join(data, name) })));
  found.push({ place: "cache", folder: join(cacheFolder(environment), "data", set.folder) });
  const installed = set.package && packageFolder(set.package.name);
  if (installed) found.push({ place: "package", folder: join(installed, set.package!.folder) });
  if (set.system) found.push({ place: "system", folder: set.system.folder });
  return found;
}

/** Looks for one data set. Does not throw where it is missing. */
export function findData(id: DataSetId, environment: NodeJS.ProcessEnv = process.env): Finding {
  const { title, files, folder } = dataSet(id);
  for (const c of candidates(id, environment)) {
    const names = namesIn(c.folder);
    if (names && missingFiles(files, names).length === 0) {
      return { id, title, where: c.folder, place: c.place, missing: null };
    }
  }
  return { id, title, where: null, place: null, missing: `LACUNA_DATA/${folder} missing` };
}

/** Whether the set can be loaded; for tests that are skipped by name where it cannot. */
export const hasData = (id: DataSetId): boolean => findData(id).where !== null;

/** Which data sets are found, and where. */
export const datasets = (environment: NodeJS.ProcessEnv = process.env): Finding[] =>
  dataSetIds.map((id) => findData(id, environment));

export interface OpenOptions {
  /** a folder that the caller insists on */
  readonly folder?: string;
  /** `false`: take files with another SHA-256 than the known one */
  readonly verify?: boolean;
}

/** Files of a folder. */
export const folderFiles = (folder: string, sums?: Readonly<Record<string, string>>): DataFiles => ({
  where: folder,
  ...(sums && { sums }),
  async list() {
    const names = namesIn(folder);
    if (names) return names;
    throw new LacunaError({
      about: folder,
      expected: "a folder of data files",
      got: "none",
      hint: "See docs/data.md for what belongs there.",
    });
  },
  async read(name) {
    try {
      return await readFile(join(folder, name));
    } catch (cause) {
      throw missing(folder, name, cause);
    }
  },
});

/** The files of a data set. Throws a `LacunaError` that says where it was looked for and how to get it. */
export function openData(id: DataSetId, options: OpenOptions = {}): DataFiles {
  const set = dataSet(id);
  const sums = options.verify === false ? undefined : set.sums;
  if (options.folder !== undefined) return folderFiles(options.folder, sums);
  const { where } = findData(id);
  if (where) return folderFiles(where, sums);
  const tried = candidates(id, process.env).map(({ folder }) => {
    const names = namesIn(folder);
    if (!names) return `no ${folder}`;
    const absent = missingFiles(set.files, names);
    return `${folder} without ${absent[0]}${absent.length > 1 ? ` and ${absent.length - 1} more` : ""}`;
  });
  const ways = [
    ...(set.package ? [`npm install --save-dev ${set.package.name}`] : []),
    ...(set.system ? [`install Debian's ${set.system.name}`] : []),
    ...(set.download ? [`await downloadData("${id}")`] : []),
    `put the files into $LACUNA_DATA/${set.folder}`,
  ];
  throw new LacunaError({
    about: `data set ${id}`,
    expected: `its files in $LACUNA_DATA/${set.folder}${set.package ? `, the cache or the package ${set.package.name}` : " or the cache"}`,
    got: `${process.env.LACUNA_DATA ? "" : "LACUNA_DATA is not set, "}${tried.join(", ")}`,
    hint: `To get them: ${ways.join(", or ")}.`,
  });
}
