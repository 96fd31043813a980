/**
 * The report of the main job as one HTML file that needs nothing else: no script, no request, style and pictures inline
 * (a content security policy in the page forbids the rest). Reads on a phone, in print, in light and dark.
 *
 * All text of the record goes through the escaping template of `markup.ts`; figures are written by `figures.ts`.
 */
import { stringify } from "yaml";
import type { CompressRecord } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import type { Use } from "./forecast.ts";
import { html, Markup, type Piece } from "./markup.ts";
import type { Picture } from "./picture.ts";
import { pictureGroups } from "./pictures.ts";
import { STYLE } from "./style.ts";
import { bytesTable, curveTable, forecastTables, layersTable, table, variantsTable } from "./tables.ts";
import {
  boundText,
  promiseKept,
  promiseSentence,
  recipeText,
  recommendationSentence,
  recommendedVariant,
  seedsText,
  valueText,
} from "./words.ts";

function lead(record: CompressRecord): Markup {
  const kept = promiseKept(record);
  const [verdict, ...rest] = figures.steady(promiseSentence(record)).split(": ");
  return html`<p class="verdict${record.promise.length > 0 && !kept && " broken"}"><strong>${verdict}</strong>${rest.length > 0 && `: ${rest.join(": ")}`}</p>
${
  record.promise.length > 0 &&
  html`<ul class="promise">${record.promise.map(
    (line) => html`
<li${!line.kept && html` class="broken"`}>${line.what}<b>${valueText(line)}</b>
<span><span class="kept">${line.kept ? "✓ kept" : "✗ not kept"}</span>: ${boundText(line)}${seedsText(line)}</span></li>`,
  )}</ul>`
}
<p>${figures.steady(recommendationSentence(record))}</p>
<p>Forecast, before anything was pruned: ${figures.steady(record.forecast.recommendation || "none was made.")}</p>`;
}

/** The label is on the figure's image part; the SVG inside is hidden from readers that speak. */
function figure(picture: Picture): Markup {
  const { legend } = picture;
  return html`<figure id="picture-${picture.id}"><h4>${picture.title}</h4>
${legend.length > 0 && html`<ul class="legend">${legend.map((e) => html`<li>${new Markup(e.swatch)} ${e.name}</li>`)}</ul>`}
<div role="img" aria-label="${`${picture.title}. ${picture.finding}`}">${new Markup(picture.svg)}</div>
<figcaption><b>${figures.steady(picture.finding)}</b> ${figures.steady(picture.note)}</figcaption></figure>`;
}

function pictures(record: CompressRecord): Piece {
  return pictureGroups(record).map(
    (group) => html`<h3>${group.title}</h3>
<div class="pictures">${group.pictures.map(figure)}</div>
${
  group.pictures.some((p) => p.id === "quality") &&
  html`<details><summary>The curves as numbers</summary>${curveTable(record)}</details>`
}
${
  group.pictures.some((p) => p.id.startsWith("forecast")) &&
  html`<details><summary>The forecast as numbers</summary>${forecastTables(record)}</details>`
}`,
  );
}

function samples(record: CompressRecord): Markup {
  const best = recommendedVariant(record);
  const order = record.variants
    .map((v, i) => ({ v, rank: v.spec === null ? 0 : v === best ? 1 : 2 + i }))
    .sort((a, b) => a.rank - b.rank);
  return html`<p class="soft">One continuation each of the same prompt, with the same seed, as it came. The prompt is in bold.</p>
<div class="samples">${order.map(
    ({ v }) => html`
<section><h3>${v.label} <small>perplexity ${figures.perplexity(v.quality.perplexity)}</small></h3>
<blockquote dir="auto"><b>${record.prompt}</b>${v.sample}</blockquote></section>`,
  )}</div>`;
}

function layers(record: CompressRecord): Piece {
  const told = record.variants.filter((v) => v.spec && v.layers.length > 0);
  const open = recommendedVariant(record) ?? told[0];
  return told.map(
    (v) => html`<details${v === open && html` open`}><summary>${v.label}</summary>${layersTable(v)}</details>`,
  );
}

const pairs = (entries: readonly (readonly [string, Piece])[]): Markup =>
  html`<dl>${entries.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;

function protocolText(record: CompressRecord, result: CompressRecord["denseCurve"], text: string): string {
  const { name, length, textTokens, windows, tokens } = result.protocol;
  const bits = result.bitsPerByte === null ? "" : `; dense ${result.bitsPerByte.toFixed(3)} bits per byte`;
  return `${recipeText(record.recipe, "text", text)}: ${name} of ${figures.count(length)} tokens, ${figures.count(windows)} windows, ${figures.count(tokens)} scored of ${figures.count(textTokens)} tokens${bits}`;
}

function forecastOrigin(record: CompressRecord): string {
  const f = record.forecast;
  const when = f.cached
    ? `nothing new was measured: from this machine's profile, oldest measurement ${f.measured}`
    : `measured before pruning in ${figures.seconds(f.seconds)}, oldest measurement used ${f.measured}`;
  const use = (name: Use): string =>
    `${name} of ${figures.count(f[name].tokens)} token${f[name].tokens === 1 ? "" : "s"} at a time after ${figures.count(f[name].context)}, the layers taking ${figures.percent(f[name].layersShare.median)} of a dense run`;
  return `${when}; ${use("decode")}; ${use("prefill")}; weights in ${f.model.type}`;
}

