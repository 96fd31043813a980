/** The package's version, read from its own package.json wherever it is installed. */
import { readFileSync } from "node:fs";

function find(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const json: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (json && typeof json === "object" && "name" in json && json.name === "lacuna" && "version" in json)
        return String(json.version);
    } catch {
      // one level further up
    }
  }
  throw new Error("package.json of lacuna was not found");
}

export const version = find();
