/**
 * The report in a terminal: the promise, the variants, the recommendation, where the files are. Fits the given number of
 * columns from 60 on; text from the record is stripped of control characters, so that a sample or a label cannot move
 * the cursor or change colours. No colour unless asked.
 */
import type { CompressRecord, SpeedRow } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import { boundText, promiseKept, promiseSentence, recommendationSentence, seedsText, valueText } from "./words.ts";

export interface TerminalOptions {
  /** ANSI colours; default none */
  readonly colour?: boolean;
  /** what lies where: report, record, folders */
  readonly files?: readonly { readonly what: string; readonly path: string }[];
}

const FEWEST_COLUMNS = 60;
/** Room for the quartiles beside the ratios. */
const WIDE_ENOUGH = 76;

/** Control characters and those that turn the direction of text are dropped; any white space is one space. */
export const plain = (text: string): string =>
  text
    .replace(/\s+/g, " ")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "");

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const COMBINING = /\p{M}/u;

const widthOf = (c: string): number => (COMBINING.test(c) ? 0 : WIDE.test(c) ? 2 : 1);

/** Columns that a text takes. */
export const width = (text: string): number => [...text].reduce((n, c) => n + widthOf(c), 0);

function shorten(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let kept = "";
  let used = 0;
  for (const c of text) {
    if (used + widthOf(c) > columns - 1) break;
    kept += c;
    used += widthOf(c);
  }
  return `${kept}…`;
}

const padEnd = (text: string, columns: number): string => text + " ".repeat(Math.max(0, columns - width(text)));
const padStart = (text: string, columns: number): string => " ".repeat(Math.max(0, columns - width(text))) + text;

/** Words on lines of at most `columns`; a longer word is cut across lines, nothing is lost. */
function wrap(text: string, columns: number, indent = ""): string[] {
  const lines: string[] = [];
  let line = "";
  const flush = (): void => {
    if (line !== "") lines.push(line);
    line = indent;
  };
  for (const word of figures.steady(plain(text)).split(" ")) {
    if (word === "") continue;
    const gap = line === "" || line === indent ? "" : " ";
    if (width(line) + gap.length + width(word) <= columns) {
      line += gap + word;
      continue;
    }
    if (line.trim() !== "") flush();
    for (const c of word) {
      if (width(line) + widthOf(c) > columns) flush();
      line += c;
    }
  }
  if (line.trim() !== "") lines.push(line);
  return lines.map((l) => l.replaceAll("\u00a0", " "));
}

/** The first column gives way when there is no room; the others are figures. */
function table(header: readonly string[], rows: readonly (readonly string[])[], columns: number): string[] {
  const widths = header.map((h, i) => Math.max(width(h), ...rows.map((r) => width(r[i]))));
  const others = widths.slice(1).reduce((n, w) => n + w + 2, 0);
  widths[0] = Math.max(8, Math.min(widths[0], columns - others));
  const line = (cells: readonly string[]): string =>
    cells
      .map((c, i) => (i === 0 ? padEnd(shorten(c, widths[0]), widths[0]) : padStart(c, widths[i])))
      .join("  ")
      .trimEnd();
  return [line(header), ...rows.map(line)];
}

const spread = (row: SpeedRow): string => figures.range(row.ratio, figures.times) || figures.DASH;

/** The report as text; the last line ends without a line feed. */
export function reportText(record: CompressRecord, columns: number, options: TerminalOptions = {}): string {
  const room = Math.max(FEWEST_COLUMNS, Math.floor(columns) || 80);
  const paint = (code: number, text: string): string => (options.colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const lines: string[] = [];
  const kept = promiseKept(record);
  const verdict = record.promise.length === 0 ? 1 : kept ? 32 : 31;
  lines.push(...wrap(promiseSentence(record), room).map((l) => paint(verdict, l)));
  const whats = record.promise.map((p) => shorten(plain(p.what), room - 38));
  const widest = Math.max(0, ...whats.map(width));
  for (const [i, line] of record.promise.entries()) {
    const word = line.kept ? paint(32, "kept    ") : paint(31, "not kept");
    const bound = boundText(line);
    const seeds = widest + 24 + bound.length + seedsText(line).length <= room ? seedsText(line) : "";
    lines.push(`  ${word}  ${padEnd(whats[i], widest)}  ${padStart(valueText(line), 8)}  ${bound}${seeds}`);
  }

  const quartiles = room >= WIDE_ENOUGH;
  const labels = record.variants.map((v) => plain(v.label) + (v.label === record.recommended ? " *" : ""));
  lines.push(
    "",
    ...table(
      ["variant", "perplexity", "to dense", "zeros", "bytes", "of BF16"],
      record.variants.map((v, i) => [
        labels[i],
        figures.perplexity(v.quality.perplexity),
        figures.times(v.ratio, 3),
        figures.percent(v.achieved),
        figures.bytes(v.bytes.prunable),
        figures.percent(v.bytes.share),
      ]),
      room,
    ),
    "",
    ...table(
      ["tokens/s", ...["decode", "prefill"].flatMap((use) => [use, "to dense", ...(quartiles ? ["quartiles"] : [])])],
      record.variants.map((v, i) => [
        labels[i],
        ...[v.decode, v.prefill].flatMap((row) => [
          figures.rate(row.tokensPerSecond.median),
          figures.times(row.ratio.median),
          ...(quartiles ? [v.spec ? spread(row) : ""] : []),
        ]),
      ]),
      room,
    ),
    "",
    ...wrap(`* ${recommendationSentence(record)}`, room, "  "),
  );
  const { recommendation } = record.forecast;
  if (recommendation) lines.push(...wrap(`Forecast: ${recommendation}`, room, "  "));
  const { machine, threads, node } = record.provenance;
  lines.push(
    ...wrap(
      `Measured on ${machine.cpu}, ${threads} threads, Node ${node}, in ${figures.seconds(record.seconds)}; medians of ${record.variants[0]?.decode.ratio.repeats ?? 0} interleaved rounds, below 1.00x is slower than dense.`,
      room,
      "  ",
    ),
  );
  const files = options.files ?? [];
  if (files.length > 0) {
    lines.push("");
    const named = Math.min(24, Math.max(...files.map((f) => width(plain(f.what)))));
    for (const f of files) {
      // A path is for copying: it stays whole on its line, even when that is longer than the screen.
      lines.push(`${padEnd(shorten(plain(f.what), named), named)}  ${plain(f.path)}`);
    }
  }
  return lines.join("\n");
}
