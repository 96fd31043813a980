/**
 * What a model of Qwen2.5-0.5B's shape takes: `npx tsx tools/big-model.ts [--shape S] [--record]`.
 *
 * Makes the model with random weights in a temporary folder (tools/random-llama.ts, about 1 GB), runs `eval`, `prune
 * --method wanda` and `prune --method sparsegpt` on it, each a process of its own, and measures its peak resident size
 * (the kernel's figure, as the process sees it when it ends and as /proc shows it meanwhile) and its time. `eval` and
 * `wanda` must stay within the file's size plus 1.5 GiB; `sparsegpt` is recorded. `--record` writes
 * results/big-model.json. Linux.
 */
import { spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { drive, root, textFile } from "../src/cli/drive.ts";
import { writeFileAtomically } from "../src/formats/atomic.node.ts";
import { provenance } from "../src/runtime/machine.node.ts";
import { makeRandomLlama } from "./random-llama.ts";

const ALLOWANCE = 1.5 * 2 ** 30;

/** Says at the end, on a pipe of its own, the most memory this process ever had, in KiB. */
const WITNESS = `data:text/javascript,${encodeURIComponent(
  'import{writeSync}from"node:fs";process.on("exit",()=>writeSync(3,String(process.resourceUsage().maxRSS)))',
)}`;

interface Measured {
  readonly command: string;
  readonly seconds: number;
  readonly peakBytes: number;
  /** most that is allowed; null where the figure is only recorded */
  readonly limitBytes: number | null;
  readonly within: boolean;
  /** what the command says of itself with --json, less what is long */
  readonly result: Readonly<Record<string, unknown>>;
}

/** The peak that /proc shows now, in bytes; 0 when the process is gone. */
function peakNow(pid: number): number {
  try {
    return 1024 * Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

async function measure(script: string, args: readonly string[], limitBytes: number | null): Promise<Measured> {
  const start = performance.now();
  const child = spawn(process.execPath, ["--import", WITNESS, script, ...args, "--json"], {
    stdio: ["ignore", "pipe", "inherit", "pipe"],
  });
  let peak = 0;
  const poll = setInterval(() => {
    peak = Math.max(peak, peakNow(child.pid as number));
  }, 50);
  const pipes = ["", "", "", ""];
  for (const fd of [1, 3]) {
    child.stdio[fd]?.on("data", (piece: Buffer) => {
      pipes[fd] += piece;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  clearInterval(poll);
  if (code !== 0) throw new Error(`lacuna ${args.join(" ")} ended with ${code}`);
  const peakBytes = Math.max(peak, 1024 * Number(pipes[3]));
  const { layers, skipped, protocol, ...result } = JSON.parse(pipes[1]);
  return {
    command: `lacuna ${args.map((a) => a.replace(/^.*\//, "")).join(" ")}`,
    seconds: (performance.now() - start) / 1000,
    peakBytes,
    limitBytes,
    within: limitBytes === null || peakBytes <= limitBytes,
    result,
  };
}

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "qwen2.5-0.5b" },
    record: { type: "boolean", default: false },
  },
});
const cli = await drive();
const { folder, script } = cli;
try {
  const model = join(folder, "random");
  const start = performance.now();
  await makeRandomLlama(values.shape, model, 1, false);
  const fileBytes = statSync(join(model, "model.safetensors")).size;
  console.error(`made ${fileBytes} bytes of weights in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  const limit = fileBytes + ALLOWANCE;
  const calibrate = ["--calibrate", textFile("calibration-32k"), "--samples", "4", "--length", "128"];
  const prune = (method: string): string[] => [
    "prune",
    model,
    "--method",
    method,
    "--sparsity",
    "0.5",
    ...calibrate,
    "-o",
    join(folder, method),
  ];
  const runs: Measured[] = [];
  for (const [args, most] of [
    [["eval", model, "--text", textFile("test-32k"), "--length", "128", "--windows", "2"], limit],
    [prune("wanda"), limit],
    [prune("sparsegpt"), null],
  ] as const) {
    const run = await measure(script, args, most);
    runs.push(run);
    const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
    const of = run.limitBytes === null ? "" : ` of ${mib(run.limitBytes)}${run.within ? "" : ": TOO MUCH"}`;
    console.error(`${run.command}: ${run.seconds.toFixed(1)} s, peak ${mib(run.peakBytes)}${of}`);
  }
  const { lacuna, date, machine, node, threads } = provenance();
  const passed = runs.every((r) => r.within);
  const made = { lacuna, date, machine, node, threads };
  const record = { kind: "big-model", version: 1, ...made, shape: values.shape, fileBytes, runs, passed };
  console.log(JSON.stringify(record, null, 2));
  if (values.record) {
    await writeFileAtomically(join(root, "results", "big-model.json"), `${JSON.stringify(record, null, 2)}\n`);
  }
  process.exitCode = passed ? 0 : 1;
} finally {
  cli.dispose();
}
