/**
 * Writes docs/speed.md from the bench's records: `npx tsx tools/speed-doc.ts`. A test checks that it is up to date.
 *
 * Every row of `results/bench/` that something was promised for belongs to a line of the table; one that belongs to none
 * is an error. A miss gets a sentence on what bounds it, made from rates of the same records.
 */
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { lessIsBetter, type Rate, type Row, reached } from "../bench/src/outcome.ts";

export interface SuiteRecord {
  readonly suite: string;
  readonly date: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly loadBefore: number | null };
  readonly versions: {
    readonly node: string;
    readonly commit: string | null;
    readonly peers: Readonly<Record<string, string>>;
  };
  readonly rows: readonly Row[];
  readonly rates: readonly Rate[];
}
export type Records = Readonly<Partial<Record<string, SuiteRecord>>>;

/** A line of the table: the promised rows whose ids begin so. */
interface Line {
  readonly what: string;
  readonly suite: string;
  readonly ids: readonly string[];
}

const LINES: readonly Line[] = [
  { what: "dense product", suite: "gemm", ids: ["gemm/512x512x512/", "gemm/1024x1024x1024/"] },
  { what: "dense product, 8 columns", suite: "gemm", ids: ["gemm/8x2048x2048/"] },
  { what: "SpMM CSR", suite: "spmm", ids: ["spmm/csr-90/n196/"] },
  { what: "SpMM 4x1", suite: "spmm", ids: ["spmm/block4x1-90/n196/"] },
  { what: "SpMM CSR at 50 %", suite: "spmm", ids: ["spmm/csr-50/"] },
  { what: "SpMM 4x1 at 50 %", suite: "spmm", ids: ["spmm/block4x1-50/"] },
  { what: "SpMM 2:4 shared by 4 rows", suite: "spmm", ids: ["spmm/nm4x1-50/"] },
  { what: "break-even sparsity, CSR (less is better)", suite: "spmm", ids: ["spmm/even/csr/"] },
  { what: "break-even sparsity, 2x1 (less is better)", suite: "spmm", ids: ["spmm/even/block2x1/"] },
  { what: "break-even sparsity, 4x1 (less is better)", suite: "spmm", ids: ["spmm/even/block4x1/"] },
  { what: "sparse matrix-vector, 4x1", suite: "spmm", ids: ["spmm/block4x1-90/n1/"] },
  { what: "sparse matrix-vector, 4x1, weights beyond the caches", suite: "vectors", ids: ["vectors/sparse/"] },
  { what: "activation-sparse vector product", suite: "vectors", ids: ["vectors/active/"] },
  { what: "sparse attention decode, 1/16, cold caches", suite: "attention", ids: ["attention/"] },
  { what: "two threads, dense product", suite: "threads", ids: ["threads/packed/"] },
  { what: "two threads, SpMM", suite: "threads", ids: ["threads/csr/", "threads/block4x1/"] },
  { what: "whole network", suite: "convnets", ids: ["convnets/v1/block", "convnets/v2/block", "convnets/lite0/block"] },
  { what: "SpMM 4x1 with relaxed SIMD, Node 24", suite: "relaxed", ids: ["relaxed/"] },
  { what: "forecast met: share of layers within 20 %", suite: "convnets", ids: ["convnets/v1/forecast"] },
];
const SUITES = [...new Set(["ceiling", ...LINES.map((l) => l.suite)])];
const CIFAR = "16-fast-sparse-convnets";

