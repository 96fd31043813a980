/**
 * Writer of safetensors, in memory at once or tensor by tensor into a file with memory for about one tensor.
 *
 * Tensors are laid out by element size, largest first, as the reference writer does, because readers that map the file
 * need aligned data. A tensor whose length is known only once it has been made (a packed weight's values) is `open` in
 * the plan: room for the largest possible header is kept, and the header, padded with spaces, is written last.
 */

import type { DType } from "./dtype.ts";
import { dtypeBytes, elementCount, shapeText } from "./dtype.ts";
import { refuse } from "./refuse.ts";
import { checkTensorName } from "./safetensors.ts";

export interface NewTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface PlannedTensor {
  readonly name: string;
  readonly dtype: DType;
  /** the shape or, for a vector whose length is not known yet, the most elements it can have */
  readonly shape: readonly number[] | { readonly atMost: number };
}

/** Where a writer puts bytes; positions may come in any order but leave no gap in the end. */
export interface ByteTarget {
  write(offset: number, bytes: Uint8Array): Promise<void>;
}

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function byteLength(name: string, dtype: DType, shape: readonly number[]): number {
  const bytes = (elementCount(shape) ?? Number.NaN) * dtypeBytes[dtype];
  const fits = Number.isSafeInteger(bytes) && bytes >= 0;
  if (!fits) refuse(name, "a shape whose size can be counted", shapeText(shape), "Check the model's sizes.");
  return bytes;
}

function headerJson(entries: Iterable<Entry>, metadata: Readonly<Record<string, string>>): Uint8Array {
  const object: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) object.push(["__metadata__", metadata]);
  for (const { name, dtype, shape, begin, end } of entries) {
    object.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(object)));
}

/** 8 bytes of length, the header, and spaces up to `room` bytes of header. */
function headerBlock(header: Uint8Array, room: number): Uint8Array {
  const out = new Uint8Array(8 + room).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(room), true);
  out.set(header, 8);
  return out;
}

const roundUp8 = (bytes: number): number => Math.ceil(bytes / 8) * 8;

const bySize = (a: { dtype: DType }, b: { dtype: DType }): number => dtypeBytes[b.dtype] - dtypeBytes[a.dtype];

function checkNames(tensors: Iterable<{ name: string }>): void {
  const seen = new Set<string>();
  for (const { name } of tensors) {
    checkTensorName(name, "safetensors writer");
    if (name === "__metadata__" || seen.has(name)) {
      refuse(name, "a tensor name that is free", "one that is taken", "Give each tensor its own name.");
    }
    seen.add(name);
  }
}

function checkLength(name: string, expected: number, got: number): void {
  if (got !== expected) refuse(name, `${expected} bytes`, `${got}`, "Shape, type and data of a tensor must agree.");
}

/** A whole safetensors file in memory. */
export function encodeSafetensors(
  tensors: Iterable<NewTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const sorted = [...tensors].sort(bySize);
  checkNames(sorted);
  let end = 0;
  const entries = sorted.map(({ name, dtype, shape, data }) => {
    checkLength(name, byteLength(name, dtype, shape), data.length);
    const begin = end;
    end += data.length;
    return { name, dtype, shape, begin, end };
  });
  const header = headerJson(entries, metadata);
  const room = roundUp8(header.length);
  const out = new Uint8Array(8 + room + end);
  out.set(headerBlock(header, room));
  sorted.forEach(({ data }, i) => {
    out.set(data, 8 + room + entries[i].begin);
  });
  return out;
}

export interface SafetensorsWriter {
  /** writes one planned tensor, in any order, each once; `shape` only where the plan left it open */
  write(name: string, data: Uint8Array): Promise<void>;
  /** writes what was held back and the header; an error if a planned tensor is missing. Returns the file's bytes. */
  finish(): Promise<number>;
}

/**
 * A writer of the tensors in `plan`.
 *
 * Tensors of known size go straight to their places. Open ones of the widest open type are appended as they come;
 * narrower tensors are held in memory until `finish`, so that no wider one lands on an odd address.
 */
