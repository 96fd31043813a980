/**
 * Writes docs/papers.md from the catalogue, the experiments and the records: `npx tsx tools/papers-doc.ts`. A test checks
 * that it is up to date. Before, records are given the analyses that were written for them in results/analysis/.
 */
import { readFile, writeFile } from "node:fs/promises";
import { paperNumber } from "../src/papers/catalogue/index.ts";
import type { Claim, Experiment, PaperRecord } from "../src/papers/contract.ts";
import { type Listed, listing } from "../src/papers/listing.ts";
import { implemented, loadExperiment } from "../src/papers/load.ts";
import { readRecords, recordFile, recordText, withAnalysis } from "../src/papers/records.node.ts";
import { boundText, figure, kindText, madeText, shownText, valueText } from "../src/papers/words.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
const row = (...cells: string[]): string => `| ${cells.map(cell).join(" | ")} |`;
const anchor = (e: Listed): string => `paper-${paperNumber(e.paper)}`;

const arxiv = (e: Listed): string => (e.arxiv ? `[${e.title}](https://arxiv.org/abs/${e.arxiv})` : e.title);

function statusOf(e: Listed, record: PaperRecord | undefined): string {
  if (e.status === "planned") return "planned";
  if (record?.skipped !== undefined) return "implemented, not run";
  return `[${e.verdict ?? "implemented, no record yet"}](#${anchor(e)})`;
}

const claimsBefore = (claims: readonly Claim[]): string[] => [
  row("claim", "kind", "bound", "says"),
  "|---|---|---|---|",
  ...claims.map((c) => row(c.id, kindText(c), boundText(c), c.text)),
];

const claimsAfter = (record: PaperRecord): string[] => [
  row("claim", "kind", "value (over seeds)", "bound", "result", "says"),
  "|---|---|---|---|---|---|",
  ...record.claims.map((c) => row(c.id, kindText(c), valueText(c), boundText(c), shownText(c), c.text)),
];

/** Thresholds that were changed before the run, and why. */
const replaced = (claims: readonly Claim[]): string[] =>
  claims.flatMap(({ id, replaced: r }) =>
    r ? [`- ${id}: was ${typeof r.was === "number" ? figure(r.was) : r.was}; ${r.why} (seen on ${r.on}).`] : [],
  );

function section(e: Listed, experiment: Experiment, record: PaperRecord | undefined): string[] {
  const changed = replaced(experiment.claims);
  const ran = record !== undefined && record.skipped === undefined;
  return [
    "",
    `<a id="${anchor(e)}"></a>`,
    "",
    `### ${paperNumber(e.paper)} ${e.method}${e.verdict ? `: ${e.verdict}` : ""}`,
    "",
    `${arxiv(e)}. ${e.authors}${e.venue ? `, ${e.venue}` : ""}.`,
    "",
    e.idea,
    "",
    `Method: [\`src/${experiment.method}\`](../src/${experiment.method}). \`lacuna reproduce ${e.paper}\``,
    "",
    ...(ran ? claimsAfter(record) : claimsBefore(experiment.claims)),
    "",
    ...(ran ? [`${madeText(record)}.`] : [record?.skipped ? `Not run: ${record.skipped}.` : "No record yet."]),
    ...(changed.length > 0 ? ["", "Bounds replaced before the run:", "", ...changed] : []),
    ...(record?.analysis ? ["", record.analysis] : []),
  ];
}

/** The page as it should be. */
export async function papersPage(): Promise<string> {
  const records = await readRecords();
  const all = listing(records);
  const count = (verdict: string): number => all.filter((e) => e.verdict === verdict).length;
  const sections = await Promise.all(
    implemented().map(async (paper) => {
      const entry = all.find((e) => e.paper === paper) as Listed;
      return section(entry, await loadExperiment(paper), records.get(paper));
    }),
  );
  const lines = [
    "# Papers",
    "",
    "Made from `src/papers/` and `results/` by `npx tsx tools/papers-doc.ts`; do not edit.",
    "",
    "Each of these papers gets a method and an experiment of minutes. What an experiment must show was written down before",
    "it ran; what it did not show is said as plainly as what it did. [Adding a paper](adding-a-paper.md) tells how.",
    "",
    `${all.length} papers, ${sections.length} implemented: ${count("shown")} shown, ${count("partly")} partly, ${count("not shown")} not shown.`,
    "",
    row("no.", "method", "paper", "zeros in", "made", "status"),
    "|---|---|---|---|---|---|",
    ...all.map((e) =>
      row(
        paperNumber(e.paper),
        e.method,
        `${arxiv(e)}${e.year ? ` (${e.year})` : ""}`,
        e.sites.join(", "),
        e.stages.join(", "),
        statusOf(e, records.get(e.paper)),
      ),
    ),
    ...(sections.length > 0 ? ["", "## Experiments"] : []),
    ...sections.flat(),
  ];
  return `${lines.join("\n")}\n`;
}

/** Copies analyses from their files into the records. */
async function refreshAnalyses(): Promise<void> {
  const entries = listing(new Map());
  for (const [paper, record] of await readRecords()) {
    const entry = entries.find((e) => e.paper === paper) as Listed;
    const fresh = await withAnalysis(record, entry);
    if (recordText(fresh) !== recordText(record)) await writeFile(recordFile(entry), recordText(fresh));
  }
}

if (process.argv[1]?.endsWith("papers-doc.ts")) {
  await refreshAnalyses();
  const page = await papersPage();
  const before = await readFile("docs/papers.md", "utf8").catch(() => "");
  if (page !== before) await writeFile("docs/papers.md", page);
}