const read = <T>(name: string): T | undefined => {
  try {
    return JSON.parse(readFileSync(new URL(`../results/${name}.json`, import.meta.url), "utf8")) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
};

/** The records there are. */
export const recorded = (): Records =>
  Object.fromEntries(SUITES.flatMap((name) => [[name, read<SuiteRecord>(`bench/${name}`)]]));

const figure = (x: number): string => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const shown = (row: Row, x: number): string =>
  lessIsBetter(row) || row.over === "forecast" ? `${(100 * x).toFixed(0)} %` : figure(x);
const bound = (row: Row, x: number | null): string => (x === null ? "" : shown(row, x));

function verdict(row: Row): string {
  const { gate, aim } = reached(row);
  return !gate ? "**missed**" : aim ? "aim reached" : "reached";
}

/** Promised rows, each with its line; throws where a row has none. */
export function promised(records: Records): { readonly line: Line; readonly row: Row }[] {
  const rows = Object.values(records).flatMap((r) => (r ? r.rows.map((row) => ({ suite: r.suite, row })) : []));
  const found = rows
    .filter(({ row }) => row.atLeast !== null)
    .map(({ suite, row }) => {
      const line = LINES.find((l) => l.suite === suite && l.ids.some((id) => row.id.startsWith(id)));
      if (!line) throw new Error(`speed page: no line for the promised row ${row.id}`);
      return { line, row };
    });
  return LINES.flatMap((line) => found.filter((f) => f.line === line));
}

/** What bounds a row that missed, from rates of the same records; undefined where they do not say. */
export function boundOf(row: Row, records: Records): string | undefined {
  const rate = (suite: string, id: string): number | undefined => records[suite]?.rates.find((r) => r.id === id)?.value;
  const [suite] = row.id.split("/");
  const peak = rate("ceiling", "ceiling/multiply-add");
  const memory = rate("ceiling", "ceiling/reading-2");
  const peers: readonly (readonly [string, string])[] = [
    ["tfjs-wasm", "tfjs-wasm"],
    ["onnxruntime-web", "onnxruntime-web"],
    ["onnxruntime-node (native)", "onnxruntime-node (native)"],
  ];
  const peer = peers.find(([name]) => row.over.startsWith(name))?.[1];
  if (suite === "gemm" && peer) {
    const [, shape] = row.id.split("/");
    const [ours, theirs] = [rate("gemm", `gemm/${shape}/lacuna`), rate("gemm", `gemm/${shape}/${peer}`)];
    if (!ours || !theirs || !peak) return undefined;
    const most = `${figure(ours)} GFLOP/s against ${figure(theirs)} of ${peer}`;
    const limit = `multiply and add in registers alone reach ${figure(peak)}, ${figure(peak / theirs)} times ${peer}`;
    const [t, k, n] = shape.split("x").map(Number);
    if (t > 16) return `${most}; ${limit}.`;
    const mib = (4 * k * n) / 2 ** 20;
    return (
      `${most}; ${limit}. The weight's ${mib.toFixed(0)} MiB come from beyond the second-level cache while only ${t} ` +
      `columns share them: reading them takes ${figure((4e-9 * k * n) / (memory ?? Number.NaN) / ((2e-9 * t * k * n) / ours))} ` +
      "of the time, and half of the sums wait for the first pass over a panel."
    );
  }
  if (suite === "spmm" || suite === "relaxed") {
    const id = suite === "spmm" ? "spmm/n196" : row.id.split("/").slice(0, 2).join("/");
    const layout = row.id.match(/csr|block[0-9x]+|nm[0-9x]+/)?.[0];
    const name = suite === "spmm" ? `${layout} ${Math.round(100 * row.sparsity)} %` : `${layout}, fused`;
    const dense = rate(suite, `${id}/${name}`);
    const theirs = rate(suite, `${id}/${peer ?? "own dense, packed"}`);
    const top = suite === "relaxed" ? (rate("relaxed", "ceiling/fused") ?? peak) : peak;
    if (!dense || !theirs || !top) return undefined;
    const real = dense * (1 - row.sparsity);
    return (
      `${figure(real)} GFLOP/s over the weights that are not zero, of ${figure(top)} that multiply-add in registers alone ` +
      `reaches; ${peer ?? "own dense"} does ${figure(theirs)}, so that no kernel could be more than ` +
      `${figure(top / (1 - row.sparsity) / theirs)} times faster.`
    );
  }
  if (suite === "vectors") {
    const [, part, shape, zeros] = row.id.split("/");
    const ours = row.id.split("/").slice(4).join("/");
    const at = (name: string): number | undefined => rate("vectors", `vectors/${part}/${shape}/${zeros}/rate/${name}`);
    const [mine, dense] = [at(ours), at(row.over.includes("panels") ? "panels-f32" : "rows-in-place-f32")];
    if (!mine || !dense || !memory) return undefined;
    return (
      `It reads ${figure(4 * mine * (1 - row.sparsity))} GB/s of weights, dense panels ${figure(4 * dense)}; reading alone ` +
      `reaches ${figure(memory)}. Inputs that are left out break the stream into pieces.`
    );
  }
  if (suite === "attention") {
    const part = (name: string): number | undefined =>
      records.attention?.rows.find((r) => r.id === row.id.replace("chosen-tokens", name))?.ratio;
    const [gather, choose] = [part("attention-over-chosen-rows"), part("choosing")];
    if (!gather || !choose) return undefined;
    return (
      `The rows themselves, gathered cold, take 1/${figure(gather)} of the time of all tokens, and choosing them ` +
      `1/${figure(choose)}: rows of 256 bytes at scattered addresses.`
    );
  }
  if (suite === "threads") {
    return (
      `Quartiles ${figure(row.low)} to ${figure(row.high)}: how much of a second core the machine gives. Both threads work ` +
      "on parts of equal size and the slower one is waited for."
    );
  }
  return undefined;
}

interface Claim {
  readonly id: string;
  readonly value: number | null;
  readonly shown: boolean;
}

/** The line on trained networks comes from the record of paper 16. */
function trained(): string {
  const record = read<{ readonly claims: readonly Claim[] }>(CIFAR);
  const claim = record?.claims.find((c) => c.id === "C1");
  const text = "networks trained on CIFAR images: at equal accuracy, sparse over dense";
  if (!claim) return `| ${text} | | 1.20 | 1.50 | not recorded | |`;
  const value = claim.value === null ? "" : figure(claim.value);
  return `| ${text} | \`results/${CIFAR}.json\` | 1.20 | 1.50 | ${value} | ${claim.shown ? "reached" : "**missed**"} |`;
}

const cell = (text: string): string => text.replaceAll("|", "\\|");

/** The page as it should be. */
export function speedPage(records: Records = recorded()): string {
  const rows = promised(records);
  const missing = LINES.filter((l) => !rows.some((r) => r.line === l));
  const table = [
    ...LINES.flatMap((line) => {
      const own = rows.filter((r) => r.line === line);
      if (own.length === 0) return [`| ${line.what} | | | | not recorded | |`];
      return own.map(({ row }) => {
        const over = `${row.shape}${row.sparsity > 0 ? `, ${(100 * row.sparsity).toFixed(0)} %` : ""}, over ${row.over}`;
        const spread = `${shown(row, row.ratio)} (${shown(row, row.low)} to ${shown(row, row.high)})`;
        const gates = `${bound(row, row.atLeast)} | ${bound(row, row.aim)}`;
        return `| ${line.what} | ${cell(over)} | ${gates} | ${spread} | ${verdict(row)} |`;
      });
    }),
    trained(),
  ];
  const misses = rows.filter(({ row }) => !reached(row).gate);
  const sources = SUITES.flatMap((name) => {
    const r = records[name];
    if (!r) return [];
    const peers = Object.entries(r.versions.peers).map(([peer, version]) => `${peer} ${version}`);
    return [
      `| [${name}](../results/bench/${name}.json) | ${r.date.slice(0, 16).replace("T", " ")} | ${r.machine.cpu}, ` +
        `${r.machine.cores} cores | ${r.machine.loadBefore ?? ""} | Node ${r.versions.node} | ${r.versions.commit ?? ""} | ` +
        `${peers.join(", ")} |`,
    ];
  });
  return `${[
    "# Speed",
    "",
    "Made from `results/bench/` by `npx tsx tools/speed-doc.ts`; do not edit. What a figure means and how it was measured:",
    "[bench/README.md](../bench/README.md). Measure again: `npm run bench -- --quick` in `bench/`, three minutes.",
    "",
    "Times faster, median and quartiles of quotients inside of interleaved rounds; one thread unless said, Node 20 without",
    "flags unless said. `at least` is what was promised, `aim` what was hoped for.",
    "",
    `${rows.length - misses.length} of ${rows.length} recorded rows reach what was promised.` +
      (missing.length > 0 ? ` Not recorded yet: ${missing.map((l) => l.what).join("; ")}.` : ""),
    "",
    "| what | shape, zeros, over | at least | aim | measured (quartiles) | |",
    "|---|---|---|---|---|---|",
    ...table,
    ...(misses.length > 0
      ? [
          "",
          "## What was missed, and what bounds it",
          "",
          ...misses.map(({ line, row }) => {
            const text = boundOf(row, records) ?? "What bounds it was not looked into.";
            return `- **${line.what}**, ${row.shape}, over ${row.over}: ${shown(row, row.ratio)} for ${bound(row, row.atLeast)}. ${text}`;
          }),
        ]
      : []),
    "",
    "## Records",
    "",
    "| suite | date (UTC) | machine | load before | engine | commit | peers |",
    "|---|---|---|---|---|---|---|",
    ...sources,
  ].join("\n")}\n`;
}

if (process.argv[1]?.endsWith("speed-doc.ts")) {
  const page = speedPage();
  const before = await readFile("docs/speed.md", "utf8").catch(() => "");
  if (page !== before) await writeFile("docs/speed.md", page);
}
