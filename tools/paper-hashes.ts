/**
 * Writes the content hashes of all experiments for a build, which has no sources to compute them from:
 * `npx tsx tools/paper-hashes.ts dist/papers/hashes.json`. The build runs it.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { implemented, loadExperiment } from "../src/papers/load.ts";
import { currentHashes } from "../src/papers/reproduce.node.ts";

const target = process.argv[2];
if (!target) throw new Error("usage: npx tsx tools/paper-hashes.ts <file>");
const hashes = await Promise.all(
  implemented().map(async (paper) => [paper, currentHashes(paper, await loadExperiment(paper))] as const),
);
await mkdir(dirname(target), { recursive: true });
await writeFile(target, `${JSON.stringify(Object.fromEntries(hashes), null, 2)}\n`);
