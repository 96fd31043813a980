import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { compressedSource, int64Bytes, pack24 } from "./compressed.ts";
import type { CompressedFormat } from "./compressed-config.ts";
import { sparsityFormat } from "./compressed-config.ts";
import type { JsonObject } from "./json.ts";
import { filesInMemory, openModel } from "./model-folder.ts";
import { unpackWeight } from "./packed.ts";
import { openSafetensors } from "./safetensors.ts";
import type { NewTensor } from "./safetensors-write.ts";
import { encodeSafetensors, memoryTarget } from "./safetensors-write.ts";
import { memorySource } from "./source.ts";
import type { WeightPlan } from "./weights-write.ts";
import { configFor, parseWeightFormat, writeWeights } from "./weights-write.ts";

const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const floats = (bytes: Uint8Array) => [...new Float32Array(bytes.slice().buffer)];
const numbers = (bytes: Uint8Array) => [...new BigInt64Array(bytes.slice().buffer)].map(Number);

const open = async (tensors: readonly NewTensor[], format: CompressedFormat) =>
  compressedSource(await openSafetensors(memorySource(encodeSafetensors(tensors)), "f"), format, "f");

// Worked out by hand from the library's code: numpy.packbits(mask, axis=-1, bitorder="little").
const bitmaskParts: NewTensor[] = [
  { name: "l.shape", dtype: "I64", shape: [2], data: int64Bytes([2, 9]) },
  { name: "l.compressed", dtype: "F32", shape: [4], data: f32(1, 2, 3, 4) },
  { name: "l.bitmask", dtype: "U8", shape: [2, 2], data: Uint8Array.of(0b101, 1, 0b10, 0) },
  { name: "l.row_offsets", dtype: "I64", shape: [2], data: int64Bytes([0, 3]) },
];
const bitmaskDense = [1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0];
const two4Parts: NewTensor[] = [
  { name: "l.shape", dtype: "I64", shape: [2, 1], data: int64Bytes([2, 8]) },
  { name: "l.compressed", dtype: "F32", shape: [2, 4], data: f32(1, 2, 0, 3, 0, 0, 4, 5) },
  { name: "l.bitmask", dtype: "U8", shape: [2, 1], data: Uint8Array.of(0b1001_0110, 0b1100_0011) },
];
const two4Dense = [0, 1, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 4, 5];
const norm: NewTensor = { name: "norm.weight", dtype: "F32", shape: [1], data: f32(6) };

