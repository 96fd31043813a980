import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CATALOGUE, type DataSet, dataSetIds, missingFiles } from "./catalogue.ts";
import { downloadData, downloadSet } from "./download.node.ts";
import { datasets, findData, folderFiles, openData } from "./find.node.ts";
import { loadMovieLens } from "./load.node.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "lacuna-data-"));
});
afterAll(() => rmSync(root, { recursive: true }));

describe("the catalogue", () => {
  it("has a SHA-256 for every required file that is one file, and knows plain and packed names", () => {
    for (const id of dataSetIds) {
      const set: DataSet = CATALOGUE[id];
      for (const [name, sum] of Object.entries(set.sums ?? {})) expect(sum, `${id} ${name}`).toMatch(/^[0-9a-f]{64}$/);
      if (set.files.every((f) => !f.startsWith("*") && !f.endsWith(".png"))) {
        expect(Object.keys(set.sums ?? {})).toEqual(expect.arrayContaining([...set.files]));
      }
    }
    expect(missingFiles(["a", "b", "*.txt"], ["a.gz", "c.txt"])).toEqual(["b"]);
    expect(missingFiles(["*.txt"], ["a.md"])).toEqual(["*.txt"]);
  });
});

describe("docs/data.md", () => {
  const page = readFileSync("docs/data.md", "utf8");

  it("names every set, its folder and every SHA-256 of the catalogue", () => {
    for (const id of dataSetIds) {
      const set: DataSet = CATALOGUE[id];
      expect(page).toContain(`| \`${id}\` |`);
      for (const sum of Object.values(set.sums ?? {})) expect(page, id).toContain(sum);
      for (const { sha256, name } of set.download?.files ?? []) expect(page, name).toContain(sha256);
    }
  });
});

describe("data sets", () => {
  it("are found in LACUNA_DATA first, then in the cache, then in the package", () => {
    const [data, cache] = [join(root, "data"), join(root, "cache")];
    const environment = { LACUNA_DATA: data, LACUNA_CACHE: cache };
    expect(findData("ml-100k", environment)).toMatchObject({ where: null, missing: "LACUNA_DATA/ml-100k missing" });
    expect(findData("mnist", environment).place).toBe("package");
    mkdirSync(join(cache, "data", "ml-100k"), { recursive: true });
    writeFileSync(join(cache, "data", "ml-100k", "u.data"), "");
    expect(findData("ml-100k", environment)).toMatchObject({ place: "cache", missing: null });
    mkdirSync(join(data, "ml-100k"), { recursive: true });
    expect(findData("ml-100k", environment).place).toBe("cache"); // the first folder lacks the file
    writeFileSync(join(data, "ml-100k", "u.data.gz"), "");
    expect(findData("ml-100k", environment)).toMatchObject({ place: "LACUNA_DATA", where: join(data, "ml-100k") });
    const all = datasets(environment);
    expect(all.map((f) => f.id)).toEqual(dataSetIds);
    expect(all.find((f) => f.id === "cora")?.where).toBe(null);
  });

  it("that are missing are an error with the ways to get them", () => {
    const before = { ...process.env };
    process.env.LACUNA_DATA = join(root, "nowhere");
    process.env.LACUNA_CACHE = join(root, "empty");
    try {
      expect(() => openData("ml-100k")).toThrow(
        /data set ml-100k: expected its files in \$LACUNA_DATA\/ml-100k or the cache, got no .*nowhere.*downloadData\("ml-100k"\)/,
      );
      mkdirSync(join(root, "nowhere", "cora"), { recursive: true });
      writeFileSync(join(root, "nowhere", "cora", "cora.cites"), "");
      expect(() => openData("cora")).toThrow(/cora without cora\.content.*put the files into \$LACUNA_DATA\/cora/);
    } finally {
      for (const key of ["LACUNA_DATA", "LACUNA_CACHE"]) {
        if (before[key] === undefined) delete process.env[key];
        else process.env[key] = before[key];
      }
    }
  });

  it("in a folder that is named are read from there, and checked unless told otherwise", async () => {
    const folder = join(root, "mine");
    mkdirSync(folder);
    writeFileSync(join(folder, "u.data"), "1\t1\t5\t0\n1\t2\t5\t0\n");
    await expect(loadMovieLens({ folder, seed: 0 })).rejects.toThrow(/mine\/u\.data: expected SHA-256 06416e5/);
    expect((await loadMovieLens({ folder, seed: 0, verify: false })).all.items).toBe(2);
    await expect(folderFiles(join(root, "no")).list()).rejects.toThrow(/no: expected a folder of data files/);
    await expect(folderFiles(folder).read("x")).rejects.toThrow(/mine\/x: expected the file, got none/);
  });
});

