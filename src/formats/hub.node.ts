/**
 * Models from the Hugging Face Hub, by `hf:owner/name` or `hf:owner/name@revision`, through `@huggingface/hub`.
 *
 * Only what a model folder needs is fetched: config.json, safetensors weights, the tokenizer's files. A model is in the
 * cache whole or not at all, and once there it is used without asking the network. Sizes, and for weights the SHA-256
 * that the hub states, are checked. The package is imported when first needed. Node only.
 */

import { createHash } from "node:crypto";
import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ListFileEntry } from "@huggingface/hub";
import { writeFolderAtomically } from "./atomic.node.ts";
import { cacheFolder } from "./cache.node.ts";
import { parseJsonObject } from "./json.ts";
import { indexFile, weightsFile } from "./model-folder.ts";
import { companionFiles } from "./model-write.node.ts";
import { refuse, show } from "./refuse.ts";
import { readShardIndex } from "./sharded.ts";

export interface HubOptions {
  /** address of the hub; default `HF_ENDPOINT` or https://huggingface.co */
  readonly endpoint?: string;
  /** access token for gated models; default `HF_TOKEN` */
  readonly token?: string;
  /** folder to keep models in; default `hub` in the user's cache */
  readonly cache?: string;
  /** fetch again what is in the cache */
  readonly refresh?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly file: string; readonly done: number; readonly total: number }) => void;
}

export interface HubName {
  readonly owner: string;
  readonly name: string;
  readonly revision: string;
}

const defaultEndpoint = "https://huggingface.co";
const namePattern = /^hf:([A-Za-z0-9][\w.-]{0,95})\/([A-Za-z0-9][\w.-]{0,95})(?:@([A-Za-z0-9][\w./-]{0,127}))?$/;

export const isHubName = (text: string): boolean => text.startsWith("hf:");

/** Reads `hf:owner/name[@revision]`; throws a `LacunaError` for anything else. */
export function parseHubName(text: string): HubName {
  const match = namePattern.exec(text);
  if (!match || text.includes("..")) {
    return refuse(
      "model",
      "hf:owner/name or hf:owner/name@revision",
      show(text),
      "As in hf:HuggingFaceTB/SmolLM2-135M.",
    );
  }
  return { owner: match[1], name: match[2], revision: match[3] ?? "main" };
}

interface Hub {
  readonly files: ReadonlyMap<string, ListFileEntry>;
  download(file: ListFileEntry, folder: string): Promise<void>;
}

/** Turns what the network throws into one error, and leaves an abort as it is. */
function explain(error: unknown, text: string, endpoint: string, signal?: AbortSignal): never {
  signal?.throwIfAborted();
  const status = (error as { statusCode?: unknown } | undefined)?.statusCode;
  if (status === 401 || status === 403 || status === 404) {
    const hint =
      status === 404
        ? "Check the name and the revision; a private model needs a token in HF_TOKEN."
        : "Check the name; a private or gated model needs a token in HF_TOKEN, and its terms accepted on the hub.";
    return refuse(text, `a model at ${endpoint}`, `status ${status}`, hint, error);
  }
  if (typeof status === "number") {
    return refuse(text, `an answer from ${endpoint}`, `status ${status}`, "Try again later.", error);
  }
  const cause = (error as { cause?: { code?: unknown } } | undefined)?.cause?.code;
  const got =
    typeof cause === "string" ? `no connection (${cause})` : show(error instanceof Error ? error.message : error);
  const hint = "Check the network, or give the path of a folder that is already here.";
  return refuse(text, `an answer from ${endpoint}`, got, hint, error);
}

