import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { cacheFolder } from "./cache.node.ts";
import type { HubOptions } from "./hub.node.ts";
import { downloadModel, locateModel, parseHubName } from "./hub.node.ts";
import { openModelFolder } from "./model-folder.node.ts";
import { encodeSafetensors } from "./safetensors-write.ts";

/** What the hub answers of, as far as downloading goes: a file list, and files with ranges. */
interface Repository {
  files: Record<string, Uint8Array>;
  /** file list entries to be told instead of the true ones */
  lies?: Record<string, object>;
  /** ends the connection after so many bytes of a file */
  cutAfter?: number;
  status?: number;
}

let server: Server;
let repository: Repository;
let requests: { path: string; authorization?: string }[];
let cache: string;
let options: HubOptions;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url!, "http://hub");
  requests.push({ path: url.pathname, authorization: request.headers.authorization });
  if (repository.status) return void response.writeHead(repository.status).end();
  if (url.pathname === "/api/models/owner/name/tree/main") {
    const entries = Object.entries(repository.files).map(([path, data]) => {
      const lfs = { oid: createHash("sha256").update(data).digest("hex"), size: data.length, pointerSize: 130 };
      const known = {
        type: "file",
        path,
        size: data.length,
        oid: "0",
        ...(path.endsWith(".safetensors") ? { lfs } : {}),
      };
      return { ...known, ...repository.lies?.[path] };
    });
    response.setHeader("content-type", "application/json");
    return void response.end(JSON.stringify([...entries, { type: "directory", path: "onnx", size: 0, oid: "1" }]));
  }
  const file = /^\/owner\/name\/resolve\/main\/(.+)$/.exec(url.pathname)?.[1];
  const data = file === undefined ? undefined : repository.files[file];
  if (!data) return void response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end();
  response.setHeader("etag", '"e"');
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (range) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    response.writeHead(206, { "content-range": `bytes ${from}-${to}/${data.length}` });
    return void response.end(data.subarray(from, to + 1));
  }
  response.setHeader("content-length", data.length);
  if (repository.cutAfter === undefined) return void response.end(data);
  response.write(data.subarray(0, repository.cutAfter), () => response.destroy());
}

const text = (value: object) => new TextEncoder().encode(JSON.stringify(value));
const tensors = (...names: string[]) =>
  encodeSafetensors(names.map((name, i) => ({ name, dtype: "U8" as const, shape: [3], data: Uint8Array.of(i, i, i) })));
const small = (): Repository["files"] => ({
  "config.json": text({ model_type: "llama" }),
  "model.safetensors": tensors("a", "b"),
  "tokenizer.json": text({}),
  "README.md": text({}),
  "onnx/model.onnx": text({}),
  "pytorch_model.bin": text({}),
});

beforeEach(async () => {
  repository = { files: small() };
  requests = [];
  cache = mkdtempSync(join(tmpdir(), "lacuna-hub-"));
  server = createServer(answer);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  options = { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, cache, token: "" };
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  rmSync(cache, { recursive: true, force: true });
});

const message = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.catch((e: unknown) => e);
  expect(error).toBeInstanceOf(LacunaError);
  expect(readdirSync(cache)).toEqual([]);
  return (error as LacunaError).message;
};

describe("downloading", () => {
  test("what a model folder needs, and from then on without the network", async () => {
    const progress: [string, number, number][] = [];
    const onProgress: HubOptions["onProgress"] = ({ file, done, total }) => progress.push([file, done, total]);
    const folder = await locateModel("hf:owner/name", { ...options, onProgress });
    expect(folder).toBe(join(cache, "owner--name@main"));
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    const model = await openModelFolder(folder);
    expect([...(await model.weights.read("b"))]).toEqual([1, 1, 1]);
    await model.close();

    const bytes = ["config.json", "model.safetensors", "tokenizer.json"].reduce(
      (n, f) => n + repository.files[f].length,
      0,
    );
    expect(progress.at(-1)!.slice(1)).toEqual([bytes, bytes]);
    expect(requests.some(({ path }) => /README|onnx|bin$/.test(path))).toBe(false);

    const before = requests.length;
    expect(await downloadModel("hf:owner/name", options)).toBe(folder);
    expect(requests.length).toBe(before);
    repository.files["tokenizer.json"] = text({ new: 1 });
    await downloadModel("hf:owner/name", { ...options, refresh: true });
    expect(readFileSync(join(folder, "tokenizer.json"), "utf8")).toBe('{"new":1}');
    expect(readdirSync(cache)).toEqual(["owner--name@main"]);
  });

  test("shards that the index names, and no others", async () => {
    const { "model.safetensors": _, ...rest } = small();
    const weight_map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
    repository.files = {
      ...rest,
      "model.safetensors.index.json": text({ weight_map }),
      "model-00001-of-00002.safetensors": tensors("a"),
      "model-00002-of-00002.safetensors": tensors("b"),
      "consolidated.safetensors": tensors("a", "b"),
    };
    const folder = await downloadModel("hf:owner/name", options);
    expect(readdirSync(folder)).not.toContain("consolidated.safetensors");
    const model = await openModelFolder(folder);
    expect(model.weights.names).toEqual(["a", "b"]);
    await model.close();
  });

  test("a token goes along, and must look like one", async () => {
    await downloadModel("hf:owner/name", { ...options, token: "hf_secret" });
    expect(requests.every(({ authorization }) => authorization === "Bearer hf_secret")).toBe(true);
    const wrong = downloadModel("hf:owner/name", { ...options, token: "secret", refresh: true });
    await expect(wrong).rejects.toThrow(/HF_TOKEN: expected a token that begins with hf_/);
  });

  test("a path is left alone", async () => {
    expect(await locateModel("./models/sotu", options)).toBe("./models/sotu");
    expect(requests).toEqual([]);
  });
});

