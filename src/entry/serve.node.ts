/**
 * A small server of files on this machine: ranges, HEAD, and, when asked, the headers that isolate a page from other
 * origins, without which browsers share no memory. For tests and the demo; not for the open net.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
};

export interface FileServer {
  readonly address: string;
  close(): Promise<void>;
}

export interface ServeOptions {
  /** sends Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy; default true */
  readonly isolated?: boolean;
  /** default: any that is free */
  readonly port?: number;
}

/** Serves folders below their names: `/models/...` from `folders.models`. Loopback only. */
export async function serve(
  folders: Readonly<Record<string, string>>,
  { isolated = true, port = 0 }: ServeOptions = {},
): Promise<FileServer> {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname)).slice(1);
    const [top, ...rest] = path.split(/[\\/]/);
    const folder = folders[top];
    const file = folder && join(folder, ...rest);
    const facts = file && !rest.includes("..") ? await stat(file).catch(() => undefined) : undefined;
    if (!file || !facts?.isFile()) return void response.writeHead(404).end();
    const headers: Record<string, string> = {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "cache-control": "no-store",
      ...(isolated && {
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
        "cross-origin-resource-policy": "same-origin",
      }),
    };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (request.method === "HEAD") return void response.writeHead(200, headers).end();
    if (!range) {
      response.writeHead(200, { ...headers, "content-length": String(facts.size) });
      return void createReadStream(file).pipe(response);
    }
    const start = Number(range[1]);
    const end = Math.min(range[2] === "" ? facts.size - 1 : Number(range[2]), facts.size - 1);
    if (start > end) return void response.writeHead(416, { "content-range": `bytes */${facts.size}` }).end();
    response.writeHead(206, {
      ...headers,
      "content-range": `bytes ${start}-${end}/${facts.size}`,
      "content-length": String(end - start + 1),
    });
    createReadStream(file, { start, end }).pipe(response);
  });
  await new Promise<void>((ready, failed) => server.once("error", failed).listen(port, "127.0.0.1", ready));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections();
        server.close(() => done());
      }),
  };
}
