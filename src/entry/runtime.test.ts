/** The bundle that browsers load: its size, and that it runs the model that ships, from files in memory. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "tsdown";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runtime } from "../../tsdown.config.ts";
import { loadModel } from "../models/open.node.ts";
import { generate } from "../runtime/generate.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = join(root, "models/sotu-4x1");
let out: string;

beforeAll(async () => {
  mkdirSync(join(root, "out"), { recursive: true });
  out = mkdtempSync(join(root, "out", "runtime-"));
  await build({ ...runtime, config: false, cwd: root, outDir: out, dts: false, clean: false, logLevel: "silent" });
}, 120_000);
afterAll(() => rmSync(out, { recursive: true, force: true }));

/** A file and all that it imports at once; what is imported when it is needed is not counted. */
function loadedWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(join(out, file), "utf8");
  for (const [, other] of text.matchAll(/(?:^|;|\})\s*(?:import|export)\b[^;"'`()]*?["']\.\/([\w.-]+\.js)["']/g)) {
    loadedWith(other, seen);
  }
  return seen;
}

test("the runtime is at most 60 KB gzipped; the tokenizer's library comes when it is needed", () => {
  const files = loadedWith("runtime.js");
  const size = [...files].reduce((sum, f) => sum + gzipSync(readFileSync(join(out, f)), { level: 9 }).length, 0);
  expect(size).toBeLessThanOrEqual(60 * 1024);
  const later = readdirSync(out).filter((f) => f.endsWith(".js") && !files.has(f));
  expect(later.some((f) => f.startsWith("tokenizers"))).toBe(true);
});

test("the bundle gives the text that the sources give", async () => {
  const bundle = (await import(pathToFileURL(join(out, "runtime.js")).href)) as typeof import("./runtime.ts");
  const entries = readdirSync(folder).map((name) => {
    const bytes = readFileSync(join(folder, name));
    return [name, () => bundle.memorySource(bytes)] as const;
  });
  await bundle.init({ threads: 1 });
  const model = await bundle.openModelAt(bundle.filesInMemory(new Map(entries)));
  const options = { tokens: 12, temperature: 0 };
  const text = await bundle.generate(model, "My fellow Americans,", options).text();
  bundle.shutdown();
  const source = await loadModel(folder);
  expect(text).toBe(await generate(source, "My fellow Americans,", options).text());
  expect(text.length).toBeGreaterThan(10);
  await source.weights.close();
});