describe("what can go wrong is one error, and nothing stays behind", () => {
  test.each<[string, (r: Repository) => void, RegExp]>([
    ["no such model", (r) => void (r.status = 404), /hf:owner\/name: expected a model at .*, got status 404/],
    ["a gated model", (r) => void (r.status = 403), /got status 403\. .*HF_TOKEN/],
    ["a hub in trouble", (r) => void (r.status = 503), /got status 503\. Try again later/],
    ["no config.json", (r) => void delete r.files["config.json"], /a model with config.json, got none/],
    ["no safetensors", (r) => void delete r.files["model.safetensors"], /safetensors weights, got none/],
    ["a file cut short", (r) => void (r.cutAfter = 5), /an answer from |bytes, got/],
    ["a size that is not true", (r) => void (r.lies = { "config.json": { size: 3 } }), /config.json: expected 3 bytes/],
    [
      "weights that were altered",
      (r) => void (r.lies = { "model.safetensors": { lfs: { oid: "00", size: 1, pointerSize: 1 } } }),
      /model.safetensors: expected SHA-256 00, got another/,
    ],
  ])("%s", async (_, change, pattern) => {
    change(repository);
    expect(await message(downloadModel("hf:owner/name", options))).toMatch(pattern);
  });

  test("an index that leads elsewhere", async () => {
    delete repository.files["model.safetensors"];
    repository.files["model.safetensors.index.json"] = text({ weight_map: { a: "../../x.safetensors" } });
    expect(await message(downloadModel("hf:owner/name", options))).toMatch(/plain name/);
    repository.files["model.safetensors.index.json"] = text({ weight_map: { a: "x.safetensors" } });
    expect(await message(downloadModel("hf:owner/name", options))).toMatch(/the file x.safetensors, got no such file/);
  });

  test("no network", async () => {
    const nowhere = { ...options, endpoint: "http://127.0.0.1:1" };
    expect(await message(downloadModel("hf:owner/name", nowhere))).toMatch(
      /an answer from http:\/\/127\.0\.0\.1:1, got .*\. Check the network/,
    );
  });

  test("an abort is an abort", async () => {
    const controller = new AbortController();
    const reason = new Error("stop");
    const onProgress = () => controller.abort(reason);
    const signal = controller.signal;
    await expect(downloadModel("hf:owner/name", { ...options, signal, onProgress })).rejects.toBe(reason);
    expect(readdirSync(cache)).toEqual([]);
  });
});

describe("names", () => {
  test("good ones", () => {
    expect(parseHubName("hf:Qwen/Qwen2.5-0.5B")).toEqual({ owner: "Qwen", name: "Qwen2.5-0.5B", revision: "main" });
    expect(parseHubName("hf:a/b@refs/pr/1").revision).toBe("refs/pr/1");
  });

  test.each(["hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@../c", "hf:a/b@", "hf:a b/c", "hf:a/b?x"])(
    "%s",
    (name) => {
      expect(() => parseHubName(name)).toThrow(LacunaError);
    },
  );

  test("the cache is where XDG has it", () => {
    expect(cacheFolder({ XDG_CACHE_HOME: "/x" })).toBe(join("/x", "lacuna"));
    expect(cacheFolder({ XDG_CACHE_HOME: "x" })).toBe(cacheFolder({}));
    expect(cacheFolder({ LACUNA_CACHE: "/y", XDG_CACHE_HOME: "/x" })).toBe("/y");
  });
});
