import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { openSafetensors, readSafetensorsHeader } from "./safetensors.ts";
import type { NewTensor } from "./safetensors-write.ts";
import { encodeSafetensors, memoryTarget, writeSafetensors } from "./safetensors-write.ts";
import { memorySource } from "./source.ts";
import { expectTensor } from "./weights.ts";

const utf8 = new TextEncoder();

/** A file put together by hand from the format's description, independent of our writer. */
function file(header: string | object, data: number[] = [], length?: bigint): Uint8Array {
  const json = utf8.encode(typeof header === "string" ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + data.length);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  out.set(json, 8);
  out.set(data, 8 + json.length);
  return out;
}

const open = (bytes: Uint8Array) => openSafetensors(memorySource(bytes), "f.safetensors");

async function complaint(bytes: Uint8Array): Promise<string> {
  const error = await open(bytes).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(LacunaError);
  return (error as LacunaError).message;
}

const one = (entry: object, data: number[]) => file({ a: entry }, data);
const u8 = (count: number) => Array.from({ length: count }, (_, i) => i);

describe("reading", () => {
  test("a file made by hand", async () => {
    const bytes = file(
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},' +
        '"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"s":{"dtype":"BF16","shape":[],"data_offsets":[11,13]},' +
        '"e":{"dtype":"I64","shape":[0,5],"data_offsets":[8,8]}}   ',
      u8(13),
    );
    const weights = await open(bytes);
    expect(weights.names).toEqual(["b", "a", "s", "e"]);
    expect(weights.metadata).toEqual({ format: "pt" });
    expect(weights.info("a")).toEqual({ name: "a", dtype: "F32", shape: [2, 1], bytes: 8 });
    expect([...(await weights.read("a"))]).toEqual(u8(8));
    expect([...(await weights.read("b"))]).toEqual([8, 9, 10]);
    expect([...(await weights.read("s"))]).toEqual([11, 12]);
    expect([...(await weights.read("e"))]).toEqual([]);
    expect(weights.has("toString")).toBe(false);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /at least 8 bytes, got 0/],
    ["seven bytes", new Uint8Array(7), /at least 8 bytes, got 7/],
    ["an absurd header length", file("{}", [], 2n ** 63n), /at most 100000000 bytes, got 9223372036854775808/],
    ["a header just over the limit", file("{}", [], 100_000_001n), /at most 100000000 bytes/],
    ["a header beyond the file", file("{}", [], 3n), /a header of 3 bytes, got a file of 10 bytes/],
    ["no JSON", file("hello, there"), /begins with "{"/],
    ["half a JSON", file('{"a":'), /end of the text/],
    ["JSON and more", file("{} x"), /nothing after the JSON value/],
    ["bytes that are not UTF-8", file("{}", [255], 3n), /UTF-8/],
    ["an array", file("[1]"), /begins with "{"/],
    ["deep nesting", file(`{"a":${"[".repeat(1000)}${"]".repeat(1000)}}`), /levels of nesting/],
    [
      "a duplicate key",
      file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /each key once, got the key "a" twice/,
    ],
    ["__proto__", file('{"__proto__":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /__proto__/],
    ["a name that never ends", file({ [`x${"y".repeat(600)}`]: {} }), /1 to 512 characters/],
    ["an empty name", file({ "": {} }), /1 to 512 characters/],
    ["a control character", file({ "a\u0007": {} }), /control characters/],
    ["half a surrogate pair", file('{"a\\ud800":{}}'), /control characters/],
    ["no entry", file({ a: 5 }), /dtype, shape and data_offsets, got 5/],
    ["a strange field", one({ dtype: "U8", shape: [0], data_offsets: [0, 0], x: 1 }, []), /also "x"/],
    ["no dtype", one({ shape: [0], data_offsets: [0, 0] }, []), /a type out of F64, F32.*got nothing/],
    ["an unknown dtype", one({ dtype: "F8_E4M3", shape: [1], data_offsets: [0, 1] }, [0]), /got "F8_E4M3"/],
    ["a dtype off the prototype", one({ dtype: "toString", shape: [0], data_offsets: [0, 0] }, []), /got "toString"/],
    ["a negative side", one({ dtype: "U8", shape: [-1], data_offsets: [0, 1] }, [0]), /whole numbers from 0 up/],
    ["half a side", one({ dtype: "U8", shape: [0.5], data_offsets: [0, 1] }, [0]), /whole numbers from 0 up/],
    [
      "a side beyond 2^53",
      file('{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,0]}}'),
      /whole numbers/,
    ],
    [
      "an overflowing shape",
      one({ dtype: "U8", shape: [2 ** 30, 2 ** 30], data_offsets: [0, 0] }, []),
      /can be counted/,
    ],
    ["a shape of 17 sides", one({ dtype: "U8", shape: Array(17).fill(1), data_offsets: [0, 1] }, [0]), /at most 16/],
    ["one offset", one({ dtype: "U8", shape: [1], data_offsets: [0] }, [0]), /two data_offsets/],
    ["offsets out of order", one({ dtype: "U8", shape: [1], data_offsets: [1, 0] }, [0]), /data_offsets in order/],
    ["a negative offset", one({ dtype: "U8", shape: [1], data_offsets: [-1, 0] }, [0]), /data_offsets in order/],
    ["offsets beyond the file", one({ dtype: "U8", shape: [4], data_offsets: [0, 4] }, [0]), /within the 1 bytes/],
    ["too few bytes", one({ dtype: "F32", shape: [2], data_offsets: [0, 4] }, u8(4)), /8 bytes for 2 of F32, got 4/],
    ["bytes left over", one({ dtype: "U8", shape: [1], data_offsets: [0, 1] }, u8(2)), /by its header, got/],
    ["metadata that is no object", file({ __metadata__: 3 }), /an object of strings/],
    ["metadata that is no string", file({ __metadata__: { a: 3 } }), /an object of strings/],
  ])("%s", async (_, bytes, pattern) => {
    expect(await complaint(bytes)).toMatch(pattern);
  });

  test("overlaps and holes", async () => {
    const pair = (second: [number, number], data: number) =>
      file(
        {
          a: { dtype: "U8", shape: [4], data_offsets: [0, 4] },
          b: { dtype: "U8", shape: [4], data_offsets: second },
        },
        u8(data),
      );
    expect(await complaint(pair([2, 6], 6))).toMatch(/b: expected data from byte 4 on, got an overlap/);
    expect(await complaint(pair([0, 4], 4))).toMatch(/an overlap/);
    expect(await complaint(pair([5, 9], 9))).toMatch(/a hole before it/);
    expect((await open(pair([4, 8], 8))).names).toEqual(["a", "b"]);
  });

  test("every truncation of a good file is refused", async () => {
    const whole = encodeSafetensors([{ name: "a", dtype: "F32", shape: [3], data: new Uint8Array(12).fill(7) }]);
    for (let length = 0; length < whole.length; length++) await complaint(whole.slice(0, length));
    expect((await open(whole)).names).toEqual(["a"]);
  });

  test("a source is closed when its header is refused", async () => {
    let closed = 0;
    const source = { ...memorySource(new Uint8Array(9)), close: async () => void closed++ };
    await expect(openSafetensors(source, "f")).rejects.toBeInstanceOf(LacunaError);
    expect(closed).toBe(1);
  });

  test("a loader's expectations", async () => {
    const weights = await open(
      encodeSafetensors([{ name: "w", dtype: "I32", shape: [2, 3], data: new Uint8Array(24) }]),
    );
    expect(() => expectTensor(weights, "v", [2, 3])).toThrow(/expected a tensor v, got 1 others, such as w/);
    expect(() => expectTensor(weights, "w", [3, 2])).toThrow(/w: expected shape 3×2, got 2×3/);
    expect(() => expectTensor(weights, "w", [2, 3])).toThrow(/w: expected type F32, F16, BF16, got I32/);
    expect(expectTensor(weights, "w", [2, 3], ["I32"]).bytes).toBe(24);
  });
});

