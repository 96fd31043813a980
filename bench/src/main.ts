/**
 * `npm run bench -- [suite..] [--quick] [--json] [--record [--resume]] [--threads 1,2] [--models dense,sparse]`.
 *
 * Tables on stdout, or with --json the ratios as one array and nothing else; progress on stderr. --record writes
 * results/bench/<suite>.json as each suite ends; --resume goes on after the last one that was written. Exit code 1 for a mistake in the call, 2 for everything that went wrong.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { report } from "../../src/cli/console.ts";
import { writeFileAtomically } from "../../src/formats/atomic.node.ts";
import { parseCall, USAGE } from "./call.ts";
import { machine, ROOT, versions } from "./machine.ts";
import { merge, type Outcome, print, printJson } from "./outcome.ts";
import { ON_ANY_CORE, ON_ONE_CORE, onOneCore } from "./pin.ts";
import type { Suite, SuiteOptions } from "./suites/suite.ts";

const pathOf = (suite: Suite): string => join(ROOT, "results", "bench", `${suite.name}.json`);

async function record(suite: Suite, outcome: Outcome, before: ReturnType<typeof machine>, date: string): Promise<void> {
  const { engine, ...found } = outcome;
  if (found.rows.length + found.rates.length === 0) {
    throw new Error(`bench: ${suite.name} measured nothing, so nothing is recorded: ${found.notes.join("; ")}`);
  }
  const content = {
    kind: "bench",
    version: 1,
    suite: suite.name,
    date,
    machine: engine ? { ...before, fused: engine.fused } : before,
    versions: { ...versions(suite.peers), ...(engine && { node: engine.node, v8: engine.v8 }) },
    ...found,
  };
  await writeFileAtomically(pathOf(suite), `${JSON.stringify(content, null, 2)}\n`);
}

/** What was recorded of a suite with the sources as they are now; undefined where there is no such record. */
async function recorded(suite: Suite): Promise<Outcome | undefined> {
  const now = versions([]).commit;
  if (now === null || now.endsWith("+")) return undefined;
  try {
    const found = JSON.parse(await readFile(pathOf(suite), "utf8")) as Outcome & { versions: { commit: string } };
    return found.versions.commit === now ? found : undefined;
  } catch {
    return undefined;
  }
}

async function run(suite: Suite, options: SuiteOptions): Promise<Outcome> {
  if (!suite.oneCore) return await suite.run(options);
  const { value, pinned } = await onOneCore(() => suite.run(options));
  return { ...value, notes: [...value.notes, pinned ? ON_ONE_CORE : ON_ANY_CORE] };
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
    const earlier = call.resume ? await recorded(suite) : undefined;
    if (earlier) {
      say("recorded before");
      outcomes.push(earlier);
      continue;
    }
    const before = machine();
    const date = new Date().toISOString();
    if (before.loadBefore !== null && before.loadBefore > 0.5)
      say(`the machine is not quiet: load ${before.loadBefore}`);
    const outcome = await run(suite, { ...call, say });
    outcomes.push(outcome);
    if (!call.json) process.stdout.write(`\n${print(outcome)}\n\n`);
    if (call.record) {
      await record(suite, outcome, before, date);
      say(`wrote results/bench/${suite.name}.json`);
    }
  }
  if (call.json) process.stdout.write(`${printJson(merge(outcomes))}\n`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = report(error);
}
