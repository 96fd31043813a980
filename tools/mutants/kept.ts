/** Verdicts that are kept from run to run: a line of JSON each, known by a hash of all that the verdict depends on. */
import { readFileSync } from "node:fs";
import type { Verdict } from "./judge.ts";
import type { Site } from "./sites.ts";

/** What the parent and the cache know of one mutant. */
export interface Line extends Pick<Site, "file" | "line" | "kind" | "before" | "after" | "occurrence"> {
  readonly hash: string;
  readonly verdict: Omit<Verdict, "status"> & { readonly status: Verdict["status"] | "timeout" };
}

/** Lines of the cache by hash. */
export function readCache(path: string): Map<string, Line> {
  const lines = new Map<string, Line>();
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    // nothing yet
  }
  for (const line of text.split("\n").filter((l) => l.endsWith("}"))) {
    const one = JSON.parse(line) as Line;
    lines.set(one.hash, one);
  }
  return lines;
}
