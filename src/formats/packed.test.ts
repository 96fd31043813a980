import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import type { DType } from "./dtype.ts";
import { dtypeBytes } from "./dtype.ts";
import { openModelFolder } from "./model-folder.node.ts";
import { filesInMemory, openModel } from "./model-folder.ts";
import { writeModelFolder } from "./model-write.node.ts";
import { packWeight, unpackWeight } from "./packed.ts";
import { packedSource } from "./packed-source.ts";
import { openSafetensors } from "./safetensors.ts";
import type { NewTensor } from "./safetensors-write.ts";
import { encodeSafetensors, memoryTarget } from "./safetensors-write.ts";
import { memorySource } from "./source.ts";
import type { Block } from "./weights.ts";
import type { WeightFormat, WeightPlan } from "./weights-write.ts";
import { planLike, writeWeights } from "./weights-write.ts";

const bf16 = (...words: number[]) => new Uint8Array(Uint16Array.from(words).buffer);
const words = (bytes: Uint8Array) => [...new Uint16Array(bytes.slice().buffer)];
const one: Block = { rows: 1, cols: 1 };

describe("layout, byte by byte", () => {
  test("unstructured: bits LSB first, each row on a new byte, values row by row", () => {
    const dense = bf16(1, 0, 2, 0, 0, 0, 0, 0, 3, /* row 2 */ 0, 4, 0, 0, 0, 0, 0, 0, 0);
    const packed = packWeight("w", "BF16", [2, 9], dense, { pattern: "unstructured", block: one });
    expect([...packed.bitmask]).toEqual([0b101, 1, 0b10, 0]);
    expect(words(packed.values)).toEqual([1, 2, 3, 4]);
    expect(unpackWeight(packed)).toEqual(dense);
  });

  test("4x1: a bit per four outputs of one input, whole blocks stored, a ragged one at the end", () => {
    const dense = bf16(
      ...[1, 0, 0], // rows 0 to 3: blocks 0 and 2
      ...[2, 0, 0],
      ...[0, 0, 5],
      ...[4, 0, 0],
      ...[0, 7, 0], // rows 4 and 5: block 1
      ...[0, 8, 0],
    );
    const packed = packWeight("w", "BF16", [6, 3], dense, { pattern: "4x1", block: { rows: 4, cols: 1 } });
    expect([...packed.bitmask]).toEqual([0b101, 0b010]);
    expect(words(packed.values)).toEqual([1, 2, 0, 4, 0, 0, 5, 0, 7, 8]);
    expect(unpackWeight(packed)).toEqual(dense);
  });

  test("-0 is no value, and becomes +0 inside a kept block", () => {
    const dense = bf16(0x8000, 1, 0x8000, 0);
    const loose = packWeight("w", "BF16", [2, 2], dense, { pattern: "unstructured", block: one });
    expect([...loose.bitmask]).toEqual([0b10, 0]);
    const block = packWeight("w", "BF16", [2, 2], dense, { pattern: "1x2", block: { rows: 1, cols: 2 } });
    expect(words(block.values)).toEqual([0, 1]);
    expect(words(unpackWeight(block))).toEqual([0, 1, 0, 0]);
    const single = packWeight("w", "F32", [1, 2], new Uint8Array(Float32Array.of(-0, -1).buffer), {
      pattern: "unstructured",
      block: one,
    });
    expect([...single.bitmask]).toEqual([0b10]);
  });
});

/** Weights with a share of zeros, some subnormal, some infinite or NaN by their bits. */
const weight = fc
  .record({
    dtype: fc.constantFrom<DType>("BF16", "F16", "F32"),
    rows: fc.integer({ min: 1, max: 21 }),
    cols: fc.integer({ min: 1, max: 37 }),
    block: fc.record({ rows: fc.integer({ min: 1, max: 5 }), cols: fc.integer({ min: 1, max: 17 }) }),
    zeros: fc.constantFrom(0, 0.5, 0.95, 1),
    seed: fc.integer(),
  })
  .map(({ dtype, rows, cols, block, zeros, seed }) => {
    let state = seed | 1;
    const next = () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 0;
    const size = dtypeBytes[dtype];
    const dense = new Uint8Array(rows * cols * size);
    for (let i = 0; i < rows * cols; i++) {
      if (next() / 2 ** 32 < zeros) continue;
      for (let b = 0; b < size; b++) dense[i * size + b] = next() >>> 24;
      if (dense[i * size + size - 1] === 0x80) dense[i * size + size - 1] = 1; // -0 has its own test
    }
    const fit = { rows: Math.min(block.rows, rows), cols: Math.min(block.cols, cols) };
    return { dtype, shape: [rows, cols] as const, dense, block: fit };
  });