async function connect(text: string, { owner, name, revision }: HubName, options: HubOptions): Promise<Hub> {
  const { signal } = options;
  const endpoint = (options.endpoint ?? (process.env.HF_ENDPOINT || defaultEndpoint)).replace(/\/+$/, "");
  const token = options.token ?? process.env.HF_TOKEN;
  if (token && !token.startsWith("hf_")) {
    refuse("HF_TOKEN", "a token that begins with hf_", "another text", "Copy the token from the hub's settings.");
  }
  const { downloadFile, listFiles } = await import("@huggingface/hub");
  const common = {
    repo: { type: "model" as const, name: `${owner}/${name}` },
    revision,
    hubUrl: endpoint,
    ...(token ? { accessToken: token } : {}),
    fetch: ((input, init) => fetch(input, signal ? { ...init, signal } : init)) as typeof fetch,
  };
  const asked = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      return explain(error, text, endpoint, signal);
    }
  };

  const files = new Map<string, ListFileEntry>();
  await asked(async () => {
    for await (const entry of listFiles(common)) if (entry.type === "file") files.set(entry.path, entry);
  });
  let done = 0;
  const wantedBytes = (): number => [...files.values()].reduce((sum, entry) => sum + entry.size, 0);
  return {
    files,
    async download(entry, folder) {
      const about = `${text}: ${entry.path}`;
      const blob = await asked(() => downloadFile({ ...common, path: entry.path }));
      if (!blob) return refuse(about, "the file", "no such file", "The model changed just now; try again.");
      const reader = (blob.stream() as ReadableStream<Uint8Array>).getReader();
      const hash = createHash("sha256");
      const out = await open(join(folder, entry.path), "wx");
      let size = 0;
      try {
        for (;;) {
          const chunk = await asked(() => reader.read());
          if (chunk.done) break;
          size += chunk.value.length;
          done += chunk.value.length;
          if (size > entry.size) break;
          hash.update(chunk.value);
          await out.writeFile(chunk.value);
          options.onProgress?.({ file: entry.path, done, total: wantedBytes() });
        }
      } finally {
        await out.close();
        reader.cancel().catch(() => {});
      }
      const again = "The download was cut short or altered on its way; try again.";
      if (size !== entry.size) refuse(about, `${entry.size} bytes`, `${size} or more`, again);
      const sum = entry.lfs?.oid;
      if (sum !== undefined && sum !== hash.digest("hex")) refuse(about, `SHA-256 ${sum}`, "another", again);
    },
  };
}

/** Drops everything that a model folder does not need, so that sizes add up to what is fetched. */
function keepOnly(files: ReadonlyMap<string, ListFileEntry>, wanted: ReadonlySet<string>): ListFileEntry[] {
  for (const path of [...files.keys()]) if (!wanted.has(path)) (files as Map<string, ListFileEntry>).delete(path);
  return [...files.values()];
}

/**
 * The folder of the model `text` (`hf:owner/name[@revision]`), downloaded if it is not in the cache.
 *
 * Throws a `LacunaError` for a model that does not exist or is not open to this token, a network that does not answer,
 * a model without safetensors weights, or a file that arrives altered; nothing half-fetched stays.
 */
export async function downloadModel(text: string, options: HubOptions = {}): Promise<string> {
  const name = parseHubName(text);
  const cache = options.cache ?? join(cacheFolder(), "hub");
  const target = join(cache, `${name.owner}--${name.name}@${name.revision.replaceAll("/", "--")}`);
  const cached = await stat(join(target, "config.json")).then(
    () => true,
    () => false,
  );
  if (cached && !options.refresh) return target;

  await writeFolderAtomically(
    target,
    async (folder) => {
      const hub = await connect(text, name, options);
      const { files } = hub;
      if (!files.has("config.json")) {
        refuse(text, "a model with config.json", "none", "Name a model, not a data set or an adapter.");
      }
      const wanted = new Set<string>(["config.json", ...companionFiles]);
      if (files.has(weightsFile)) {
        wanted.add(weightsFile);
      } else {
        const index = files.get(indexFile);
        if (!index) {
          return refuse(text, "safetensors weights", "none", "Choose a model that has them, or convert this one.");
        }
        await hub.download(index, folder);
        const json = parseJsonObject(await readFile(join(folder, indexFile), "utf8"), `${text}: ${indexFile}`);
        for (const shard of readShardIndex(json, `${text}: ${indexFile}`).values()) {
          if (!files.has(shard))
            refuse(`${text}: ${indexFile}`, `the file ${shard}`, "no such file", "Choose another model.");
          wanted.add(shard);
        }
      }
      for (const entry of keepOnly(files, wanted)) await hub.download(entry, folder);
    },
    { force: true, ...(options.signal ? { signal: options.signal } : {}) },
  );
  return target;
}

/** A model folder's path: `text` itself, or where `hf:owner/name` was downloaded to. */
export async function locateModel(text: string, options: HubOptions = {}): Promise<string> {
  return isHubName(text) ? downloadModel(text, options) : text;
}
