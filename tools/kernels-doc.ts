/**
 * Writes docs/kernels.md from the kernel table and the recorded ladders: `npx tsx tools/kernels-doc.ts`. A test checks that
 * it is up to date. Figures come from results/bench/ladders.json alone (`npm run bench -- ladders --record` in bench/).
 */
import { readFileSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import type { Kernel } from "../src/kernels/kernel.ts";
import { kernels } from "../src/kernels/table.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");

interface Rate {
  readonly id: string;
  readonly what: string;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The part of a bench's record that is shown. */
export interface LadderRecord {
  readonly date: string;
  readonly machine: { readonly cpu: string };
  readonly versions: { readonly node: string };
  readonly rates: readonly Rate[];
}

/** The recorded ladders, or null where none were recorded. */
function recorded(): LadderRecord | null {
  try {
    return JSON.parse(readFileSync(new URL("../results/bench/ladders.json", import.meta.url), "utf8")) as LadderRecord;
  } catch {
    return null;
  }
}

const figure = (x: number): string => (x >= 10 ? x.toFixed(1) : x.toFixed(2));

/** The ladder of a kernel with its figures; only its steps where the record is of other steps. */
function ladderLines(kernel: Kernel, record: LadderRecord | null): string[] {
  if (!kernel.ladder) return [];
  const { example, rungs } = kernel.ladder();
  const steps = ["plain twin", ...rungs.map((r) => r.step)];
  const rates = steps.map((step, i) => {
    const rate = record?.rates.find((r) => r.id === `ladders/${kernel.name}/${i}`);
    return rate?.what === step ? rate : undefined;
  });
  if (rates.some((r) => r === undefined)) {
    return ["", `Ladder (${example}; not recorded): ${steps.join("; ")}.`];
  }
  const lines = steps.map((step, i) => {
    const { value, low, high } = rates[i] as Rate;
    const before = i === 0 ? "" : figure(value / (rates[i - 1] as Rate).value);
    return `| ${cell(step)} | ${figure(value)} (${figure(low)} to ${figure(high)}) | ${before} |`;
  });
  return ["", `| ladder: ${cell(example)} | GFLOP/s (quartiles) | times the step before |`, "|---|---|---|", ...lines];
}

/** The page as it should be. */
export function kernelsPage(record: LadderRecord | null = recorded()): string {
  const families = [...new Set(kernels.map((k) => k.family))];
  const lines = [
    "# Kernels",
    "",
    "Made from `src/kernels/table.ts` by `npx tsx tools/kernels-doc.ts`; do not edit.",
    "",
    "Every kernel is emitted from TypeScript at run time, has a plain f64 twin beside it, and trials that compare the two on",
    "drawn shapes. Names: `<operation>-<element type>[-<layout>][-<tile>]`. Functions that end with `from, to` can be split",
    "over threads without changing a bit.",
    ...(record
      ? [
          "",
          `Ladders were timed on one thread (${record.machine.cpu}, Node ${record.versions.node}, ${record.date.slice(0, 10)}; ` +
            "`results/bench/ladders.json`): GFLOP/s over the weights that are not zero.",
        ]
      : []),
  ];
  for (const family of families) {
    lines.push("", `## ${family}`);
    for (const k of kernels.filter((x) => x.family === family)) {
      lines.push(
        "",
        `### \`${k.name}\``,
        "",
        `${k.summary[0].toUpperCase()}${k.summary.slice(1).replace(/\.$/, "")}.`,
        "",
        "| function | parameters | does |",
        "|---|---|---|",
      );
      for (const [name, f] of Object.entries(k.functions))
        lines.push(`| \`${name}\` | ${f.params.join(", ")} | ${cell(f.does)} |`);
      lines.push(...ladderLines(k, record));
    }
  }
  return `${lines.join("\n")}\n`;
}

if (process.argv[1]?.endsWith("kernels-doc.ts")) {
  const page = kernelsPage();
  const before = await readFile("docs/kernels.md", "utf8").catch(() => "");
  if (page !== before) await writeFile("docs/kernels.md", page);
}