test("packing loses nothing, for every type, shape, block and share of zeros", () => {
  fc.assert(
    fc.property(weight, fc.boolean(), ({ dtype, shape, dense, block }, odd) => {
      const shifted = new Uint8Array(dense.length + 1);
      shifted.set(dense, 1);
      const packed = packWeight("w", dtype, shape, odd ? shifted.subarray(1) : dense, { pattern: "x", block });
      expect(unpackWeight(packed)).toEqual(dense);
      // the twin: a block is kept when a byte in it is not zero, counted without bit tricks
      const size = dtypeBytes[dtype];
      let elements = 0;
      for (let r = 0; r < shape[0]; r += block.rows) {
        for (let c = 0; c < shape[1]; c += block.cols) {
          const rows = Math.min(block.rows, shape[0] - r);
          const cols = Math.min(block.cols, shape[1] - c);
          let any = false;
          for (let i = 0; i < rows; i++) {
            for (let b = 0; b < cols * size; b++) any ||= dense[((r + i) * shape[1] + c) * size + b] !== 0;
          }
          if (any) elements += rows * cols;
        }
      }
      expect(packed.values.length).toBe(elements * size);
    }),
    { numRuns: 300 },
  );
});

/** 2:4, 4x1 and unstructured masks over values 1, 2, 3, ... of BF16 bits. */
function pruned(rows: number, cols: number, keep: (r: number, c: number) => boolean): Uint8Array {
  return bf16(
    ...Array.from({ length: rows * cols }, (_, i) => (keep(Math.floor(i / cols), i % cols) ? 0x3f80 + (i % 127) : 0)),
  );
}

/** A hash in [0, 1), so that a mask can be asked for by place. */
const hash = (a: number, b: number): number => {
  let h = Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  return ((h ^ (h >>> 13)) >>> 0) / 2 ** 32;
};

describe("sizes", () => {
  test.each<[string, Block, (r: number, c: number) => boolean, number]>([
    ["unstructured at 50 %", one, (r, c) => (r + c) % 2 === 0, 0.57],
    ["unstructured at 80 %", one, (r, c) => (r + c) % 5 === 0, 0.28],
    ["2:4", one, (r, c) => c % 4 === r % 4 || c % 4 === (r + 1) % 4, 0.57],
    [
      "4x1 at 75 %: a bit per 4 values",
      { rows: 4, cols: 1 },
      (r, c) => ((r >> 2) + c) % 4 === 0,
      0.25 + 1 / 64 + 0.001,
    ],
  ])("%s of 192 × 516", (pattern, block, keep, limit) => {
    const packed = packWeight("w", "BF16", [192, 516], pruned(192, 516, keep), { pattern, block });
    expect((packed.bitmask.length + packed.values.length) / (192 * 516 * 2)).toBeLessThanOrEqual(limit);
  });
});

const config = { model_type: "llama" };
const plan: WeightPlan[] = [
  { name: "norm.weight", dtype: "F32", shape: [3] },
  { name: "a.weight", dtype: "BF16", shape: [8, 12], packing: { pattern: "unstructured", block: one } },
  { name: "b.weight", dtype: "BF16", shape: [10, 8], packing: { pattern: "4x1", block: { rows: 4, cols: 1 } } },
  { name: "c.weight", dtype: "F16", shape: [4, 8], packing: { pattern: "2:4", block: one } },
  { name: "embed.weight", dtype: "BF16", shape: [2, 3] },
];
const dense: Record<string, Uint8Array> = {
  "norm.weight": new Uint8Array(Float32Array.of(1, -0, 3).buffer),
  "a.weight": pruned(8, 12, (r, c) => c % 4 < 2 && hash(r, c) < 0.6),
  "b.weight": pruned(10, 8, (r, c) => hash(r >> 2, c) < 0.4 && c % 4 < 2),
  "c.weight": pruned(4, 8, (r, c) => c % 4 === r || c % 4 === (r + 2) % 4),
  "embed.weight": bf16(1, 0, 0x8000, 4, 5, 6),
};

async function stored(format: WeightFormat): Promise<Uint8Array> {
  const target = memoryTarget();
  const writer = writeWeights(target, format, plan);
  for (const { name } of plan) await writer.write(name, dense[name]);
  await writer.finish();
  return target.bytes();
}

const openPacked = async (bytes: Uint8Array) => packedSource(await openSafetensors(memorySource(bytes), "f"), "f");

