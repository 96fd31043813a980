/** The readers of data files, on files written by hand: good ones, and each way in which one can be bad. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { cifarSplits, readCifar } from "./cifar.ts";
import { citationGraph, readCites, readContent, readPlanetoidSplit, seededSplit } from "./cora.ts";
import { gunzip, memoryFiles, readPlain, sha256 } from "./files.ts";
import { idxSplits, readIdx } from "./idx.ts";
import { movieLensSplits, readRatings, withoutHeader } from "./movielens.ts";
import { DIGITS, ISOLET, readTable, tableSplits } from "./tables.ts";
import { readTar } from "./tar.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function idx(magic: number, shape: readonly number[], values: readonly number[]): Uint8Array {
  const out = new Uint8Array(4 + 4 * shape.length + values.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, magic);
  shape.forEach((n, i) => {
    view.setUint32(4 + 4 * i, n);
  });
  out.set(values, 4 + 4 * shape.length);
  return out;
}

describe("files", () => {
  it("are unpacked when only the packed one is there, and checked after that", async () => {
    const body = bytes("hello");
    const files = memoryFiles("here", { "a.gz": gzipSync(body), b: "plain", "b.gz": gzipSync(bytes("not this")) });
    expect(new TextDecoder().decode(await readPlain(files, "a"))).toBe("hello");
    expect(new TextDecoder().decode(await readPlain(files, "b"))).toBe("plain");
    await expect(readPlain(files, "c")).rejects.toThrow(/here\/c: expected the file, got none/);
    // SHA-256 of "abc", FIPS 180-2
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(await sha256(bytes("abc"))).toBe(abc);
    await expect(readPlain({ ...files, sums: { a: abc } }, "a")).rejects.toThrow(
      /here\/a: expected SHA-256 ba7816bf.*got 2cf24dba.*\(5 bytes\)\. The file is damaged.*verify: false/,
    );
  });

  it("are refused when cut short or no gzip", async () => {
    const packed = gzipSync(bytes("hello hello hello hello hello"));
    await expect(gunzip(packed.subarray(0, packed.length - 9), "x.gz")).rejects.toThrow(/x\.gz.*cut short or damaged/);
    await expect(gunzip(bytes("plain text"), "x.gz")).rejects.toThrow(/x\.gz: expected a gzip file, got other bytes/);
  });
});

describe("IDX", () => {
  it("reads shape and bytes", () => {
    const { shape, bytes: body } = readIdx(idx(0x803, [2, 1, 3], [1, 2, 3, 4, 5, 6]), "f");
    expect(shape).toEqual([2, 1, 3]);
    expect([...body]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("refuses other magic, cut files, and extra bytes", () => {
    expect(() => readIdx(new Uint8Array(3), "f")).toThrow(/f: expected an IDX file of at least 4 bytes, got 3/);
    expect(() => readIdx(idx(0xd03, [1, 1, 1], [0]), "f")).toThrow(/magic.*got 0x00000d03/);
    expect(() => readIdx(gzipSync(idx(0x801, [1], [0])), "f")).toThrow(/0x1f8b0800.*gzip/);
    expect(() => readIdx(idx(0x803, [1, 1, 1], []).subarray(0, 10), "f")).toThrow(/header of 16 bytes, got 10/);
    expect(() => readIdx(idx(0x801, [3], [1, 2]), "f")).toThrow(/11 bytes for \[3\], got 10/);
    expect(() => readIdx(idx(0x801, [1], [1, 2]), "f")).toThrow(/9 bytes for \[1\], got 10/);
  });

  const whole = {
    "train-images-idx3-ubyte.gz": gzipSync(idx(0x803, [4, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8])),
    "train-labels-idx1-ubyte": idx(0x801, [4], [9, 0, 1, 2]),
    "t10k-images-idx3-ubyte": idx(0x803, [1, 1, 2], [9, 9]),
    "t10k-labels-idx1-ubyte": idx(0x801, [1], [3]),
  };

  it("makes train, validation from the end of train, and test", async () => {
    const { train, validation, test } = await idxSplits(memoryFiles("m", whole), "mnist", { validation: 1 });
    expect([train.count, validation.count, test.count]).toEqual([3, 1, 1]);
    expect([...validation.x]).toEqual([7, 8]);
    expect([...validation.ids]).toEqual([3]);
    expect(train.shape).toEqual([1, 1, 2]);
    expect([train.name, validation.name, test.name]).toEqual(["mnist train", "mnist validation", "mnist test"]);
  });

  it("refuses files that do not belong together", async () => {
    const split = (change: Record<string, Uint8Array>): Promise<unknown> =>
      idxSplits(memoryFiles("m", { ...whole, ...change }), "mnist", { validation: 1 });
    await expect(split({ "train-labels-idx1-ubyte": idx(0x801, [3], [0, 0, 0]) })).rejects.toThrow(
      /m\/train-labels-idx1-ubyte: expected 4 labels/,
    );
    await expect(split({ "train-labels-idx1-ubyte": idx(0x801, [4], [0, 10, 0, 0]) })).rejects.toThrow(
      /labels from 0 to 9, got 10 for example 1/,
    );
    await expect(split({ "t10k-images-idx3-ubyte": idx(0x801, [1], [3]) })).rejects.toThrow(/three dimensions/);
    await expect(idxSplits(memoryFiles("m", whole), "mnist")).rejects.toThrow(/below the 4 training images, got 10000/);
  });
});

describe("CIFAR-10", () => {
  const record = (label: number, value: number): number[] => [label, ...new Array(3072).fill(value)];

  it("reads records of either layout", async () => {
    const train = Uint8Array.from([0, 1, 2, 3].flatMap((i) => record(i % 2, i)));
    const test = Uint8Array.from(record(9, 200));
    const subset = await cifarSplits(memoryFiles("c", { "train.bin": train, "test.bin": test }), "cifar", {
      validationPerClass: 1,
    });
    expect([...subset.train.ids]).toEqual([0, 1]);
    expect([...subset.validation.ids]).toEqual([2, 3]);
    expect(subset.validation.x[3071]).toBe(2);
    expect(subset.validation.x[3072]).toBe(3);
    expect([...subset.test.y]).toEqual([9]);
    const parts = Object.fromEntries(
      [1, 2, 3, 4, 5].map((i) => [`data_batch_${i}.bin`, Uint8Array.from(record(i, i))]),
    );
    const official = await cifarSplits(memoryFiles("c", { ...parts, "test_batch.bin": test }), "cifar");
    expect([...official.train.y]).toEqual([1, 2, 3, 4, 5]);
    expect(official.validation.count).toBe(0);
  });

  it("refuses a ragged file and a label of 10", () => {
    expect(() => readCifar([{ bytes: new Uint8Array(3080), where: "t.bin" }], "c")).toThrow(
      /t\.bin: expected records of 3073 bytes, got 3080 bytes, 7 over/,
    );
    expect(() => readCifar([{ bytes: new Uint8Array(0), where: "t.bin" }], "c")).toThrow(/records of 3073/);
    expect(() => readCifar([{ bytes: Uint8Array.from(record(10, 0)), where: "t.bin" }], "c")).toThrow(/0 to 9, got 10/);
  });
});

describe("tables", () => {
  const tiny = { ...ISOLET, name: "tiny", features: 2 };

  it("reads numbers and a class, with UCI's spelling", () => {
    const e = readTable("-0.4394, 0.0930, 1.\r\n1, -1.0, 26.\r\n\n", tiny, "f");
    expect(e.count).toBe(2);
    expect([...e.x]).toEqual([-0.4394, 0.093, 1, -1].map(Math.fround));
    expect([...e.y]).toEqual([0, 25]);
    expect(e.scale).toBe(1);
  });

  it("names the line of a mistake", () => {
    expect(() => readTable("", tiny, "f")).toThrow(/f: expected lines of 2 numbers and a class, got an empty file/);
    expect(() => readTable("0,0,1.\n0,1.", tiny, "f")).toThrow(
      /f, line 2: expected 2 numbers and a class, got 2 cells/,
    );
    expect(() => readTable("0,x,1.", tiny, "f")).toThrow(/f, line 1: expected numbers from -1 to 1, got "x"/);
    expect(() => readTable("0,,1.", tiny, "f")).toThrow(/numbers from -1 to 1, got ""/);
    expect(() => readTable("0,1.5,1.", tiny, "f")).toThrow(/got "1.5"/);
    expect(() => readTable("0,0,27", tiny, "f")).toThrow(/a class from 1 to 26, got "27"/);
    expect(() => readTable("0,0,", tiny, "f")).toThrow(/a class from 1 to 26/);
  });

  it("splits with equal shares", async () => {
    const rows = Array.from({ length: 50 }, (_, i) => [...new Array(64).fill(i % 17), i % 10].join(","));
    const s = await tableSplits(memoryFiles("d", { "optdigits.csv": rows.join("\n") }), "optdigits.csv", DIGITS);
    expect([s.train.count, s.validation.count, s.test.count]).toEqual([30, 10, 10]);
    expect([...s.test.y].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe("Cora", () => {
  const content = "31\t1\t0\tTheory\n7\t0\t1\tNeural\n9\t1\t1\tTheory\n";
  const nodes = readContent(content, "c");

  it("reads nodes and undirected edges, with LINQS's ids and class names", async () => {
    expect(nodes.classes).toEqual(["Neural", "Theory"]);
    expect([...nodes.x]).toEqual([1, 0, 0, 1, 1, 1]);
    expect([...nodes.y]).toEqual([1, 0, 1]);
    const { from, to } = readCites("9\t31\n31\t9\n7\t7\n7\t31\n", nodes, "e");
    expect([...from]).toEqual([0, 0]);
    expect([...to]).toEqual([1, 2]);
    const files = { "cora.content": content, "cora.cites": "9\t31\n" };
    const split = JSON.stringify({ train: [31], validation: [7], test: [9] });
    const g = await citationGraph(memoryFiles("f", { ...files, "planetoid-split.json": split }));
    expect([g.nodes, g.features, g.split, [...g.train], [...g.validation], [...g.test]]).toEqual([
      3,
      2,
      "planetoid",
      [0],
      [1],
      [2],
    ]);
    expect((await citationGraph(memoryFiles("f", files))).split).toBe("seeded");
  });

  it("draws a split of Planetoid's sizes", () => {
    const many = { ...nodes, y: Uint8Array.from({ length: 2000 }, (_, i) => i % 2) };
    const s = seededSplit(many, 3);
    expect([s.train.length, s.validation.length, s.test.length]).toEqual([40, 500, 1000]);
    expect(new Set([...s.train, ...s.validation, ...s.test]).size).toBe(1540);
    expect(s.train.filter((n) => many.y[n] === 0).length).toBe(20);
  });

  it("names what is wrong", () => {
    expect(() => readContent("", "c")).toThrow(/c: expected lines of an id.*got an empty file/);
    expect(() => readContent("1\tTheory", "c")).toThrow(/got 2 cells in the first line/);
    expect(() => readContent("1\t0\tA\n2\t0\t1\tA", "c")).toThrow(/c, line 2: expected 3 cells.*got 4/);
    expect(() => readContent("1\t0\tA\n1\t0\tA", "c")).toThrow(/line 2: expected an id that is new, got 1/);
    expect(() => readContent("1\t2\tA", "c")).toThrow(/words as 0 or 1, got "2"/);
    expect(() => readCites("31\t8", nodes, "e")).toThrow(/e, line 1: expected two ids of cora.content.*got "31\\t8"/);
    expect(() => readPlanetoidSplit('{"train":[31],"validation":[31],"test":[]}', nodes, "s")).toThrow(
      /s: validation: expected a list.*none twice, got 31/,
    );
    expect(() => readPlanetoidSplit('{"train":[5]}', nodes, "s")).toThrow(/s: train.*got 5/);
    expect(() => readPlanetoidSplit('{"train":[31]}', nodes, "s")).toThrow(/s: validation.*got no list/);
    expect(() => readPlanetoidSplit("{", nodes, "s")).toThrow(/s: expected/);
  });
});

describe("MovieLens", () => {
  const lines = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t4.5\t881251000\n";

  it("reads ratings with and without a header, and numbers users and items by rising id", () => {
    for (const text of [lines, `user_id\titem_id\trating\ttimestamp\n${lines}`]) {
      const r = readRatings(bytes(text), "u.data");
      expect([...r.userIds]).toEqual([186, 196]);
      expect([...r.itemIds]).toEqual([242, 302]);
      expect([...r.user]).toEqual([1, 0, 1]);
      expect([...r.item]).toEqual([0, 1, 1]);
      expect([...r.rating]).toEqual([3, 3, 4.5]);
      expect(r.time[1]).toBe(891717742);
    }
    expect(withoutHeader(bytes("header only")).length).toBe(0);
  });

  it("checks the sum of the lines alone, so that a header does not matter", async () => {
    const sums = { "u.data": await sha256(bytes(lines)) };
    const load = (text: string): Promise<unknown> =>
      movieLensSplits({ ...memoryFiles("m", { "u.data": text }), sums }, { seed: 0 });
    await load(lines);
    await load(`user\titem\trating\ttime\n${lines}`);
    await expect(load(lines.replace("4.5", "5"))).rejects.toThrow(/m\/u\.data: expected SHA-256/);
  });

  it("names the line of a mistake", () => {
    const wrong =
      (text: string): (() => unknown) =>
      () =>
        readRatings(bytes(text), "u");
    expect(wrong("")).toThrow(/u: expected lines of user, item, rating, time/);
    expect(wrong("1\t2\t3\n")).toThrow(/u, line 1: expected user, item, rating and time/);
    expect(wrong("h\n1\t2\t3\tx\n")).toThrow(/u, line 2: expected ids of at least 1/);
    expect(wrong("0\t2\t3\t4\n")).toThrow(/ids of at least 1/);
    expect(wrong("1\t2\t6\t4\n")).toThrow(/rating from 0.5 to 5/);
    expect(wrong("1\t2\t3\t4\n1\t2\t3\t4\n")).toThrow(/line 2: expected one rating of item 2 by user 1/);
  });
});

describe("tar", () => {
  /** One entry as the ustar format has it. */
  function entry(name: string, body: Uint8Array, kind = "0"): Uint8Array {
    const block = new Uint8Array(512 + Math.ceil(body.length / 512) * 512);
    const put = (text: string, at: number): void => block.set(bytes(text), at);
    put(name, 0);
    put(body.length.toString(8).padStart(11, "0"), 124);
    put("        ", 148);
    put(kind, 156);
    put("ustar", 257);
    const sum = block.subarray(0, 512).reduce((a, b) => a + b, 0);
    put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    block.set(body, 512);
    return block;
  }
  const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => [...p]));
  const end = new Uint8Array(1024);

  it("reads plain files and passes over the rest", () => {
    const files = readTar(
      join(entry("d/", new Uint8Array(0), "5"), entry("d/a", bytes("one")), entry("b", bytes("")), end),
      "t",
    );
    expect([...files.keys()]).toEqual(["d/a", "b"]);
    expect(new TextDecoder().decode(files.get("d/a"))).toBe("one");
  });

  it("refuses damage and a missing end", () => {
    const good = entry("a", bytes("one"));
    expect(() => readTar(good, "t")).toThrow(/t: expected an empty block at the end/);
    expect(() => readTar(good.subarray(0, 514), "t")).toThrow(/3 bytes of a, got 2/);
    const bad = join(good, end);
    bad[0] = 66;
    expect(() => readTar(bad, "t")).toThrow(/a header at byte 0 that adds up/);
    expect(() => readTar(join(new Uint8Array(512).fill(1), end), "t")).toThrow(/a tar header at byte 0/);
  });
});