const tensors: NewTensor[] = [
  { name: "mask", dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) },
  { name: "norm", dtype: "F32", shape: [1], data: Uint8Array.of(4, 5, 6, 7) },
  { name: "w", dtype: "BF16", shape: [1, 3], data: Uint8Array.of(8, 9, 10, 11, 12, 13) },
  { name: "none", dtype: "F16", shape: [0], data: new Uint8Array(0) },
];

describe("writing", () => {
  test("known bytes", () => {
    const bytes = encodeSafetensors(tensors.slice(0, 2), { format: "pt" });
    const header =
      '{"__metadata__":{"format":"pt"},"norm":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' +
      '"mask":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8, " ");
    expect([...bytes]).toEqual([...file(padded, [4, 5, 6, 7, 1, 2, 3])]);
  });

  test("comes back, each tensor aligned to its element", async () => {
    const bytes = encodeSafetensors(tensors);
    const header = await readSafetensorsHeader(memorySource(bytes), "f");
    const weights = await open(bytes);
    for (const { name, dtype, shape, data } of tensors) {
      expect(weights.info(name)).toEqual({ name, dtype, shape, bytes: data.length });
      expect(await weights.read(name)).toEqual(data);
    }
    expect(header.tensors.get("norm")!.offset % 4).toBe(0);
    expect(header.tensors.get("w")!.offset % 2).toBe(0);
  });

  test("tensor by tensor gives the same file as at once, in any order", async () => {
    const target = memoryTarget();
    const writer = writeSafetensors(target, tensors, { k: "v" });
    for (const { name, data } of [...tensors].reverse()) await writer.write(name, data);
    const size = await writer.finish();
    expect(target.bytes()).toEqual(encodeSafetensors(tensors, { k: "v" }));
    expect(size).toBe(target.bytes().length);
  });

  test("tensors whose length is known late", async () => {
    const target = memoryTarget();
    const writer = writeSafetensors(target, [
      { name: "a.bitmask", dtype: "U8", shape: [1] },
      { name: "a.values", dtype: "BF16", shape: { atMost: 100_000 } },
      { name: "small", dtype: "I8", shape: { atMost: 5 } },
      { name: "norm", dtype: "F32", shape: [1] },
      { name: "b.values", dtype: "BF16", shape: { atMost: 8 } },
    ]);
    await writer.write("small", Uint8Array.of(99));
    await writer.write("b.values", Uint8Array.of(1, 2));
    await writer.write("a.bitmask", Uint8Array.of(42));
    await writer.write("norm", Uint8Array.of(4, 5, 6, 7));
    await writer.write("a.values", Uint8Array.of(3, 4, 5, 6));
    await writer.finish();
    const weights = await open(target.bytes());
    expect(weights.info("a.values").shape).toEqual([2]);
    expect([...(await weights.read("a.values"))]).toEqual([3, 4, 5, 6]);
    expect([...(await weights.read("b.values"))]).toEqual([1, 2]);
    expect([...(await weights.read("small"))]).toEqual([99]);
    expect([...(await weights.read("norm"))]).toEqual([4, 5, 6, 7]);
    const header = await readSafetensorsHeader(memorySource(target.bytes()), "f");
    for (const t of header.tensors.values()) expect(t.offset % (t.bytes / t.shape[0])).toBe(0);
  });

  test("mistakes", async () => {
    expect(() => encodeSafetensors([tensors[0], tensors[0]])).toThrow(/mask: expected a tensor name that is free/);
    expect(() => encodeSafetensors([{ ...tensors[1], shape: [2] }])).toThrow(/norm: expected 8 bytes, got 4/);
    const writer = writeSafetensors(memoryTarget(), tensors);
    await expect(writer.write("other", new Uint8Array(1))).rejects.toThrow(/not in the plan/);
    await expect(writer.write("w", new Uint8Array(1))).rejects.toThrow(/w: expected 6 bytes, got 1/);
    await expect(writer.finish()).rejects.toThrow(/mask: expected every planned tensor/);
    const late = writeSafetensors(memoryTarget(), [{ name: "v", dtype: "F32", shape: { atMost: 1 } }]);
    await expect(late.write("v", new Uint8Array(8))).rejects.toThrow(/at most 1 elements/);
  });
});