describe("reading", () => {
  test("sparse-bitmask", async () => {
    const weights = await open([...bitmaskParts, norm], "sparse-bitmask");
    expect([...weights.names].sort()).toEqual(["l.weight", "norm.weight"]);
    expect(floats(await weights.read("l.weight"))).toEqual(bitmaskDense);
    expect(floats(await weights.read("norm.weight"))).toEqual([6]);
    const { shape, dtype, bytes, packing } = weights.info("l.weight");
    expect([shape, dtype, bytes]).toEqual([[2, 9], "F32", 72]);
    expect(packing).toEqual({ pattern: "unstructured", block: { rows: 1, cols: 1 }, values: 4, storedBytes: 52 });
    expect(weights.has("l.bitmask")).toBe(false);
    await expect(weights.read("l.bitmask")).rejects.toThrow(LacunaError);
  });

  test("sparse-24-bitmask, zeros among the kept", async () => {
    const weights = await open(two4Parts, "sparse-24-bitmask");
    expect(floats(await weights.read("l.weight"))).toEqual(two4Dense);
    expect((await weights.readPacked!("l.weight")).pattern).toBe("2:4");
  });

  test("parts named after the weight itself, as the library's documentation has them", async () => {
    const renamed = bitmaskParts.map((t) => ({ ...t, name: t.name.replace("l.", "l.weight.") }));
    const weights = await open(renamed, "sparse-bitmask");
    expect(floats(await weights.read("l.weight"))).toEqual(bitmaskDense);
  });

  const without = (parts: NewTensor[], name: string) => parts.filter((t) => t.name !== name);
  const instead = (parts: NewTensor[], tensor: NewTensor) => [...without(parts, tensor.name), tensor];
  test.each<[string, NewTensor[], CompressedFormat, RegExp]>([
    ["no shape", without(bitmaskParts, "l.shape"), "sparse-bitmask", /a tensor l.shape/],
    ["no bitmask", without(bitmaskParts, "l.bitmask"), "sparse-bitmask", /a tensor l.bitmask/],
    [
      "a shape of another type",
      instead(bitmaskParts, { name: "l.shape", dtype: "I32", shape: [2], data: new Uint8Array(8) }),
      "sparse-bitmask",
      /two I64/,
    ],
    [
      "a negative shape",
      instead(bitmaskParts, { ...bitmaskParts[0], data: int64Bytes([-2, 9]) }),
      "sparse-bitmask",
      /from 1 up/,
    ],
    [
      "another shape",
      instead(bitmaskParts, { ...bitmaskParts[0], data: int64Bytes([2, 17]) }),
      "sparse-bitmask",
      /l.bitmask: expected U8 2×3/,
    ],
    [
      "whole numbers",
      instead(bitmaskParts, { ...bitmaskParts[1], dtype: "I32" }),
      "sparse-bitmask",
      /F32, F16 or BF16, got I32/,
    ],
    [
      "too few for 2:4",
      instead(two4Parts, { name: "l.compressed", dtype: "F32", shape: [7], data: new Uint8Array(28) }),
      "sparse-24-bitmask",
      /8 values for 2×8, got 7/,
    ],
    ["the weight dense as well", [...bitmaskParts, { ...norm, name: "l.weight" }], "sparse-bitmask", /the weight once/],
  ])("%s", async (_, parts, format, pattern) => {
    await expect(open(parts, format)).rejects.toBeInstanceOf(LacunaError);
    await expect(open(parts, format)).rejects.toThrow(pattern);
  });

  test("a bitmask that says otherwise than the values", async () => {
    const weights = await open(
      instead(bitmaskParts, { ...bitmaskParts[2], data: Uint8Array.of(1, 1, 2, 0) }),
      "sparse-bitmask",
    );
    await expect(weights.read("l.weight")).rejects.toThrow(/3 values, by its bitmask, got 4/);
  });
});

describe("writing", () => {
  const file = async (format: CompressedFormat, shape: number[], values: number[]) => {
    const target = memoryTarget();
    const packing = { pattern: "2:4", block: { rows: 1, cols: 1 } };
    const writer = writeWeights(target, format, [{ name: "l.weight", dtype: "F32", shape, packing }]);
    await writer.write("l.weight", f32(...values));
    await writer.finish();
    return openSafetensors(memorySource(target.bytes()), "f");
  };

  test("sparse-bitmask: the parts above", async () => {
    const stored = await file("sparse-bitmask", [2, 9], bitmaskDense);
    expect([...stored.names].sort()).toEqual(bitmaskParts.map((t) => t.name).sort());
    for (const { name, dtype, shape, data } of bitmaskParts) {
      expect(stored.info(name)).toMatchObject({ dtype, shape });
      expect(await stored.read(name)).toEqual(data);
    }
    expect(numbers(await stored.read("l.row_offsets"))).toEqual([0, 3]);
  });

  test("sparse-24-bitmask: two of every four, zeros first come first kept", async () => {
    const stored = await file("sparse-24-bitmask", [2, 8], two4Dense);
    expect(stored.info("l.shape").shape).toEqual([2, 1]);
    expect(stored.info("l.compressed").shape).toEqual([2, 4]);
    expect([...(await stored.read("l.bitmask"))]).toEqual([0b1001_0110, 0b1100_0011]);
    expect(floats(await stored.read("l.compressed"))).toEqual([1, 2, 0, 3, 0, 0, 4, 5]);
  });

  test("every group of four, packed and back", () => {
    for (let group = 0; group < 16; group++) {
      const values = [0, 1, 2, 3].map((i) => ((group >> i) & 1) * (i + 1));
      const dense = f32(9, 0, 0, 9, ...values);
      const kept = values.filter((v) => v !== 0).length;
      if (kept > 2) {
        expect(() => pack24("l", "F32", [1, 8], dense)).toThrow(
          /at most 2 of 4 values other than 0, got \d at row 0, column 4/,
        );
        continue;
      }
      const packed = pack24("l", "F32", [1, 8], dense);
      expect(packed.values.length).toBe(16);
      expect(unpackWeight(packed)).toEqual(dense);
    }
    expect(() => pack24("l", "F32", [1, 6], new Uint8Array(24))).toThrow(/a width that 4 divides, got 6/);
  });
});

