/**
 * What a figure was measured on and with: processor, memory, system, load, Node, V8, package versions, commit.
 *
 * Nothing that names a person or a host. A record without these is worth nothing to the next reader.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasRelaxedSimd } from "../../src/kernels/probe.ts";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly os: string;
  readonly arch: string;
  /** WebAssembly with relaxed SIMD: inference may fuse multiply and add */
  readonly fused: boolean;
  /** runnable processes over the last minute when the run began; about 0 on a quiet machine, null on Windows */
  readonly loadBefore: number | null;
}

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export function machine(): Machine {
  const [load] = loadavg();
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    os: `${type()} ${release().split("-")[0]}`,
    arch: process.arch,
    fused: hasRelaxedSimd(),
    loadBefore: process.platform === "win32" ? null : Number(load.toFixed(2)),
  };
}

function versionIn(packageJson: string): string {
  return (JSON.parse(readFileSync(packageJson, "utf8")) as { version: string }).version;
}

/** Version of an installed package, found even where its `exports` hide package.json. */
export function packageVersion(name: string): string {
  const paths = createRequire(import.meta.url).resolve.paths(name) ?? [];
  for (const folder of paths) {
    try {
      return versionIn(join(folder, name, "package.json"));
    } catch {
      // not in this folder; Node looks in the next one too
    }
  }
  throw new Error(`bench: ${name} is not installed; run npm ci in bench/`);
}

/** Short commit of the sources, with "+" when they were changed since; null outside of a clone. */
function commit(): string | null {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "bench", "models") !== "";
    return git("rev-parse", "--short=10", "HEAD") + (changed ? "+" : "");
  } catch {
    return null;
  }
}

export interface Versions {
  readonly node: string;
  readonly v8: string;
  readonly lacuna: string;
  readonly commit: string | null;
  readonly peers: Readonly<Record<string, string>>;
}

export function versions(peers: readonly string[]): Versions {
  return {
    node: process.versions.node,
    v8: process.versions.v8,
    lacuna: versionIn(join(ROOT, "package.json")),
    commit: commit(),
    peers: Object.fromEntries(peers.map((name) => [name, packageVersion(name)])),
  };
}
