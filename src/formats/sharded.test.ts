import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import type { JsonObject } from "./json.ts";
import { encodeSafetensors } from "./safetensors-write.ts";
import { openSharded } from "./sharded.ts";
import type { ByteSource } from "./source.ts";
import { memorySource } from "./source.ts";

const tensor = (name: string, byte: number) => ({ name, dtype: "U8" as const, shape: [1], data: Uint8Array.of(byte) });
const first = encodeSafetensors([tensor("a", 1), tensor("b", 2)], { format: "pt" });
const second = encodeSafetensors([tensor("c", 3)]);
const shards: Record<string, Uint8Array> = {
  "model-00001-of-00002.safetensors": first,
  "model-00002-of-00002.safetensors": second,
};
const [one, two] = Object.keys(shards);

let unclosed = 0;
async function open(file: string): Promise<ByteSource | undefined> {
  if (!Object.hasOwn(shards, file)) return undefined;
  unclosed++;
  return { ...memorySource(shards[file]), close: async () => void unclosed-- };
}

const sharded = (weight_map: JsonObject | null) =>
  openSharded({ metadata: { total_size: 3 }, weight_map }, "index", open);

test("tensors come from their files", async () => {
  const weights = await sharded({ c: two, a: one, b: one });
  expect(weights.names).toEqual(["c", "a", "b"]);
  expect([(await weights.read("a"))[0], (await weights.read("b"))[0], (await weights.read("c"))[0]]).toEqual([1, 2, 3]);
  expect(weights.metadata).toEqual({ format: "pt" });
  expect(weights.has("d")).toBe(false);
  expect(() => weights.info("d")).toThrow(LacunaError);
  await weights.close();
  expect(unclosed).toBe(0);
});

describe("an index that lies", () => {
  test.each<[string, JsonObject | null, RegExp]>([
    ["no map", null, /weight_map: expected an object, got null/],
    ["an empty map", {}, /at least one tensor/],
    ["a number for a file", { a: 3 }, /plain name/],
    ["a path upwards", { a: "../model.safetensors" }, /plain name/],
    ["a path upwards on Windows", { a: "..\\model.safetensors" }, /plain name/],
    ["an absolute path", { a: "/etc/passwd" }, /plain name/],
    ["a folder", { a: "x/model.safetensors" }, /plain name/],
    ["a NUL", { a: "model\u0000.safetensors" }, /plain name/],
    ["a hidden file", { a: ".safetensors" }, /plain name/],
    ["another type", { a: "model.bin" }, /plain name/],
    ["a missing shard", { a: one, b: one, c: "model-00003-of-00002.safetensors" }, /no such file/],
    ["a wrong shard", { a: two, b: one, c: two }, /index: a: expected the tensor in .*00002.* got it in .*00001/],
    [
      "an absent tensor",
      { a: one, b: one, c: two, d: two },
      /index: d: expected the tensor in .*00002.*, got it in no file/,
    ],
    ["a tensor left out", { a: one, c: two }, /b: expected a tensor that the index lists/],
  ])("%s", async (_, map, pattern) => {
    await expect(sharded(map)).rejects.toBeInstanceOf(LacunaError);
    await expect(sharded(map)).rejects.toThrow(pattern);
    expect(unclosed).toBe(0);
  });

  test("a tensor in two shards", async () => {
    shards["copy.safetensors"] = encodeSafetensors([tensor("a", 9), tensor("d", 9)]);
    await expect(sharded({ a: one, b: one, d: "copy.safetensors" })).rejects.toThrow(
      /it in .*00001.* only, got it here/,
    );
    expect(unclosed).toBe(0);
  });
});
