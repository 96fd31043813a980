/**
 * Mutation testing of src/kernels: `npx tsx tools/mutants.ts [--sample 300] [--seed 1] [--record]`.
 *
 * Draws a seeded sample of small changes to the source of the kernels, judges one at a time (in memory: no file is
 * touched) and says which no trial and no test notices. Verdicts are kept in out/mutants and hold as long as nothing that
 * they depend on changes, so a run can be broken off and taken up. `--record` writes results/mutants.json and
 * docs/mutation-testing.md.
 */
import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { report } from "../src/cli/console.ts";
import { LacunaError } from "../src/core/errors.ts";
import { writeFileAtomically } from "../src/formats/atomic.node.ts";
import { hasRelaxedSimd } from "../src/kernels/probe.ts";
import { provenance } from "../src/runtime/machine.node.ts";
import { type Line, readCache } from "./mutants/kept.ts";
import { type MutantsRecord, page, recordOf } from "./mutants/record.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Processor seconds of one step after which it is taken for endless; a run says how long its longest step took. */
const MOST_CPU = 6;
/** The same in seconds of the clock, where the processor's time of another process cannot be read. */
const MOST_CLOCK = 120;

/** Processor seconds of a process so far; undefined where there is no /proc. */
function cpuSeconds(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

interface Said {
  readonly sites?: number;
  readonly files?: number;
  readonly fused?: boolean;
  readonly hashes?: readonly string[];
  readonly begins?: Line;
  readonly step?: string;
  readonly done?: string;
  readonly by?: string;
  readonly file?: string;
  readonly after?: string;
  readonly finished?: boolean;
  readonly longest?: string;
}
type Drawn = Required<Pick<Said, "sites" | "files" | "fused" | "hashes">>;

/** One process until it is done or has to be ended. */
function once(folder: string, count: number, seed: number): Promise<{ finished: boolean; drawn: Drawn | undefined }> {
  // Node 20 has relaxed multiply-add behind a flag; with it, fused modules are judged as later versions would.
  const flags = hasRelaxedSimd() ? [] : ["--experimental-wasm-relaxed-simd"];
  const args = [...flags, "--max-old-space-size=1500", "--import", "tsx", join(root, "tools/mutants/run.ts")];
  const child = spawn(process.execPath, [...args, folder, String(count), String(seed)], {
    stdio: ["ignore", "pipe", "inherit"],
    cwd: root,
  });
  let drawn: Drawn | undefined;
  let current: Line | undefined;
  let step = "";
  let finished = false;
  let since = { cpu: 0, clock: performance.now() };
  const restart = (): void => {
    since = { cpu: cpuSeconds(child.pid!) ?? 0, clock: performance.now() };
  };
  const note = (line: Line, by: string): void => {
    const verdict = { ...line.verdict, by };
    appendFileSync(join(folder, "verdicts.jsonl"), `${JSON.stringify({ ...line, verdict })}\n`);
    console.log(`timeout    ${line.file}: ${line.after}  (${by})`);
  };
  createInterface({ input: child.stdout }).on("line", (text) => {
    const said = JSON.parse(text) as Said;
    if (said.hashes) drawn = said as Drawn;
    if (said.begins) current = said.begins;
    if (said.step !== undefined) step = said.step;
    if (said.done) {
      console.log(`${said.done.padEnd(10)} ${said.file}: ${said.after}${said.by ? `  (${said.by})` : ""}`);
      current = undefined;
    }
    if (said.finished) {
      finished = true;
      console.log(`longest step: ${said.longest}`);
    }
    restart();
  });
  const timer = setInterval(() => {
    if (!current) return;
    const cpu = cpuSeconds(child.pid!);
    const clock = (performance.now() - since.clock) / 1000;
    if (cpu === undefined ? clock > MOST_CLOCK : cpu - since.cpu > MOST_CPU) child.kill("SIGKILL");
  }, 250);
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      clearInterval(timer);
      if (finished) return resolve({ finished, drawn });
      if (!current) return reject(new Error(`the judging process ended by itself (${signal ?? code})`));
      note(current, signal === "SIGKILL" ? step : `process ended (${signal ?? code}): ${step}`);
      resolve({ finished: false, drawn });
    });
  });
}

export async function judgeAll(folder: string, count: number, seed: number): Promise<{ lines: Line[]; drawn: Drawn }> {
  mkdirSync(folder, { recursive: true });
  for (;;) {
    const { finished, drawn } = await once(folder, count, seed);
    if (!finished || !drawn) continue;
    const known = readCache(join(folder, "verdicts.jsonl"));
    return { lines: drawn.hashes.map((h) => known.get(h)!), drawn };
  }
}

if (process.argv[1]?.endsWith("tools/mutants.ts")) {
  const { values } = parseArgs({
    options: {
      sample: { type: "string", default: "300" },
      seed: { type: "string", default: "1" },
      record: { type: "boolean", default: false },
    },
  });
  const [count, seed] = [Number(values.sample), Number(values.seed)];
  for (const [name, value, least] of [
    ["--sample", count, 1],
    ["--seed", seed, 0],
  ] as const) {
    if (Number.isInteger(value) && value >= least) continue;
    const got = String(values[name === "--seed" ? "seed" : "sample"]);
    process.exit(
      report(
        new LacunaError({
          about: name,
          expected: `a whole number from ${least} up`,
          got,
          hint: "Leave it out for the default.",
        }),
      ),
    );
  }
  const { lacuna, date, machine, node } = provenance();
  const { lines, drawn } = await judgeAll(join(root, "out", "mutants"), count, seed);
  const { sites, files, fused } = drawn;
  const record: MutantsRecord = recordOf(lines, {
    lacuna,
    date,
    machine,
    node,
    seed,
    sample: count,
    sites,
    files,
    fused,
  });
  const { survivors, byFolder, ...counts } = record;
  console.log(JSON.stringify({ ...counts, survivors: survivors.length }, null, 2));
  for (const s of survivors.filter((x) => x.analysis === null))
    console.log(`open  ${s.file}:${s.line}\n  ${s.before}\n  ${s.after}`);
  if (values.record) {
    await writeFileAtomically(join(root, "results", "mutants.json"), `${JSON.stringify(record, null, 2)}\n`);
    await writeFileAtomically(join(root, "docs", "mutation-testing.md"), page(record));
  }
}
