/** The user's cache folder, by the XDG base directory specification; `LACUNA_CACHE` overrides it. Node only. */

import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  if (environment.LACUNA_CACHE) return environment.LACUNA_CACHE;
  const base = environment.XDG_CACHE_HOME;
  // the specification has relative paths ignored
  return join(base && isAbsolute(base) ? base : join(homedir(), ".cache"), "lacuna");
}