describe("downloads", () => {
  const body = Buffer.from("the data\n");
  const sha256 = createHash("sha256").update(body).digest("hex");
  const set: DataSet = {
    title: "test",
    folder: "test-set",
    files: ["a.txt"],
    terms: "none",
    download: { base: "http://127.0.0.1:1/", files: [{ name: "a.txt", bytes: body.length, sha256 }] },
  };
  let server: Server;
  let base: string;
  let answer: Buffer | number = body;

  beforeAll(async () => {
    server = createServer((_, response) => {
      if (typeof answer === "number") response.writeHead(answer).end();
      else response.end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  afterAll(() => server.close());

  it("arrive whole and checked, with progress", async () => {
    answer = body;
    const seen: number[] = [];
    const cache = join(root, "fetched");
    const where = await downloadSet("test", set, { base, cache, onProgress: ({ done }) => seen.push(done) });
    expect(where).toBe(join(cache, "test-set"));
    expect(readdirSync(where)).toEqual(["a.txt"]);
    expect(seen.at(-1)).toBe(body.length);
  });

  it("leave nothing when cut short, altered, refused or without an answer", async () => {
    const cache = join(root, "failed");
    const get = (address = base): Promise<string> => downloadSet("test", set, { base: address, cache });
    answer = body.subarray(1);
    await expect(get()).rejects.toThrow(/a\.txt: expected 9 bytes, got 8/);
    answer = Buffer.concat([body, body]);
    await expect(get()).rejects.toThrow(/expected 9 bytes, got more/);
    answer = Buffer.from("THE DATA\n");
    await expect(get()).rejects.toThrow(/a\.txt: expected SHA-256/);
    answer = 404;
    await expect(get()).rejects.toThrow(/got status 404/);
    await expect(get("http://127.0.0.1:1/")).rejects.toThrow(/got no answer/);
    expect(readdirSync(cache)).toEqual([]);
    const stopped = AbortSignal.abort(new Error("stopped"));
    await expect(downloadSet("test", set, { base, cache, signal: stopped })).rejects.toThrow("stopped");
  });

  it("take the members of an archive that are wanted", async () => {
    const header = Buffer.alloc(512);
    header.write("folder/a.txt", 0);
    header.write(body.length.toString(8).padStart(11, "0"), 124);
    header.write("        0", 148);
    header.write("ustar", 257);
    header.write(
      `${header
        .reduce((a, b) => a + b, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    const packed = gzipSync(Buffer.concat([header, body, Buffer.alloc(512 - body.length + 1024)]));
    const file = {
      name: "a.tar.gz",
      bytes: packed.length,
      sha256: createHash("sha256").update(packed).digest("hex"),
    };
    answer = packed;
    const cache = join(root, "archives");
    const archive = (members: string[]): DataSet => ({ ...set, download: { base, files: [file], members } });
    expect(readdirSync(await downloadSet("test", archive(["a.txt"]), { cache }))).toEqual(["a.txt"]);
    await expect(downloadSet("test", archive(["b.txt"]), { cache })).rejects.toThrow(/the file b\.txt in it, got none/);
  });

  it("are not made for sets that are here, nor for those without an address", async () => {
    expect(await downloadData("mnist")).toBe(findData("mnist").where);
    await expect(downloadData("cora", { refresh: true })).rejects.toThrow(
      /data set cora: expected one with an official/,
    );
  });
});
