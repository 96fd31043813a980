/**
 * `npm run bench -- <suite..> [--quick] [--json] [--record] [--threads 1,2] [--models dense,sparse]`.
 *
 * Tables on stdout, or with --json the ratios as one array and nothing else; progress on stderr. --record writes
 * results/bench/<suite>.json. Exit code 1 for a mistake in the call, 2 for everything that went wrong.
 */
import { join } from "node:path";
import { report } from "../../src/cli/console.ts";
import { writeFileAtomically } from "../../src/formats/atomic.node.ts";
import { parseCall, USAGE } from "./call.ts";
import { machine, ROOT, versions } from "./machine.ts";
import { merge, type Outcome, print, printJson } from "./outcome.ts";
import type { Suite } from "./suites/suite.ts";

async function record(
  suite: Suite,
  outcome: Outcome,
  before: ReturnType<typeof machine>,
  date: string,
): Promise<string> {
  const path = join(ROOT, "results", "bench", `${suite.name}.json`);
  const content = {
    kind: "bench",
    version: 1,
    suite: suite.name,
    date,
    machine: before,
    versions: versions(suite.peers),
    ...outcome,
  };
  await writeFileAtomically(path, `${JSON.stringify(content, null, 2)}\n`);
  return path;
}

async function main(args: readonly string[]): Promise<void> {
  const call = parseCall(args);
  if (call === "help") {
    process.stdout.write(USAGE);
    return;
  }
  // A peer that talks must not talk into the results.
  console.log = console.error;
  console.info = console.error;
  const outcomes: Outcome[] = [];
  for (const suite of call.suites) {
    const say = (text: string): void => void process.stderr.write(`${suite.name}: ${text}\n`);
    const before = machine();
    const date = new Date().toISOString();
    if (before.loadBefore !== null && before.loadBefore > 0.5)
      say(`the machine is not quiet: load ${before.loadBefore}`);
    const outcome = await suite.run({ ...call, say });
    outcomes.push(outcome);
    if (!call.json) process.stdout.write(`\n${print(outcome)}\n\n`);
    if (call.record) say(`wrote ${await record(suite, outcome, before, date)}`);
  }
  if (call.json) process.stdout.write(`${printJson(merge(outcomes))}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
