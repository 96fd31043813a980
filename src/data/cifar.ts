/**
 * CIFAR-10 in its official binary format (Krizhevsky 2009): records of one label byte and 3 x 32 x 32 bytes, channel
 * first. The whole set (data_batch_1..5.bin, test_batch.bin) and a subset in the same records (train.bin, test.bin).
 */
import { demand } from "../core/errors.ts";
import { type Examples, examples, type Splits, splitLastPerClass } from "./examples.ts";
import { type DataFiles, readPlain } from "./files.ts";

const PIXELS = 3 * 32 * 32;
const RECORD = 1 + PIXELS;

export const CIFAR_CLASSES = [
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
] as const;

/** Reads records from one file or several; `where` names each in errors. */
export function readCifar(parts: readonly { bytes: Uint8Array; where: string }[], name: string): Examples {
  for (const { bytes, where } of parts) {
    demand(bytes.length > 0 && bytes.length % RECORD === 0, () => ({
      about: where,
      expected: `records of ${RECORD} bytes`,
      got: `${bytes.length} bytes, ${bytes.length % RECORD} over`,
      hint: "The file is cut short, or not CIFAR-10's binary version; fetch it again.",
    }));
  }
  const count = parts.reduce((sum, { bytes }) => sum + bytes.length / RECORD, 0);
  const x = new Uint8Array(count * PIXELS);
  const y = new Uint8Array(count);
  let i = 0;
  for (const { bytes } of parts) {
    for (let at = 0; at < bytes.length; at += RECORD, i++) {
      y[i] = bytes[at];
      x.set(bytes.subarray(at + 1, at + RECORD), i * PIXELS);
    }
  }
  return examples({ name, shape: [3, 32, 32], classes: 10, x, y });
}

export interface CifarOptions {
  /** the last so many training images of each class are the validation set; default a tenth of the training set */
  readonly validationPerClass?: number;
}

/** The three sets from files of either layout. */
export async function cifarSplits(files: DataFiles, name: string, options: CifarOptions = {}): Promise<Splits> {
  const names = await files.list();
  const whole = names.some((n) => n.startsWith("data_batch_"));
  const read = async (list: readonly string[], as: string): Promise<Examples> =>
    readCifar(
      await Promise.all(list.map(async (n) => ({ bytes: await readPlain(files, n), where: `${files.where}/${n}` }))),
      as,
    );
  const trainFiles = whole ? [1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`) : ["train.bin"];
  const all = await read(trainFiles, name);
  const test = await read([whole ? "test_batch.bin" : "test.bin"], `${name} test`);
  const held = options.validationPerClass ?? Math.floor(all.count / 100);
  const { rest, last } = splitLastPerClass(all, held);
  return { train: { ...rest, name: `${name} train` }, validation: { ...last, name: `${name} validation` }, test };
}
