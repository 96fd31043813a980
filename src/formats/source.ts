/**
 * Where bytes come from: memory, a Blob, or a web server that answers ranges. Files are in `source.node.ts`.
 *
 * A source knows its size before anything is read, so that readers can check a header against it.
 */

import { refuse } from "./refuse.ts";

export interface ByteSource {
  /** bytes in all */
  readonly size: number;
  /** exactly `length` bytes from `offset` on; a `LacunaError` if the source has become shorter */
  read(offset: number, length: number): Promise<Uint8Array>;
  readSync?(offset: number, length: number): Uint8Array;
  close(): Promise<void>;
}

/** Throws unless [offset, offset + length) lies within the source. */
export function checkRange(size: number, offset: number, length: number, where: string): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    refuse(
      where,
      `${length} bytes from byte ${offset} on`,
      `${size} bytes in all`,
      "The file was cut short; fetch it again.",
    );
  }
}

export function memorySource(bytes: Uint8Array, where = "memory"): ByteSource {
  const readSync = (offset: number, length: number): Uint8Array => {
    checkRange(bytes.length, offset, length, where);
    return bytes.slice(offset, offset + length);
  };
  return { size: bytes.length, readSync, read: async (o, n) => readSync(o, n), close: async () => {} };
}

/** A file that a page's user picked or dropped. */
export function blobSource(blob: Blob, where = "blob"): ByteSource {
  return {
    size: blob.size,
    async read(offset, length) {
      checkRange(blob.size, offset, length, where);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
    close: async () => {},
  };
}

/** A file behind a URL whose server answers range requests; one that does not is refused rather than read whole. */
export async function urlSource(url: string, fetcher: typeof fetch = fetch): Promise<ByteSource> {
  const ask = async (range: string): Promise<Response> => {
    let response: Response;
    try {
      response = await fetcher(url, { headers: { Range: range } });
    } catch (cause) {
      refuse(url, "an answer", "no connection", "Check the address and the network.", cause);
    }
    if (!response.ok) refuse(url, "the file", `status ${response.status}`, "Check the address.");
    return response;
  };
  const first = await ask("bytes=0-0");
  await first.body?.cancel();
  const size = Number(/\/(\d+)$/.exec(first.headers.get("content-range") ?? "")?.[1] ?? Number.NaN);
  if (first.status !== 206 || !Number.isSafeInteger(size)) {
    refuse(
      url,
      "a server that answers range requests",
      `status ${first.status}`,
      "Serve the file from another server.",
    );
  }
  return {
    size,
    async read(offset, length) {
      checkRange(size, offset, length, url);
      if (length === 0) return new Uint8Array(0);
      const response = await ask(`bytes=${offset}-${offset + length - 1}`);
      if (response.status !== 206) {
        await response.body?.cancel();
        refuse(url, "status 206 for a range", `status ${response.status}`, "Serve the file from another server.");
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length !== length) refuse(url, `${length} bytes`, `${bytes.length}`, "Load the model again.");
      return bytes;
    },
    close: async () => {},
  };
}
