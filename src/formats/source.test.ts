import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { fileSource } from "./source.node.ts";
import type { ByteSource } from "./source.ts";
import { blobSource, memorySource, urlSource } from "./source.ts";

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
let root: string;
let server: Server;
let address: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "lacuna-source-"));
  writeFileSync(join(root, "f"), bytes);
  server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (request.url === "/missing") return void response.writeHead(404).end();
    if (request.url === "/whole" || !range) return void response.end(bytes);
    const [from, to] = [Number(range[1]), Number(range[2])];
    response.writeHead(206, { "content-range": `bytes ${from}-${to}/${bytes.length}` });
    response.end(bytes.subarray(from, request.url === "/short" ? to : to + 1));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  rmSync(root, { recursive: true });
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
});

test.each<[string, () => ByteSource | Promise<ByteSource>]>([
  ["memory", () => memorySource(bytes)],
  ["a Blob", () => blobSource(new Blob([bytes]))],
  ["a file", () => fileSource(join(root, "f"))],
  ["a web server", () => urlSource(`${address}/f`)],
])("%s gives the bytes asked for, and no others", async (_, make) => {
  const source = await make();
  expect(source.size).toBe(100);
  for (const [offset, length] of [
    [0, 100],
    [0, 0],
    [100, 0],
    [17, 1],
    [98, 2],
  ]) {
    expect(await source.read(offset, length)).toEqual(bytes.slice(offset, offset + length));
    if (source.readSync) expect(source.readSync(offset, length)).toEqual(bytes.slice(offset, offset + length));
  }
  for (const [offset, length] of [
    [0, 101],
    [99, 2],
    [-1, 2],
    [3, -1],
    [Number.NaN, 1],
  ]) {
    await expect(source.read(offset, length)).rejects.toThrow(LacunaError);
  }
  await source.close();
  await source.close();
});

test("what is read belongs to the reader", async () => {
  const source = memorySource(bytes);
  (await source.read(0, 4)).fill(99);
  expect((await source.read(0, 1))[0]).toBe(0);
});

test("files that are missing, are folders, or shrink", async () => {
  expect(() => fileSource(join(root, "none"))).toThrow(/a file, got nothing of that name/);
  expect(() => fileSource(root)).toThrow(/a file, got a folder/);
  writeFileSync(join(root, "g"), bytes);
  const source = fileSource(join(root, "g"));
  truncateSync(join(root, "g"), 10);
  await expect(source.read(0, 20)).rejects.toThrow(/20 bytes, got 10\. The file changed/);
  expect(() => source.readSync!(50, 1)).toThrow(/1 bytes, got 0/);
  await source.close();
});

test("servers without ranges, without the file, or with fewer bytes", async () => {
  await expect(urlSource(`${address}/whole`)).rejects.toThrow(/answers range requests, got status 200/);
  await expect(urlSource(`${address}/missing`)).rejects.toThrow(/the file, got status 404/);
  await expect(urlSource("http://127.0.0.1:1/f")).rejects.toThrow(/an answer, got no connection/);
  const short = await urlSource(`${address}/short`);
  await expect(short.read(0, 10)).rejects.toThrow(/10 bytes, got 9/);
});

test("only files named .node.ts know of Node, and no other file imports one", () => {
  const folder = dirname(fileURLToPath(import.meta.url));
  const sources = readdirSync(folder).filter((f) => f.endsWith(".ts") && !/\.(node|test)\.ts$/.test(f));
  expect(sources.length).toBeGreaterThan(10);
  for (const file of sources) expect(readFileSync(join(folder, file), "utf8")).not.toMatch(/from "node:|\.node\.ts"/);
});
