/**
 * Puts figures from `results/` into the pages, between `<!-- figures:name -->` and `<!-- /figures -->`:
 * `npx tsx tools/figures.ts`. Nobody types a figure by hand; a test checks that the pages are up to date.
 */
import { readFile, writeFile } from "node:fs/promises";
import { recommend } from "../src/pipeline/compress.ts";
import type { CompressRecipe } from "../src/pipeline/recipe.ts";
import type { CompressRecord, SpeedRow } from "../src/pipeline/record.ts";

const results = new URL("../results/", import.meta.url);

async function record<T>(name: string): Promise<T | null> {
  return readFile(new URL(`${name}.json`, results), "utf8").then(
    (text) => JSON.parse(text) as T,
    () => null,
  );
}

const times = (row: SpeedRow): string => {
  const { median, low, high } = row.ratio;
  const seeds = row.perSeed ? `; ${row.perSeed.map((x) => x.toFixed(2)).join(", ")} seed by seed` : "";
  return `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)}${seeds})`;
};

function promise(r: CompressRecord): string {
  const dense = r.variants[0];
  const { label, promise: lines } = recommend(r.recipe as CompressRecipe, r.variants);
  const best = r.variants.find((v) => v.label === label);
  if (!best) return "";
  const missed = lines.filter((l) => !l.kept);
  const { provenance: p } = r;
  const ratios = [...best.ratios].sort((a, b) => a - b);
  const rows = [
    [
      "held-out perplexity",
      dense.quality.perplexity.toFixed(2),
      `${best.quality.perplexity.toFixed(2)}, ${best.ratio.toFixed(3)} times dense (${ratios.map((x) => x.toFixed(3)).join(", ")} over ${ratios.length} seeds)`,
    ],
    ["decode, over the best dense", "1", times(best.decode)],
    ["prefill, over the best dense", "1", times(best.prefill)],
    ["bytes of the pruned layers, over BF16", "1", best.bytes.share.toFixed(3)],
  ];
  return [
    `Recorded on the shipped model (\`results/promise.json\`, recipe \`recipes/promise.yaml\`), ${best.label}:`,
    "",
    "| | dense | sparse |",
    "|---|---|---|",
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    "",
    missed.length === 0
      ? "The promise, four bounds of the recipe, is kept."
      : `The promise is not kept: ${missed.map((l) => `${l.what} is ${l.value.toFixed(3)}, ${l.atMost ? "at most" : "at least"} ${l.bound} was promised`).join("; ")}.`,
    "",
    `Speeds: medians and quartiles of ${best.decode.ratio.repeats} interleaved rounds, ${p.threads} threads, ${p.machine.cpu} (${p.machine.cores} cores), Node ${p.node}; ` +
      `decode ${r.prompt ? "after a prompt" : ""}, prefill of the recipe's prompt length.`,
  ].join("\n");
}

const BLOCKS: Readonly<Record<string, () => Promise<string>>> = {
  promise: async () => {
    const r = await record<CompressRecord>("promise");
    return r ? promise(r) : "";
  },
};

/** The page with every block filled from the records. */
export async function withFigures(page: string): Promise<string> {
  let out = page;
  for (const [name, make] of Object.entries(BLOCKS)) {
    const start = `<!-- figures:${name} -->`;
    const from = out.indexOf(start);
    if (from < 0) continue;
    const to = out.indexOf("<!-- /figures -->", from);
    const text = await make();
    out = `${out.slice(0, from + start.length)}\n${text}${text ? "\n" : ""}${out.slice(to)}`;
  }
  return out;
}

export const PAGES = ["README.md"];

if (process.argv[1]?.endsWith("figures.ts")) {
  for (const page of PAGES) {
    const before = await readFile(page, "utf8");
    const after = await withFigures(before);
    if (after !== before) await writeFile(page, after);
  }
}