export function writeSafetensors(
  target: ByteTarget,
  plan: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>> = {},
): SafetensorsWriter {
  checkNames(plan);
  const isOpen = (t: PlannedTensor): boolean => "atMost" in t.shape;
  const shapeOf = (t: PlannedTensor): readonly number[] => ("atMost" in t.shape ? [t.shape.atMost] : t.shape);
  const widestOpen = Math.max(0, ...plan.filter(isOpen).map((t) => dtypeBytes[t.dtype]));

  const planned = new Map(plan.map((t) => [t.name, t]));
  const entries = new Map<string, Entry>();
  const held = new Map<string, Uint8Array>();
  const written = new Set<string>();

  let mostBytes = 0;
  for (const t of plan) mostBytes += byteLength(t.name, t.dtype, shapeOf(t));
  const longest = plan.map((t) => ({
    name: t.name,
    dtype: t.dtype,
    shape: shapeOf(t),
    begin: mostBytes,
    end: mostBytes,
  }));

  let end = 0;
  const place = (t: PlannedTensor, shape: readonly number[]): Entry => {
    const begin = end;
    end += byteLength(t.name, t.dtype, shape);
    const entry = { name: t.name, dtype: t.dtype, shape, begin, end };
    entries.set(t.name, entry);
    return entry;
  };
  const fixed = [...plan].sort(bySize).filter((t) => !isOpen(t) && dtypeBytes[t.dtype] >= widestOpen);
  for (const t of fixed) place(t, shapeOf(t));
  // with everything fixed the header is known already, and no byte is spent on padding it
  const room = roundUp8(headerJson(widestOpen > 0 ? longest : entries.values(), metadata).length);

  const openShape = (t: PlannedTensor, data: Uint8Array): readonly number[] => {
    if (!("atMost" in t.shape)) return t.shape;
    const length = data.length / dtypeBytes[t.dtype];
    const fits = Number.isInteger(length) && length <= t.shape.atMost;
    if (!fits) refuse(t.name, `at most ${t.shape.atMost} elements of ${t.dtype}`, `${data.length} bytes`, "Plan more.");
    return [length];
  };

  const put = (entry: Entry, data: Uint8Array): Promise<void> => {
    checkLength(entry.name, entry.end - entry.begin, data.length);
    return target.write(8 + room + entry.begin, data);
  };

  return {
    async write(name, data) {
      const t = planned.get(name);
      if (!t) return refuse(name, "a planned tensor", "one that is not in the plan", "Plan every tensor first.");
      if (written.has(name)) refuse(name, "each tensor once", "a second copy", "Write each tensor once.");
      written.add(name);
      const entry = entries.get(name);
      if (entry) return put(entry, data);
      const shape = openShape(t, data);
      checkLength(name, byteLength(name, t.dtype, shape), data.length);
      if (isOpen(t) && dtypeBytes[t.dtype] === widestOpen) return put(place(t, shape), data);
      held.set(name, data.slice());
    },

    async finish() {
      const missing = plan.find((t) => !written.has(t.name));
      if (missing) refuse(missing.name, "every planned tensor", "nothing for this one", "Write each tensor once.");
      for (const t of [...plan].sort(bySize)) {
        const data = held.get(t.name);
        if (data) await put(place(t, openShape(t, data)), data);
      }
      const inOrder = [...entries.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
      const header = headerJson(inOrder, metadata);
      if (header.length > room) throw new Error(`safetensors header of ${header.length} bytes in room for ${room}`);
      await target.write(0, headerBlock(header, room));
      return 8 + room + end;
    },
  };
}

/** A target that grows in memory, for small files and for tests. */
export function memoryTarget(): ByteTarget & { bytes(): Uint8Array } {
  let store = new Uint8Array(1024);
  let size = 0;
  return {
    async write(offset, bytes) {
      size = Math.max(size, offset + bytes.length);
      if (size > store.length) {
        const grown = new Uint8Array(Math.max(size, 2 * store.length));
        grown.set(store);
        store = grown;
      }
      store.set(bytes, offset);
    },
    bytes: () => store.slice(0, size),
  };
}