describe("a packed file", () => {
  test("shows the weights under their own names, bit for bit", async () => {
    const weights = await openPacked(await stored("packed"));
    expect([...weights.names].sort()).toEqual(plan.map((p) => p.name).sort());
    for (const { name, dtype, shape, packing } of plan) {
      const info = weights.info(name);
      expect([info.dtype, info.shape, info.bytes]).toEqual([dtype, shape, dense[name].length]);
      expect(info.packing?.pattern).toBe(packing?.pattern);
      expect(await weights.read(name)).toEqual(dense[name]);
    }
    expect(weights.has("a.weight.bitmask")).toBe(false);
    expect(() => weights.info("a.weight.bitmask")).toThrow(LacunaError);
    await expect(weights.read("a.weight.values")).rejects.toThrow(LacunaError);
    const b = await weights.readPacked!("b.weight");
    expect([b.block, b.pattern, b.bitmask.length]).toEqual([{ rows: 4, cols: 1 }, "4x1", 3]);
    await expect(weights.readPacked!("norm.weight")).rejects.toThrow(/not packed/);
  });

  test("says in its metadata what docs/packed-format.md says", async () => {
    const inner = await openSafetensors(memorySource(await stored("packed")), "f");
    expect(JSON.parse(inner.metadata.lacuna)).toEqual({
      format: "lacuna-packed",
      version: 1,
      tensors: {
        "a.weight": { shape: [8, 12], dtype: "BF16", pattern: "unstructured", block: [1, 1] },
        "b.weight": { shape: [10, 8], dtype: "BF16", pattern: "4x1", block: [4, 1] },
        "c.weight": { shape: [4, 8], dtype: "F16", pattern: "2:4", block: [1, 1] },
      },
    });
    expect(inner.metadata.format).toBe("pt");
  });

  test("written again from what was read is the same file", async () => {
    const first = await stored("packed");
    const weights = await openPacked(first);
    const target = memoryTarget();
    const again = planLike(plan.map(({ name }) => weights.info(name)));
    expect(again).toEqual(plan);
    const writer = writeWeights(target, "packed", again, weights.metadata);
    for (const { name } of plan) await writer.write(name, await weights.read(name));
    await writer.finish();
    expect(target.bytes()).toEqual(first);
  });
});

/** The parts of a good file, to be spoilt one at a time. */
function spoil(change: (tensors: Map<string, NewTensor>, metadata: { lacuna: string }) => void): Uint8Array {
  const bitmask: NewTensor = { name: "w.bitmask", dtype: "U8", shape: [2, 1], data: Uint8Array.of(0b101, 0b011) };
  const values: NewTensor = { name: "w.values", dtype: "BF16", shape: [4], data: bf16(1, 2, 3, 4) };
  const tensors = new Map([bitmask, values].map((t) => [t.name, t]));
  const entry = { shape: [2, 3], dtype: "BF16", pattern: "unstructured", block: [1, 1] };
  const metadata = { lacuna: JSON.stringify({ format: "lacuna-packed", version: 1, tensors: { w: entry } }) };
  change(tensors, metadata);
  return encodeSafetensors(tensors.values(), metadata);
}

