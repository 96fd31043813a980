/**
 * Processes that run cells: started when needed, used again, killed when asked. Where a cell runs is decided here, what
 * is run and what becomes of it is not. Node only.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Complaint, LacunaError } from "../core/errors.ts";
import { buildFile } from "./hash.node.ts";
import type { Finished } from "./kept.node.ts";
import type { Source } from "./load.ts";

/** What a child is asked: one cell, found by the seed whose list has it and by its name. */
export interface Order {
  readonly source: Source;
  readonly seed: number;
  readonly name: string;
  readonly quick: boolean;
  readonly split: "validation" | "test";
}

export type Answer =
  | { readonly kind: "ready" }
  | { readonly kind: "progress"; readonly done: number }
  | { readonly kind: "finished"; readonly cell: Finished }
  | { readonly kind: "failed"; readonly complaint?: Complaint; readonly message: string; readonly stack?: string };

export interface Pool {
  /** runs a cell in a free process, or in a new one; the caller holds to its number of jobs */
  run(order: Order, progress: (done: number) => void): Promise<Finished>;
  /** kills every process */
  stop(): void;
}

/** How to start a child: the build's own file, or the source through tsx. */
function command(): readonly string[] {
  const built = buildFile("cell.js");
  if (built !== undefined) return [built];
  const source = fileURLToPath(new URL("./cell.node.ts", import.meta.url));
  if (existsSync(source)) {
    const loader = createRequire(import.meta.url).resolve("tsx/esm");
    return ["--import", pathToFileURL(loader).href, source];
  }
  throw new LacunaError({
    about: "reproduce",
    expected: "the build's papers/cell.js",
    got: "a build without it",
    hint: "Build again: npm run build.",
  });
}

/** What a process that died says of itself. */
function death(code: number | null, signal: NodeJS.Signals | null): LacunaError {
  const killed = signal === "SIGKILL" || code === 134 || signal === "SIGABRT";
  return new LacunaError({
    about: "its process",
    expected: "one that lives until the figures are told",
    got: signal ? `the signal ${signal}` : `exit code ${code}`,
    hint: killed ? "Memory may have run out; fewer --jobs need less." : "Run it again; finished cells are kept.",
  });
}

interface Child {
  readonly process: ChildProcess;
  /** what to do with what comes; null while it has nothing to do */
  task: { readonly answer: (a: Answer) => void; readonly died: (error: Error) => void } | null;
}

export function openPool(): Pool {
  const args = command();
  const children = new Set<Child>();

  const start = (): Child => {
    // its standard output must not mix with ours, on which --json prints one value
    const process_ = spawn(process.execPath, args, { stdio: ["ignore", 2, 2, "ipc"] });
    const child: Child = { process: process_, task: null };
    children.add(child);
    process_.on("message", (answer: Answer) => child.task?.answer(answer));
    process_.on("error", (error) => child.task?.died(error));
    process_.on("exit", (code, signal) => {
      children.delete(child);
      child.task?.died(death(code, signal));
    });
    return child;
  };

  return {
    run(order, progress) {
      const child = [...children].find((c) => c.task === null) ?? start();
      return new Promise<Finished>((resolve, reject) => {
        const end = (settle: () => void): void => {
          child.task = null;
          settle();
        };
        child.task = {
          died: (error) => end(() => reject(error)),
          answer: (answer) => {
            if (answer.kind === "progress") progress(answer.done);
            else if (answer.kind === "finished") end(() => resolve(answer.cell));
            else if (answer.kind === "failed") {
              const { complaint, message, stack } = answer;
              const error = complaint ? new LacunaError(complaint) : Object.assign(new Error(message), { stack });
              end(() => reject(error));
            }
          },
        };
        child.process.send(order, (error) => error && child.task?.died(error));
      });
    },
    stop() {
      for (const child of children) child.process.kill("SIGKILL");
      children.clear();
    },
  };
}
