/** What a run of mutation tests came to, and the page that tells it. */
import type { Provenance } from "../../src/runtime/machine.node.ts";
import { ANALYSES, type Analysis } from "./analysis.ts";
import type { Line } from "./kept.ts";
import { LEFT_OUT } from "./left-out.ts";

export interface Counts {
  readonly mutants: number;
  readonly killed: number;
  readonly timeout: number;
  /** no byte of any kernel differs */
  readonly sameBytes: number;
  /** survived, and an analysis says that no caller can see it */
  readonly equivalent: number;
  /** survived otherwise */
  readonly survived: number;
}

export interface Survivor extends Pick<Line, "file" | "line" | "kind" | "before" | "after"> {
  readonly reached: boolean;
  readonly analysis: Pick<Analysis, "verdict" | "why"> | null;
}

export interface Circumstances extends Pick<Provenance, "lacuna" | "date" | "machine" | "node"> {
  readonly seed: number;
  readonly sample: number;
  /** places that could be changed, and the files they are in */
  readonly sites: number;
  readonly files: number;
  /** whether fused modules were tried, too */
  readonly fused: boolean;
}

export interface MutantsRecord extends Circumstances {
  readonly kind: "mutants";
  readonly version: 1;
  readonly counts: Counts;
  /** share of the mutants that can be noticed which were: (killed + timeout) / (mutants - sameBytes - equivalent) */
  readonly score: number;
  /** the same with the analysed equivalents counted as survivors */
  readonly scoreWithoutAnalysis: number;
  readonly byFolder: Readonly<Record<string, Counts>>;
  readonly survivors: readonly Survivor[];
}

const analysisOf = (line: Line, analyses: readonly Analysis[]): Analysis | undefined =>
  analyses.find((a) => a.file === line.file && a.before === line.before && a.after === line.after);

function countsOf(lines: readonly Line[], analyses: readonly Analysis[]): Counts {
  const of = (status: string): Line[] => lines.filter((l) => l.verdict.status === status);
  const survived = of("survived");
  const equivalent = survived.filter((l) => analysisOf(l, analyses)?.verdict === "equivalent").length;
  return {
    mutants: lines.length,
    killed: of("killed").length,
    timeout: of("timeout").length,
    sameBytes: of("equivalent").length,
    equivalent,
    survived: survived.length - equivalent,
  };
}

const round = (x: number): number => Math.round(1e4 * x) / 1e4;
const folderOf = (file: string): string => file.split("/").slice(1, -1).join("/") || ".";

export function recordOf(
  lines: readonly Line[],
  circumstances: Circumstances,
  analyses: readonly Analysis[] = ANALYSES,
): MutantsRecord {
  const counts = countsOf(lines, analyses);
  const noticed = counts.killed + counts.timeout;
  const folders = [...new Set(lines.map((l) => folderOf(l.file)))].sort();
  const survivors = lines
    .filter((l) => l.verdict.status === "survived")
    .map((l): Survivor => {
      const { file, line, kind, before, after, verdict } = l;
      const analysis = analysisOf(l, analyses);
      return {
        ...{ file, line, kind, before, after, reached: verdict.reached },
        analysis: analysis ? { verdict: analysis.verdict, why: analysis.why } : null,
      };
    });
  return {
    kind: "mutants",
    version: 1,
    ...circumstances,
    counts,
    score: round(noticed / (counts.mutants - counts.sameBytes - counts.equivalent)),
    scoreWithoutAnalysis: round(noticed / (counts.mutants - counts.sameBytes)),
    byFolder: Object.fromEntries(
      folders.map((f) => [
        f,
        countsOf(
          lines.filter((l) => folderOf(l.file) === f),
          analyses,
        ),
      ]),
    ),
    survivors,
  };
}

const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;

/** docs/mutation-testing.md as it should be for a record. */
export function page(r: MutantsRecord): string {
  const row = (name: string, c: Counts): string =>
    `| ${[name, c.mutants, c.killed, c.timeout, c.sameBytes, c.equivalent, c.survived].join(" | ")} |`;
  const survivors = (which: readonly Survivor[]): string[] =>
    which.flatMap((s) => [
      "",
      `**${s.file}:${s.line}** (${s.kind}${s.reached ? "" : ", never run"})`,
      "```",
      `- ${s.before}`,
      `+ ${s.after}`,
      "```",
      s.analysis?.why ?? "Not analysed.",
    ]);
  const equivalent = r.survivors.filter((s) => s.analysis?.verdict === "equivalent");
  const others = r.survivors.filter((s) => s.analysis?.verdict !== "equivalent");
  return `${[
    "# Mutation testing of the kernels",
    "",
    "Made from `results/mutants.json` by `npx tsx tools/mutants.ts --record`; do not edit.",
    "",
    `A sample of ${r.sample} small changes, drawn with seed ${r.seed} from ${r.sites} places in ${r.files} files of \`src/kernels\` in`,
    "proportion to the places of each file: an opcode for its neighbour (add and sub, lt and le, signed and unsigned), a number",
    "one off, an offset of a load or store, swapped arguments, a bound of a loop, a guard that always holds, a statement left",
    "out. Each is judged alone and in memory: first whether any byte of any kernel differs, then the trials of the kernels that",
    "differ (as `src/kernels/table.test.ts` runs them, in every variant), their ladders, and the unit tests in `src/kernels` and",
    "`src/core/compute` that import the file. A change that emits no valid module counts as killed, an endless loop as timeout.",
    "",
    `Left out: ${LEFT_OUT.map(({ why }) => why).join("; ")}.`,
    "",
    `**Score ${percent(r.score)}**: of the changes that can be noticed, so many were. Without the analysis below, which takes out`,
    `what no caller can see: ${percent(r.scoreWithoutAnalysis)}. (${r.machine.cpu}, Node ${r.node}${r.fused ? " with relaxed SIMD" : ""}, ${r.date.slice(0, 10)}.)`,
    "",
    "| folder | mutants | killed | timeout | same bytes | equivalent by analysis | survived |",
    "|---|---|---|---|---|---|---|",
    ...Object.entries(r.byFolder).map(([name, c]) => row(name === "." ? "kernels" : name, c)),
    row("**all**", r.counts),
    "",
    `## Survived (${others.length})`,
    ...survivors(others),
    "",
    `## Equivalent by analysis (${equivalent.length})`,
    ...survivors(equivalent),
  ].join("\n")}\n`;
}