test("a folder written in either format opens by its config.json", async () => {
  for (const format of ["sparse-bitmask", "sparse-24-bitmask"] as const) {
    const packing = { pattern: "2:4", block: { rows: 1, cols: 1 } };
    const plan: WeightPlan[] = [
      { name: "l.weight", dtype: "F32", shape: [2, 8], packing },
      { name: "norm.weight", dtype: "F32", shape: [1] },
    ];
    const target = memoryTarget();
    const writer = writeWeights(target, format, plan);
    await writer.write("norm.weight", f32(6));
    await writer.write("l.weight", f32(...two4Dense));
    await writer.finish();
    const config = configFor({ model_type: "llama", quantization_config: { stale: true } }, format, plan);
    expect(config.quantization_config).toMatchObject({ sparsity_config: { format, targets: ["l"] } });
    const files = new Map([
      ["config.json", () => memorySource(new TextEncoder().encode(JSON.stringify(config)))],
      ["model.safetensors", () => memorySource(target.bytes())],
    ]);
    const model = await openModel(filesInMemory(files));
    expect(model.packed).toBe(true);
    expect(floats(await model.weights.read("l.weight"))).toEqual(two4Dense);
    expect(configFor(model.config, "dense", plan)).toEqual({ model_type: "llama" });
  }
});

describe("config.json", () => {
  const read = (config: JsonObject) => sparsityFormat(config, "config.json");
  test("where the format may stand", () => {
    const sparsity_config = { format: "sparse-bitmask", sparsity_structure: "unstructured" };
    expect(read({})).toBeUndefined();
    expect(read({ quantization_config: null })).toBeUndefined();
    expect(read({ sparsity_config })).toBe("sparse-bitmask");
    expect(read({ compression_config: { sparsity_config } })).toBe("sparse-bitmask");
    expect(read({ quantization_config: { quant_method: "compressed-tensors", sparsity_config } })).toBe(
      "sparse-bitmask",
    );
    const dense = { format: "dense", global_sparsity: 0.5 };
    expect(
      read({ quantization_config: { quant_method: "compressed-tensors", sparsity_config: dense } }),
    ).toBeUndefined();
  });

  test.each<[string, JsonObject, RegExp]>([
    ["another method", { quantization_config: { quant_method: "awq" } }, /not quantised, got "awq"/],
    ["groups", { quantization_config: { config_groups: { group_0: {} } } }, /config_groups: .*not quantised/],
    ["a quantised format", { quantization_config: { format: "pack-quantized" } }, /format: .*"pack-quantized"/],
    [
      "a sparse format nobody knows",
      { sparsity_config: { format: "sparse-48" } },
      /sparse-bitmask or .*got "sparse-48"/,
    ],
    ["text", { quantization_config: "x" }, /an object, got "x"/],
  ])("%s", (_, config, pattern) => {
    expect(() => read(config)).toThrow(LacunaError);
    expect(() => read(config)).toThrow(pattern);
  });

  test("--format", () => {
    expect(parseWeightFormat("sparse-24-bitmask")).toBe("sparse-24-bitmask");
    expect(() => parseWeightFormat("zip")).toThrow(/packed, dense, sparse-bitmask, sparse-24-bitmask, got "zip"/);
  });
});
