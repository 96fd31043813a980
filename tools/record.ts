/**
 * Runs a recipe of the main job on the built command line and keeps its record: `npx tsx tools/record.ts promise` runs
 * recipes/promise.yaml into out/promise and writes results/promise.json. For a quiet machine.
 */
import { spawnSync } from "node:child_process";
import { writeFileAtomically } from "../src/formats/atomic.node.ts";

const name = process.argv[2];
if (!name || !/^[a-z0-9-]+$/.test(name)) {
  console.error("usage: npx tsx tools/record.ts <name of a recipe, as promise>");
  process.exit(1);
}
const args = [
  "dist/cli/main.js",
  "compress",
  "--recipe",
  `recipes/${name}.yaml`,
  "-o",
  `out/${name}`,
  "--force",
  "--json",
];
const { status, stdout } = spawnSync(process.execPath, args, {
  stdio: ["ignore", "pipe", "inherit"],
  encoding: "utf8",
  maxBuffer: 1 << 28,
});
if (status !== 0) process.exit(status ?? 1);
await writeFileAtomically(`results/${name}.json`, stdout);
console.log(`results/${name}.json, report in out/${name}/report.html`);
