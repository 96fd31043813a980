/**
 * Fetches a data set from its official address into the user's cache, when asked: nothing else calls this. Sizes and
 * SHA-256 of what arrives are checked; a set is in the cache whole or not at all. Node only.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LacunaError } from "../core/errors.ts";
import { writeFolderAtomically } from "../formats/atomic.node.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { type DataSet, type DataSetId, dataSet } from "./catalogue.ts";
import { checkSum, gunzip } from "./files.ts";
import { findData } from "./find.node.ts";
import { readTar } from "./tar.ts";

export interface DownloadOptions {
  /** another address with the same files, ending in a slash */
  readonly base?: string;
  /** folder to keep data sets in; default `data` in the user's cache */
  readonly cache?: string;
  /** fetch what is found on this machine already */
  readonly refresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly file: string; readonly done: number; readonly total: number }) => void;
}

async function fetchBytes(
  address: string,
  bytes: number,
  signal: AbortSignal | undefined,
  onBytes: (count: number) => void,
): Promise<Uint8Array> {
  const refuse = (got: string, cause?: unknown): never => {
    throw new LacunaError(
      { about: address, expected: `${bytes} bytes`, got, hint: "Check the network, or fetch the file by hand." },
      { cause },
    );
  };
  try {
    const answer = await fetch(address, signal ? { signal } : {});
    if (!answer.ok || !answer.body) return refuse(`status ${answer.status}`);
    const all = new Uint8Array(bytes);
    let at = 0;
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      if (at + chunk.length > bytes) return refuse("more");
      all.set(chunk, at);
      at += chunk.length;
      onBytes(chunk.length);
    }
    return at === bytes ? all : refuse(`${at}`);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof LacunaError) throw error;
    const code = (error as { cause?: { code?: unknown } }).cause?.code;
    return refuse(`no answer (${String(code ?? (error as Error).message)})`, error);
  }
}

/** As `downloadData`, for an entry that need not be in the catalogue. */
export async function downloadSet(id: string, set: DataSet, options: DownloadOptions = {}): Promise<string> {
  const { download } = set;
  if (!download) {
    throw new LacunaError({
      about: `data set ${id}`,
      expected: "one with an official address",
      got: "none",
      hint: `Put its files into $LACUNA_DATA/${set.folder}; docs/data.md says which.`,
    });
  }
  const { signal, onProgress } = options;
  const base = options.base ?? download.base;
  const target = join(options.cache ?? join(cacheFolder(), "data"), set.folder);
  const total = download.files.reduce((sum, f) => sum + f.bytes, 0);
  let done = 0;
  await writeFolderAtomically(
    target,
    async (folder) => {
      for (const { name, bytes, sha256 } of download.files) {
        const address = `${base}${name}`;
        const content = await fetchBytes(address, bytes, signal, (count) => {
          done += count;
          onProgress?.({ file: name, done, total });
        });
        await checkSum(content, sha256, address);
        if (!download.members) {
          await writeFile(join(folder, name), content);
          continue;
        }
        const members = new Map(
          [...readTar(await gunzip(content, address), address)].map(([path, body]) => [path.split("/").at(-1)!, body]),
        );
        for (const member of download.members) {
          const body = members.get(member);
          if (!body) {
            throw new LacunaError({
              about: address,
              expected: `the file ${member} in it`,
              got: "none",
              hint: "The archive is another one; fetch the files by hand.",
            });
          }
          await writeFile(join(folder, member), body);
        }
      }
    },
    // a folder of this name in the cache is ours to replace
    { force: true, mayReplace: () => true, ...(signal && { signal }) },
  );
  return target;
}

/**
 * The folder of a data set, fetched into the cache unless it is on this machine. Throws a `LacunaError` for a set without
 * an official address, a network that does not answer, or files that arrive altered; nothing half-fetched stays.
 */
export async function downloadData(id: DataSetId, options: DownloadOptions = {}): Promise<string> {
  const found = options.refresh ? null : findData(id).where;
  return found ?? downloadSet(id, dataSet(id), options);
}