function provenance(record: CompressRecord): Markup {
  const p = record.provenance;
  const recipe = (...path: string[]): string => recipeText(record.recipe, ...path);
  const dense = record.variants.find((v) => v.spec === null);
  const rounds = record.variants[0]?.decode.ratio.repeats ?? 0;
  const folders = record.variants.filter((v) => v.folder !== undefined);
  return html`${pairs([
    ["date", p.date],
    [
      "machine",
      `${p.machine.cpu}; ${p.machine.cores} cores; ${figures.bytes(p.machine.memoryBytes)}; ${p.machine.platform}`,
    ],
    ["software", `lacuna ${p.lacuna}, Node ${p.node}, V8 ${p.v8}`],
    ["threads", `${p.threads}`],
    [
      "arithmetic",
      p.fused
        ? "relaxed SIMD: fused multiply-add in timed runs; perplexity without fusion"
        : "multiply and add without fusion (no relaxed SIMD here)",
    ],
    [
      "model",
      `${record.model.folder}: ${figures.count(record.model.parameters)} parameters, ${figures.count(record.model.prunable)} of them prunable, ${record.model.layers} blocks`,
    ],
    ["seeds", recipe("seeds")],
    [
      "calibration",
      `${recipe("text", "calibrate")}: ${recipe("calibration", "samples")} samples of ${recipe("calibration", "length")} tokens`,
    ],
    ["recovery text", recipe("text", "recover")],
    ["whole run", figures.seconds(record.seconds)],
  ])}
<h3>Where each number comes from</h3>
${pairs([
  ["perplexity, table", dense ? protocolText(record, dense.quality, "table") : figures.DASH],
  ["perplexity, curves", protocolText(record, record.denseCurve, "curve")],
  [
    "speed",
    `${recipe("speed", "promptTokens")} tokens of prompt for prefill, ${recipe("speed", "tokens")} tokens for decode; all variants in turns, ${rounds} rounds, medians and quartiles; dense is the best dense of this engine`,
  ],
  ["zeros and bytes", "counted in the packed folders that were written"],
  ["layers", "chosen by the runtime for this machine; the reason is the runtime's own"],
  ["forecast", forecastOrigin(record)],
  [
    "text",
    `${recipe("sample", "tokens")} tokens, temperature ${recipe("sample", "temperature")}, top-k ${recipe("sample", "topK")}`,
  ],
])}
${
  folders.length > 0 &&
  html`<h3>Packed folders, beside this file</h3>${pairs(folders.map((v) => [v.label, html`<code>${v.folder ?? ""}</code>`] as const))}`
}
<h3>Time of each stage</h3>
${table({
  caption: "In the order in which they ran.",
  rows: record.stages,
  columns: [
    { head: "stage", cell: (s) => s.name },
    { head: "time", number: true, cell: (s) => figures.seconds(s.seconds) },
  ],
})}
<h3>Recipe</h3>
<pre tabindex="0">${record.recipe == null ? figures.DASH : stringify(record.recipe, { lineWidth: 0 })}</pre>`;
}

/** The whole page. */
export function reportHtml(record: CompressRecord): string {
  const { machine, threads, date } = record.provenance;
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="referrer" content="no-referrer">
<title>${`Which sparsity pays: ${record.model.folder}`}</title>
<link rel="icon" href="data:,">
<style>${new Markup(STYLE)}</style>
</head>
<body>
<header><h1>Which sparsity pays</h1>
<p class="soft">${record.model.folder} · ${machine.cpu}, ${`${threads}`} threads · ${date.slice(0, 10)}</p></header>
<main>
<section id="lead">${lead(record)}</section>
<section id="variants"><h2>Variants</h2>${variantsTable(record)}
<h3>Bytes</h3>${bytesTable(record)}</section>
<section id="pictures"><h2>Pictures</h2>${pictures(record)}</section>
<section id="text"><h2>Generated text</h2>${samples(record)}</section>
<section id="layers"><h2>What computes each layer, and why</h2>${layers(record)}</section>
<section id="provenance"><h2>Provenance</h2>${provenance(record)}</section>
</main>
</body>
</html>
`;
  return page.text;
}
