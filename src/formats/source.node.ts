/** A file as a `ByteSource`: positioned reads, nothing mapped or cached. Node only. */

import { closeSync, fstatSync, openSync, read as readCallback, readSync } from "node:fs";
import { promisify } from "node:util";
import { refuse } from "./refuse.ts";
import type { ByteSource } from "./source.ts";
import { checkRange } from "./source.ts";

const read = promisify(readCallback);

/** One read call takes at most 2 GiB on Linux. */
const largestRead = 2 ** 30;

/** Opens `path` for reading; a `LacunaError` if it is missing, not a file, or may not be read. */
export function fileSource(path: string): ByteSource {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT") refuse(path, "a file", "nothing of that name", "Check the path.", cause);
    refuse(path, "a file that can be read", String(code), "Check the file's permissions.", cause);
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    refuse(path, "a file", stat.isDirectory() ? "a folder" : "something that is not a plain file", "Check the path.");
  }
  const { size } = stat;
  let open = true;

  const short = (got: number, length: number): never =>
    refuse(path, `${length} bytes`, `${got}`, "The file changed while it was read; load it again.");

  return {
    size,
    readSync(offset, length) {
      checkRange(size, offset, length, path);
      const out = new Uint8Array(length);
      for (let at = 0; at < length; ) {
        const got = readSync(descriptor, out, at, Math.min(largestRead, length - at), offset + at);
        if (got === 0) short(at, length);
        at += got;
      }
      return out;
    },
    async read(offset, length) {
      checkRange(size, offset, length, path);
      const out = new Uint8Array(length);
      for (let at = 0; at < length; ) {
        const { bytesRead } = await read(descriptor, out, at, Math.min(largestRead, length - at), offset + at);
        if (bytesRead === 0) short(at, length);
        at += bytesRead;
      }
      return out;
    },
    async close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}
