/** One-line form of "throw a `LacunaError`", shared by the readers. */

import { LacunaError } from "../core/errors.ts";

export function refuse(about: string, expected: string, got: string, hint: string, cause?: unknown): never {
  throw new LacunaError({ about, expected, got, hint }, cause === undefined ? undefined : { cause });
}

/** A value from a file, cut short so that an error stays one line. */
export function show(value: unknown, limit = 80): string {
  if (value === undefined) return "nothing";
  let text: string;
  if (typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))) text = String(value);
  else text = JSON.stringify(value) ?? String(value);
  return text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text;
}
