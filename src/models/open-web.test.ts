import { readdir, readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { shutdown } from "../core/engine.ts";
import { filesInMemory } from "../formats/model-folder.ts";
import { memorySource } from "../formats/source.ts";
import { loadModel } from "./open.node.ts";
import { openModelAt } from "./open-web.ts";

const shipped = new URL("../../models/sotu-4x1/", import.meta.url);
let server: Server;
let address: string;

/** A server of files that answers HEAD, ranges and 404, as any static host does. */
beforeAll(async () => {
  server = createServer((request, response) => {
    const name = decodeURIComponent((request.url ?? "/").slice(1));
    readFile(new URL(name, shipped)).then(
      (bytes) => {
        const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
        if (request.method === "HEAD" || !range)
          return response.writeHead(200).end(request.method === "HEAD" ? undefined : bytes);
        const [from, to] = [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)];
        response.writeHead(206, { "content-range": `bytes ${from}-${to}/${bytes.length}` });
        return response.end(bytes.subarray(from, to + 1));
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  shutdown();
  server.close();
});

test("behind an address, in memory and on disk a model is the same", async () => {
  const names = await readdir(shipped);
  const bytes = new Map(await Promise.all(names.map(async (n) => [n, await readFile(new URL(n, shipped))] as const)));
  const disk = await loadModel(shipped.pathname);
  const served = await openModelAt(`${address}/`);
  const held = await openModelAt(filesInMemory(new Map([...bytes].map(([n, b]) => [n, () => memorySource(b)]))));
  for (const model of [served, held]) {
    expect(model.config).toEqual(disk.config);
    expect([...model.weights.names].sort()).toEqual([...disk.weights.names].sort());
    const name = "model.layers.2.mlp.up_proj.weight";
    expect(await model.weights.read(name)).toEqual(await disk.weights.read(name));
    expect([...model.tokenizer.encode("We the people")]).toEqual([...disk.tokenizer.encode("We the people")]);
    expect(model.tokenizer.eos).toBe(disk.tokenizer.eos);
    await model.weights.close();
  }
  await disk.weights.close();
});

test("what is missing is named", async () => {
  await expect(openModelAt(filesInMemory(new Map()))).rejects.toThrow(/config\.json/);
  await expect(openModelAt(`${address}/nowhere`)).rejects.toThrow(/config\.json/);
  const names = ["config.json", "model.safetensors"];
  const some = new Map(
    await Promise.all(
      names.map(async (n) => {
        const b = await readFile(new URL(n, shipped));
        return [n, () => memorySource(b)] as const;
      }),
    ),
  );
  await expect(openModelAt(filesInMemory(some, "some files"))).rejects.toThrow(/tokenizer\.json/);
});