describe("a damaged packed file", () => {
  const swap = (from: string, to: string) => (_: unknown, metadata: { lacuna: string }) => {
    expect(metadata.lacuna).toContain(from);
    metadata.lacuna = metadata.lacuna.replace(from, to);
  };
  const put = (tensor: NewTensor) => (tensors: Map<string, NewTensor>) => void tensors.set(tensor.name, tensor);

  test("the example is good as it is", async () => {
    const weights = await openPacked(spoil(() => {}));
    expect(words(await weights.read("w"))).toEqual([1, 0, 2, 3, 4, 0]);
  });

  test.each<[string, Parameters<typeof spoil>[0], RegExp]>([
    ["no JSON", (_, m) => void (m.lacuna = "{"), /metadata lacuna/],
    ["another format", swap("lacuna-packed", "other"), /format lacuna-packed, got "other"/],
    ["a later version", swap('"version":1', '"version":2'), /version 1, got 2.*another version/],
    ["no tensors", swap('"tensors":{', '"tensors":3,"x":{'), /tensors, got 3/],
    ["no shape", swap("[2,3]", "[2]"), /shape: two whole numbers/],
    ["a huge shape", swap("[2,3]", "[9007199254740991,9007199254740991]"), /can be counted/],
    ["another shape", swap("[2,3]", "[2,9]"), /w.bitmask: expected U8 2×2, got U8 2×1/],
    ["another type", swap('"BF16"', '"F32"'), /w.values: expected a vector of F32/],
    ["a type without numbers", swap('"BF16"', '"BOOL"'), /dtype F32, F16 or BF16, got "BOOL"/],
    ["a block without size", swap("[1,1]", "[1,0]"), /block: two whole numbers/],
    ["a block over the edge", swap("[1,1]", "[3,1]"), /a block inside 2×3/],
    ["a pattern with a newline", swap('"unstructured"', '"a\\nb"'), /plain characters/],
    ["no such weight", swap('"w"', '"v"'), /expected a tensor v.bitmask/],
    ["no values", (t) => void t.delete("w.values"), /expected a tensor w.values/],
    [
      "too many values",
      put({ name: "w.values", dtype: "BF16", shape: [7], data: new Uint8Array(14) }),
      /no longer than/,
    ],
    [
      "the weight dense as well",
      put({ name: "w", dtype: "U8", shape: [1], data: new Uint8Array(1) }),
      /it dense as well/,
    ],
  ])("%s", async (_, change, pattern) => {
    await expect(openPacked(spoil(change))).rejects.toBeInstanceOf(LacunaError);
    await expect(openPacked(spoil(change))).rejects.toThrow(pattern);
  });

  test.each<[string, NewTensor, RegExp]>([
    ["a bit too many", { name: "w.bitmask", dtype: "U8", shape: [2, 1], data: Uint8Array.of(7, 3) }, /5 values.*got 4/],
    ["a bit too few", { name: "w.bitmask", dtype: "U8", shape: [2, 1], data: Uint8Array.of(1, 3) }, /3 values.*got 4/],
    ["a bit beyond the row", { name: "w.bitmask", dtype: "U8", shape: [2, 1], data: Uint8Array.of(9, 3) }, /beyond/],
    ["a value too few", { name: "w.values", dtype: "BF16", shape: [3], data: bf16(1, 2, 3) }, /4 values.*got 3/],
  ])("%s is noticed on reading", async (_, tensor, pattern) => {
    const weights = await openPacked(spoil(put(tensor)));
    await expect(weights.read("w")).rejects.toThrow(pattern);
    await expect(weights.readPacked!("w")).rejects.toThrow(LacunaError);
  });
});

test("folders on disk: written packed, opened, written dense, the same weights", async () => {
  const root = mkdtempSync(join(tmpdir(), "lacuna-packed-"));
  try {
    const fill = async (write: (name: string, bytes: Uint8Array) => Promise<void>) => {
      for (const { name } of plan) await write(name, dense[name]);
    };
    const record = { "tokenizer.json": "{}", "lacuna.json": '{"seed":1}' };
    await writeModelFolder(join(root, "p"), { config, format: "packed", plan, files: record }, fill);
    const model = await openModelFolder(join(root, "p"));
    expect([model.packed, model.config, model.tokenizerPath]).toEqual([
      true,
      config,
      join(root, "p", "tokenizer.json"),
    ]);
    expect(await model.json("lacuna.json")).toEqual({ seed: 1 });
    expect(await model.json("nothing.json")).toBeUndefined();

    const copy = async (write: (name: string, bytes: Uint8Array) => Promise<void>) => {
      for (const name of model.weights.names) await write(name, await model.weights.read(name));
    };
    const all = planLike(model.weights.names.map((name) => model.weights.info(name)));
    const unpacked = { config: model.config, format: "dense" as const, plan: all, companions: join(root, "p") };
    await writeModelFolder(join(root, "d"), unpacked, copy);
    await model.close();
    const plain = await openModelFolder(join(root, "d"));
    expect([plain.packed, plain.weights.metadata]).toEqual([false, { format: "pt" }]);
    expect(plain.tokenizerPath).toBe(join(root, "d", "tokenizer.json"));
    for (const { name } of plan) expect(await plain.weights.read(name)).toEqual(dense[name]);
    await plain.close();

    await expect(openModelFolder(join(root, "none"))).rejects.toThrow(/a model folder, got nothing of that name/);
    await expect(openModelFolder(join(root, "d", "config.json"))).rejects.toThrow(/a model folder, got a file/);
    await expect(openModelFolder(root)).rejects.toThrow(/with config.json, got no config.json/);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test("a folder without weights, or with a config that is none", async () => {
  const json = (text: string) => () => memorySource(new TextEncoder().encode(text));
  await expect(openModel(filesInMemory(new Map([["config.json", json("{}")]])))).rejects.toThrow(
    /model.safetensors or model.safetensors.index.json, got neither/,
  );
  await expect(openModel(filesInMemory(new Map([["config.json", json("[]")]])))).rejects.toThrow(/a JSON object/);
});
