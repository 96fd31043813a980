/** Started by `other-node.ts` under another Node: runs one suite and prints its outcome as JSON, with the engine. */
import { hasRelaxedSimd } from "../../src/kernels/probe.ts";
import type { Engine } from "./outcome.ts";
import { SUITES } from "./suites/index.ts";

const [name, ...flags] = process.argv.slice(2);
const suite = SUITES.find((s) => s.name === name);
if (!suite) throw new Error(`bench: no suite ${name}`);
console.log = console.error;
console.info = console.error;
const outcome = await suite.run({
  quick: flags.includes("--quick"),
  threads: [1],
  models: [],
  say: (text) => void process.stderr.write(`${text}\n`),
});
const { node, v8 } = process.versions;
const engine: Engine = { node, v8, fused: hasRelaxedSimd() };
process.stdout.write(JSON.stringify({ ...outcome, engine }));
