/**
 * Reader of safetensors (format by Hugging Face): 8 bytes of header length, a JSON header, then the tensors' bytes.
 *
 * Only the header is read at opening, and everything it says is checked against the file's size before any tensor is
 * read, so that a later read can neither leave the file nor allocate more than the file holds. As in the reference
 * reader, the tensors must cover the data exactly: no holes, no overlaps. Stricter than it: duplicate keys, control
 * characters in names and names over 512 characters are refused.
 */

import type { DType } from "./dtype.ts";
import { dtypeBytes, dtypes, elementCount, isDType, shapeText } from "./dtype.ts";
import { decodeText, isJsonObject, parseJsonObject } from "./json.ts";
import { refuse, show } from "./refuse.ts";
import type { ByteSource } from "./source.ts";
import type { WeightSource } from "./weights.ts";
import { noSuchTensor } from "./weights.ts";

/** The reference reader's limit. */
const maxHeaderBytes = 100_000_000;
const maxNameLength = 512;
const maxRank = 16;
const damaged = "The file is damaged or was cut short; fetch or write it again.";

export interface StoredTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** absolute position in the file */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Throws unless `name` can be a tensor's name. */
export function checkTensorName(name: string, where: string): void {
  if (name.length === 0 || name.length > maxNameLength) {
    refuse(where, `tensor names of 1 to ${maxNameLength} characters`, show(name, 40), damaged);
  }
  if (/[\p{Cc}\p{Cs}]/u.test(name) || name.split(".").includes("__proto__")) {
    refuse(where, "a tensor name without control characters or __proto__", show(name, 40), damaged);
  }
}

function readShape(value: unknown, about: string): readonly number[] {
  const fits =
    Array.isArray(value) && value.length <= maxRank && value.every((side) => Number.isSafeInteger(side) && side >= 0);
  if (!fits) refuse(about, `a shape: at most ${maxRank} whole numbers from 0 up`, show(value), damaged);
  return value as number[];
}

function readTensor(name: string, entry: unknown, dataStart: number, dataBytes: number, where: string): StoredTensor {
  checkTensorName(name, where);
  const about = `${where}: ${name}`;
  if (!isJsonObject(entry)) refuse(about, "dtype, shape and data_offsets", show(entry), damaged);
  for (const key of Object.keys(entry)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") {
      refuse(about, "dtype, shape and data_offsets", `also ${show(key)}`, damaged);
    }
  }
  const { dtype, data_offsets: offsets } = entry;
  if (!isDType(dtype)) {
    refuse(
      about,
      `a type out of ${dtypes.join(", ")}`,
      show(dtype),
      "Convert the weights to one of these types first.",
    );
  }
  const shape = readShape(entry.shape, about);
  const count = elementCount(shape);
  const bytes = count === undefined ? Number.NaN : count * dtypeBytes[dtype];
  if (!Number.isSafeInteger(bytes)) {
    refuse(about, "a shape whose size can be counted", shapeText(shape), damaged);
  }
  const offsetsFit = Array.isArray(offsets) && offsets.length === 2 && offsets.every((o) => Number.isSafeInteger(o));
  if (!offsetsFit) refuse(about, "two data_offsets", show(offsets), damaged);
  const [begin, end] = offsets as [number, number];
  if (!(begin >= 0 && begin <= end)) refuse(about, "data_offsets in order", show(offsets), damaged);
  if (end > dataBytes) {
    refuse(about, `data_offsets within the ${dataBytes} bytes of data`, show(offsets), damaged);
  }
  if (end - begin !== bytes) {
    refuse(about, `${bytes} bytes for ${shapeText(shape)} of ${dtype}`, `${end - begin} bytes`, damaged);
  }
  return { name, dtype, shape, offset: dataStart + begin, bytes };
}

function readMetadata(value: unknown, where: string): Record<string, string> {
  if (value === undefined) return {};
  const fits = isJsonObject(value) && Object.values(value).every((entry) => typeof entry === "string");
  if (!fits) refuse(`${where}: __metadata__`, "an object of strings", show(value), damaged);
  return value as Record<string, string>;
}

/** Reads and checks the header; throws a `LacunaError` about `where` for each thing that can be wrong with it. */
export async function readSafetensorsHeader(source: ByteSource, where: string): Promise<SafetensorsHeader> {
  if (source.size < 8) refuse(where, "at least 8 bytes", `${source.size}`, damaged);
  const prefix = await source.read(0, 8);
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    refuse(where, `a header of at most ${maxHeaderBytes} bytes`, show(length), "This is not a safetensors file.");
  }
  const headerBytes = Number(length);
  const dataStart = 8 + headerBytes;
  if (dataStart > source.size) {
    refuse(where, `a header of ${headerBytes} bytes`, `a file of ${source.size} bytes`, damaged);
  }
  const text = decodeText(await source.read(8, headerBytes), where);
  if (!text.startsWith("{")) refuse(where, 'a header that begins with "{"', show(text.slice(0, 10)), damaged);
  const header = parseJsonObject(text, `${where}: header`);

  const dataBytes = source.size - dataStart;
  const metadata = readMetadata(Object.hasOwn(header, "__metadata__") ? header.__metadata__ : undefined, where);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors.set(name, readTensor(name, entry, dataStart, dataBytes, where));
  }

  let reached = dataStart;
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    if (tensor.offset !== reached) {
      const what = tensor.offset > reached ? "a hole before it" : "an overlap with the tensor before it";
      refuse(`${where}: ${tensor.name}`, `data from byte ${reached - dataStart} on`, what, damaged);
    }
    reached += tensor.bytes;
  }
  if (reached !== source.size) {
    refuse(where, `${reached} bytes, by its header`, `${source.size} bytes`, damaged);
  }
  return { tensors, metadata };
}

/** A safetensors file as a `WeightSource`, which owns `source` from here on (also when the header is refused). */
export async function openSafetensors(source: ByteSource, where: string): Promise<WeightSource> {
  let header: SafetensorsHeader;
  try {
    header = await readSafetensorsHeader(source, where);
  } catch (error) {
    await source.close();
    throw error;
  }
  const { tensors, metadata } = header;
  const names = [...tensors.keys()];
  const find = (name: string): StoredTensor => tensors.get(name) ?? noSuchTensor(where, name, names);
  return {
    names,
    metadata,
    has: (name) => tensors.has(name),
    info(name) {
      const { dtype, shape, bytes } = find(name);
      return { name, dtype, shape, bytes };
    },
    async read(name) {
      const { offset, bytes } = find(name);
      return source.read(offset, bytes);
    },
    close: () => source.close(),
  };
}
