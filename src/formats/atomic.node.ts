/**
 * Folders and files that appear whole or not at all: written under a temporary name beside the target, synced, renamed.
 *
 * Replacing a folder takes two renames, because POSIX has no portable swap: the old one is moved aside, the new one in,
 * and only then the old one is deleted. A process killed between the two leaves the old folder under its `old` name;
 * the next write to the same target puts it back first. Leftovers are removed only when they were made on this machine
 * by a process that no longer runs. Node only.
 */

import { createHash, randomBytes } from "node:crypto";
import { lstat, mkdir, open, readdir, realpath, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { LacunaError } from "../core/errors.ts";
import { refuse } from "./refuse.ts";
import type { ByteTarget } from "./safetensors-write.ts";
import { readTemporaryName, temporaryName } from "./temporary.ts";

export interface FolderOptions {
  /** replace an existing folder */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  /**
   * Whether `force` may delete a folder with these entries. Without it: empty ones and those with a config.json, so
   * that a slip in the path does not cost somebody's documents.
   */
  readonly mayReplace?: (entries: readonly string[]) => boolean;
}

export interface FileOptions {
  /** `false` refuses an existing file; without it the file is replaced */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

const host = createHash("sha256").update(hostname()).digest("hex").slice(0, 4);
const inUse = new Set<string>();

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;

async function exists(path: string): Promise<"folder" | "other" | undefined> {
  try {
    return (await lstat(path)).isDirectory() ? "folder" : "other";
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Errors of the disk that a user can do something about. */
function translate(error: unknown, target: string): unknown {
  if (error instanceof LacunaError) return error;
  const hints: Readonly<Record<string, readonly [string, string]>> = {
    ENOSPC: ["a full disk", "Free some space or write elsewhere; nothing was changed."],
    EDQUOT: ["a full quota", "Free some space or write elsewhere; nothing was changed."],
    EACCES: ["no permission to write", "Check the permissions or write elsewhere; nothing was changed."],
    EPERM: ["no permission to write", "Check the permissions or write elsewhere; nothing was changed."],
    EROFS: ["a read-only file system", "Write elsewhere; nothing was changed."],
    ENOTDIR: ["a file where a folder should be", "Check the path; nothing was changed."],
    EEXIST: ["a file where a folder should be", "Check the path; nothing was changed."],
  };
  const hint = hints[codeOf(error) ?? ""];
  if (!hint) return error;
  const [got, advice] = hint;
  return new LacunaError({ about: target, expected: "room to write", got, hint: advice }, { cause: error });
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Folders cannot be synced everywhere; where they can, a rename then survives a loss of power. */
async function syncFolder(path: string): Promise<void> {
  await sync(path).catch(() => {});
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await sync(path);
  }
  await syncFolder(folder);
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** Removes what dead processes left for this target, and puts a swapped-out folder back if its successor never came. */
async function tidy(target: string): Promise<void> {
  const parent = dirname(target);
  const name = basename(target);
  for (const entry of await readdir(parent)) {
    const made = readTemporaryName(entry);
    if (made?.target !== name || made.host !== host) continue;
    const path = join(parent, entry);
    if (made.pid === process.pid ? inUse.has(path) : runs(made.pid)) continue;
    if (made.kind === "old" && !(await exists(target))) await rename(path, target);
    else await rm(path, { recursive: true, force: true });
  }
}

function freshName(target: string, kind: "tmp" | "old"): string {
  const random = randomBytes(4).toString("hex");
  return join(dirname(target), temporaryName(basename(target), kind, process.pid, host, random));
}

const standsInTheWay = (target: string, what: string): never =>
  refuse(target, "a name that is free", what, "Choose another name, or replace it with --force.");

async function checkReplaceable(target: string, options: FolderOptions): Promise<void> {
  const found = await exists(target);
  if (!found) return;
  if (!options.force) standsInTheWay(target, found === "folder" ? "a folder that exists" : "a file of that name");
  if (found !== "folder") refuse(target, "a folder", "a file of that name", "Choose another name.");
  const entries = await readdir(target);
  const mayReplace = options.mayReplace ?? ((names) => names.length === 0 || names.includes("config.json"));
  if (!mayReplace(entries)) {
    refuse(
      target,
      "a folder of the kind that is written",
      "another kind of folder",
      "Delete it yourself if it may go.",
    );
  }
}

/** Throws at once what `writeFolderAtomically` would throw for this name: for callers with long work before they write. */
export async function checkTarget(target: string, options: FolderOptions = {}): Promise<void> {
  const path = resolve(target);
  try {
    await checkReplaceable(await realpath(path).catch(() => path), options);
  } catch (error) {
    throw translate(error, target);
  }
}

/**
 * Calls `write` with an empty temporary folder and then makes it `target`, which appears whole or not at all.
 *
 * Throws a `LacunaError` for an existing target (unless `force`), a full disk, or missing permission; the signal's
 * reason when aborted; whatever `write` throws. In all those cases the temporary folder is removed and an existing
 * target is as it was.
 */
export async function writeFolderAtomically(
  target: string,
  write: (folder: string, signal?: AbortSignal) => Promise<void>,
  options: FolderOptions = {},
): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  let final = resolve(target);
  let temporary: string | undefined;
  let old: string | undefined;
  try {
    await mkdir(dirname(final), { recursive: true });
    await tidy(final);
    // a link to a folder is followed, so that --force replaces the folder and not the link
    final = await realpath(final).catch(() => final);
    await checkReplaceable(final, options);

    temporary = freshName(final, "tmp");
    inUse.add(temporary);
    await mkdir(temporary);
    await write(temporary, signal);
    signal?.throwIfAborted();
    await syncTree(temporary);
    signal?.throwIfAborted();

    if (await exists(final)) {
      await checkReplaceable(final, options);
      old = freshName(final, "old");
      inUse.add(old);
      await rename(final, old);
      try {
        await rename(temporary, final);
      } catch (error) {
        await rename(old, final);
        throw error;
      }
    } else {
      await rename(temporary, final).catch((error) => {
        if (codeOf(error) === "ENOTEMPTY" || codeOf(error) === "EEXIST")
          standsInTheWay(target, "a folder made meanwhile");
        throw error;
      });
    }
    await syncFolder(dirname(final));
    // what cannot be deleted now is tidied away by the next write
    if (old) await rm(old, { recursive: true, force: true }).catch(() => {});
  } catch (error) {
    if (temporary) await rm(temporary, { recursive: true, force: true });
    throw translate(error, target);
  } finally {
    if (temporary) inUse.delete(temporary);
    if (old) inUse.delete(old);
  }
}

/** Writes a file that appears whole or not at all; an existing one is replaced unless `force` is `false`. */
export async function writeFileAtomically(
  target: string,
  data: Uint8Array | string,
  options: FileOptions = {},
): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  let final = resolve(target);
  let temporary: string | undefined;
  try {
    await mkdir(dirname(final), { recursive: true });
    await tidy(final);
    final = await realpath(final).catch(() => final);
    const found = await exists(final);
    if (found === "folder") refuse(target, "a file", "a folder of that name", "Choose another name.");
    if (found && options.force === false) standsInTheWay(target, "a file that exists");

    temporary = freshName(final, "tmp");
    inUse.add(temporary);
    const handle = await open(temporary, "wx");
    try {
      await handle.writeFile(data, signal ? { signal } : {});
      await handle.sync();
    } finally {
      await handle.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, final);
    await syncFolder(dirname(final));
  } catch (error) {
    if (temporary) await rm(temporary, { force: true });
    throw translate(error, target);
  } finally {
    if (temporary) inUse.delete(temporary);
  }
}

/** A new file that a writer fills in any order; `close` before it is read or renamed. */
export async function fileTarget(path: string): Promise<ByteTarget & { close(): Promise<void> }> {
  const handle = await open(path, "wx");
  return {
    async write(offset, bytes) {
      for (let at = 0; at < bytes.length; ) {
        const length = Math.min(2 ** 30, bytes.length - at); // one call takes at most 2 GiB
        at += (await handle.write(bytes, at, length, offset + at)).bytesWritten;
      }
    },
    close: () => handle.close(),
  };
}
