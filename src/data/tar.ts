/** The plain files of a tar archive (POSIX ustar), by name. Links, devices and extended headers are passed over. */
import { demand, LacunaError } from "../core/errors.ts";

const BLOCK = 512;

const text = (bytes: Uint8Array): string => {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, end < 0 ? bytes.length : end));
};

/** Reads an archive; contents are views of it. `where` names it in errors. */
export function readTar(archive: Uint8Array, where: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const again = "The archive is damaged or cut short; fetch it again.";
  for (let at = 0; ; ) {
    demand(at + BLOCK <= archive.length, () => ({
      about: where,
      expected: "an empty block at the end of the archive",
      got: `${archive.length} bytes without one`,
      hint: again,
    }));
    const header = archive.subarray(at, at + BLOCK);
    if (header.every((b) => b === 0)) return files;
    const number = (from: number, length: number): number => {
      const digits = text(header.subarray(from, from + length)).trim();
      if (!/^[0-7]+$/.test(digits)) {
        throw new LacunaError({
          about: where,
          expected: `a tar header at byte ${at}`,
          got: "other bytes",
          hint: again,
        });
      }
      return Number.parseInt(digits, 8);
    };
    const stated = number(148, 8);
    const sum = header.reduce((s, b, i) => s + (i >= 148 && i < 156 ? 32 : b), 0);
    demand(stated === sum, () => ({
      about: where,
      expected: `a header at byte ${at} that adds up to ${stated}`,
      got: String(sum),
      hint: again,
    }));
    const size = number(124, 12);
    const start = at + BLOCK;
    demand(start + size <= archive.length, () => ({
      about: where,
      expected: `${size} bytes of ${text(header.subarray(0, 100))}`,
      got: `${archive.length - start}`,
      hint: again,
    }));
    const kind = header[156];
    if (kind === 0 || kind === 0x30) {
      const prefix = text(header.subarray(257, 262)) === "ustar" ? text(header.subarray(345, 500)) : "";
      const name = text(header.subarray(0, 100));
      files.set(prefix ? `${prefix}/${name}` : name, archive.subarray(start, start + size));
    }
    at = start + Math.ceil(size / BLOCK) * BLOCK;
  }
}
