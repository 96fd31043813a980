/** Writes docs/kernels.md from the kernel table: `npx tsx tools/kernels-doc.ts`. A test checks that it is up to date. */
import { readFile, writeFile } from "node:fs/promises";
import { kernels } from "../src/kernels/table.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|");

/** The page as it should be. */
export function kernelsPage(): string {
  const families = [...new Set(kernels.map((k) => k.family))];
  const lines = [
    "# Kernels",
    "",
    "Made from `src/kernels/table.ts` by `npx tsx tools/kernels-doc.ts`; do not edit.",
    "",
    "Every kernel is emitted from TypeScript at run time, has a plain f64 twin beside it, and trials that compare the two on",
    "drawn shapes. Names: `<operation>-<element type>[-<layout>][-<tile>]`. Functions that end with `from, to` can be split",
    "over threads without changing a bit.",
  ];
  for (const family of families) {
    lines.push("", `## ${family}`);
    for (const k of kernels.filter((x) => x.family === family)) {
      lines.push(
        "",
        `### \`${k.name}\``,
        "",
        `${k.summary[0].toUpperCase()}${k.summary.slice(1)}.`,
        "",
        "| function | parameters | does |",
        "|---|---|---|",
      );
      for (const [name, f] of Object.entries(k.functions))
        lines.push(`| \`${name}\` | ${f.params.join(", ")} | ${cell(f.does)} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

if (process.argv[1]?.endsWith("kernels-doc.ts")) {
  const page = kernelsPage();
  const before = await readFile("docs/kernels.md", "utf8").catch(() => "");
  if (page !== before) await writeFile("docs/kernels.md", page);
}
