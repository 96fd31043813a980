/**
 * IDX files as MNIST and Fashion-MNIST use them (LeCun): big-endian magic 0x0000_08_rank for unsigned bytes, one u32 a
 * dimension, then the bytes. Other element types are refused.
 */
import { demand } from "../core/errors.ts";
import { type Examples, examples, range, type Splits } from "./examples.ts";
import { type DataFiles, readPlain } from "./files.ts";

export interface IdxArray {
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Reads an IDX file of unsigned bytes; `where` names it in errors. The bytes are not copied. */
export function readIdx(file: Uint8Array, where: string): IdxArray {
  const again = "The file is damaged or cut short; fetch it again.";
  demand(file.length >= 4, () => ({
    about: where,
    expected: "an IDX file of at least 4 bytes",
    got: `${file.length} bytes`,
    hint: again,
  }));
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = view.getUint32(0);
  const rank = magic & 0xff;
  demand(magic >>> 8 === 0x000008 && rank >= 1 && rank <= 4, () => ({
    about: where,
    expected: "the IDX magic 0x00000801 to 0x00000804 (unsigned bytes)",
    got: `0x${magic.toString(16).padStart(8, "0")}`,
    hint: magic >>> 16 === 0x1f8b ? "It is a gzip file: unpack it, or name it .gz." : again,
  }));
  const header = 4 + 4 * rank;
  demand(file.length >= header, () => ({
    about: where,
    expected: `a header of ${header} bytes`,
    got: `${file.length} bytes`,
    hint: again,
  }));
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const size = shape.reduce((a, b) => a * b, 1);
  demand(file.length === header + size, () => ({
    about: where,
    expected: `${header + size} bytes for [${shape.join(", ")}]`,
    got: `${file.length}`,
    hint: again,
  }));
  return { shape, bytes: file.subarray(header) };
}

export interface IdxSplitOptions {
  /** the last so many training images are the validation set; default 10,000 */
  readonly validation?: number;
}

async function pair(files: DataFiles, prefix: string, name: string): Promise<Examples> {
  const [imageFile, labelFile] = [`${prefix}-images-idx3-ubyte`, `${prefix}-labels-idx1-ubyte`];
  const images = readIdx(await readPlain(files, imageFile), `${files.where}/${imageFile}`);
  const labels = readIdx(await readPlain(files, labelFile), `${files.where}/${labelFile}`);
  demand(images.shape.length === 3, () => ({
    about: `${files.where}/${imageFile}`,
    expected: "three dimensions: images, rows, columns",
    got: `[${images.shape.join(", ")}]`,
    hint: "Is it the file of labels?",
  }));
  demand(labels.shape.length === 1 && labels.shape[0] === images.shape[0], () => ({
    about: `${files.where}/${labelFile}`,
    expected: `${images.shape[0]} labels, one for each image`,
    got: `[${labels.shape.join(", ")}]`,
    hint: "The two files do not belong together.",
  }));
  const [, h, w] = images.shape;
  return examples({ name, shape: [1, h, w], classes: 10, x: images.bytes, y: labels.bytes });
}

/** MNIST or Fashion-MNIST: the official test set, and the training set with its end held out for validation. */
export async function idxSplits(files: DataFiles, name: string, options: IdxSplitOptions = {}): Promise<Splits> {
  const all = await pair(files, "train", name);
  const test = await pair(files, "t10k", `${name} test`);
  const held = options.validation ?? 10_000;
  demand(Number.isInteger(held) && held >= 0 && held < all.count, () => ({
    about: `validation set of ${name}`,
    expected: `a whole number below the ${all.count} training images`,
    got: String(held),
    hint: "Hold out fewer.",
  }));
  return {
    train: { ...range(all, 0, all.count - held), name: `${name} train` },
    validation: { ...range(all, all.count - held, all.count), name: `${name} validation` },
    test,
  };
}
