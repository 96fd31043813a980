/**
 * Files of a data set by name, wherever they lie: in a folder (find.node.ts), in memory, behind a browser's fetch.
 * Unpacking (gzip) and checksums work on bytes alone. No data set is known here.
 */
import { LacunaError } from "../core/errors.ts";

export interface DataFiles {
  /** what errors name: a folder or an address */
  readonly where: string;
  /** SHA-256 of unpacked files by name, checked by `readPlain` */
  readonly sums?: Readonly<Record<string, string>>;
  /** names of all files, sorted */
  list(): Promise<readonly string[]>;
  read(name: string): Promise<Uint8Array>;
}

/** Files that are in memory already. */
export function memoryFiles(where: string, files: Readonly<Record<string, Uint8Array | string>>): DataFiles {
  return {
    where,
    list: async () => Object.keys(files).sort(),
    async read(name) {
      const found = files[name];
      if (found === undefined) throw missing(where, name);
      return typeof found === "string" ? new TextEncoder().encode(found) : found;
    },
  };
}

export const missing = (where: string, name: string, cause?: unknown): LacunaError =>
  new LacunaError(
    { about: `${where}/${name}`, expected: "the file", got: "none", hint: "See docs/data.md for what belongs there." },
    { cause },
  );

/**
 * The bytes of `name`, or of `name.gz` unpacked. Throws a `LacunaError` where they have another SHA-256 than the known
 * one; it is that of the unpacked file, as packed ones differ by time stamps and names inside.
 */
export async function readPlain(files: DataFiles, name: string): Promise<Uint8Array> {
  const names = await files.list();
  const packed = `${name}.gz`;
  const bytes =
    !names.includes(name) && names.includes(packed)
      ? await gunzip(await files.read(packed), `${files.where}/${packed}`)
      : await files.read(name);
  const sum = files.sums && Object.hasOwn(files.sums, name) ? files.sums[name] : undefined;
  if (sum) await checkSum(bytes, sum, `${files.where}/${name}`);
  return bytes;
}

/** Unpacks gzip. Throws a `LacunaError` about `where` for bytes that are none, or that end too early. */
export async function gunzip(bytes: Uint8Array, where: string): Promise<Uint8Array> {
  try {
    const unpacked = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(unpacked).arrayBuffer());
  } catch (cause) {
    throw new LacunaError(
      {
        about: where,
        expected: "a gzip file",
        got: bytes[0] === 0x1f && bytes[1] === 0x8b ? "one that is cut short or damaged" : "other bytes",
        hint: "Fetch it again.",
      },
      { cause },
    );
  }
}

export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Throws a `LacunaError` that names the file when the bytes have another SHA-256. */
export async function checkSum(bytes: Uint8Array, expected: string, where: string): Promise<void> {
  const got = await sha256(bytes);
  if (got === expected) return;
  throw new LacunaError({
    about: where,
    expected: `SHA-256 ${expected}`,
    got: `${got} (${bytes.length} bytes)`,
    hint: "The file is damaged, or another version: fetch it again, or load it with { verify: false }.",
  });
}
