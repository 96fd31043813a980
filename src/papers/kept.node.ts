/**
 * Cells that are done, kept on disk until their run is over and after: one file each, written whole or not at all, in a
 * folder named by the hash of the code that made them. What changed code has not made is never found. Node only.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../formats/atomic.node.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { paperNumber } from "./catalogue/index.ts";
import type { Figures } from "./contract.ts";

/** A cell that has run. */
export interface Finished {
  readonly figures: Figures;
  readonly seconds: number;
  /** of the process that ran it */
  readonly peakBytes: number;
}

export interface Kept {
  /** cells that are there, by name */
  readonly finished: ReadonlyMap<string, Finished>;
  keep(name: string, cell: Finished): Promise<void>;
}

const isFigures = (value: unknown): value is Figures =>
  typeof value === "object" && value !== null && Object.values(value).every(Number.isFinite);

/** A kept cell, or undefined for a file that is none. */
function parse(text: string): (Finished & { readonly name: string }) | undefined {
  try {
    const { name, figures, seconds, peakBytes } = JSON.parse(text) as Record<string, unknown>;
    if (typeof name !== "string" || !isFigures(figures)) return undefined;
    return { name, figures, seconds: Number(seconds), peakBytes: Number(peakBytes) };
  } catch {
    return undefined;
  }
}

/** Where cells are kept unless a folder is given. */
export const workFolder = (): string => join(cacheFolder(), "papers");

/** The kept cells of one paper, made by code of one hash on one split of the data. `fresh` forgets them first. */
export async function openKept(
  folder: string,
  key: { readonly paper: number; readonly hash: string; readonly split: string; readonly fresh?: boolean },
): Promise<Kept> {
  const own = join(folder, paperNumber(key.paper), `${key.hash}-${key.split}`);
  if (key.fresh) await rm(own, { recursive: true, force: true });
  await mkdir(own, { recursive: true });
  const finished = new Map<string, Finished>();
  for (const file of await readdir(own)) {
    if (!file.endsWith(".json") || file.startsWith(".")) continue;
    const cell = parse(await readFile(join(own, file), "utf8"));
    if (cell) finished.set(cell.name, { figures: cell.figures, seconds: cell.seconds, peakBytes: cell.peakBytes });
  }
  return {
    finished,
    async keep(name, cell) {
      finished.set(name, cell);
      await writeFileAtomically(join(own, `${encodeURIComponent(name)}.json`), JSON.stringify({ name, ...cell }));
    },
  };
}
