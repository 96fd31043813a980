/**
 * The report of the main job as one HTML file that needs nothing else: no script, no request, style and pictures inline
 * (a content security policy in the page forbids the rest). Reads on a phone, in print, in light and dark.
 *
 * All text of the record goes through the escaping template of `markup.ts`; figures are written by `figures.ts`.
 */
import { stringify } from "yaml";
import type { CompressRecord, SpeedRow, VariantResult } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import { type ForecastRow, forecastRows, paysFrom, type ShapeRow, shapeRows, type Use } from "./forecast.ts";
import { groupLayers, kernelName } from "./layers.ts";
import { html, Markup, type Piece } from "./markup.ts";
import { type Picture, pictureGroups } from "./pictures.ts";
import { STYLE } from "./style.ts";
import {
  boundText,
  describeSpec,
  methodAndPattern,
  promiseKept,
  promiseSentence,
  recipeText,
  recommendationSentence,
  recommendedVariant,
  valueText,
} from "./words.ts";

interface Column<R> {
  readonly head: string;
  /** right-aligned */
  readonly number?: boolean;
  cell(row: R): Piece;
}

/** A table with scopes; the first column heads its row. `cards`: rows become blocks on a narrow screen. */
function table<R>(options: {
  readonly caption: Piece;
  readonly columns: readonly Column<R>[];
  readonly rows: readonly R[];
  readonly cards?: boolean;
  readonly chosen?: (row: R) => boolean;
}): Markup {
  const { columns, cards } = options;
  const side = (c: Column<R>): Piece => c.number === true && html` class="n"`;
  // Roles are written out because `display: block` takes them away from table elements.
  return html`<table${cards === true && html` class="cards"`} role="table">
<caption>${options.caption}</caption>
<thead role="rowgroup"><tr role="row">${columns.map((c) => html`<th scope="col" role="columnheader"${side(c)}>${c.head}</th>`)}</tr></thead>
<tbody role="rowgroup">${options.rows.map(
    (row) => html`
<tr role="row"${options.chosen?.(row) === true && html` class="chosen"`}>${columns.map((c, i) =>
      i === 0
        ? html`<th scope="row" role="rowheader">${c.cell(row)}</th>`
        : html`<td role="cell" data-label="${c.head}"${side(c)}><span>${c.cell(row)}</span></td>`,
    )}</tr>`,
  )}
</tbody></table>`;
}

const withNote = (text: string, note: string): Piece => [text, note !== "" && html` <small>${note}</small>`];

function lead(record: CompressRecord): Markup {
  const kept = promiseKept(record);
  const [verdict, ...rest] = steady(promiseSentence(record)).split(": ");
  return html`<p class="verdict${record.promise.length > 0 && !kept && " broken"}"><strong>${verdict}</strong>${rest.length > 0 && `: ${rest.join(": ")}`}</p>
${
  record.promise.length > 0 &&
  html`<ul class="promise">${record.promise.map(
    (line) => html`
<li${!line.kept && html` class="broken"`}>${line.what}<b>${valueText(line)}</b>
<span><span class="kept">${line.kept ? "✓ kept" : "✗ not kept"}</span>: ${boundText(line)}</span></li>`,
  )}</ul>`
}
<p>${steady(recommendationSentence(record))}</p>
<p>Forecast, before anything was pruned: ${steady(record.forecast.recommendation || "none was made.")}</p>`;
}

const speedText = (row: SpeedRow): Piece =>
  withNote(figures.rate(row.tokensPerSecond.median), figures.range(row.tokensPerSecond, figures.rate));

function ratioText(v: VariantResult, row: SpeedRow): Piece {
  const text = figures.times(row.ratio.median);
  if (!v.spec) return text;
  const shown: Piece = row.ratio.median < 1 ? html`<span class="loss">${text}</span>` : text;
  return [
    shown,
    figures.range(row.ratio, figures.times) !== "" && html` <small>${figures.range(row.ratio, figures.times)}</small>`,
  ];
}

function seedRange(v: VariantResult): string {
  const ratios = (v.ratios ?? []).filter(Number.isFinite);
  if (ratios.length < 2) return "";
  return `${Math.min(...ratios).toFixed(3)}–${Math.max(...ratios).toFixed(3)} over ${ratios.length} seeds`;
}

function variantsTable(record: CompressRecord): Markup {
  const rounds = Math.max(0, ...record.variants.map((v) => v.decode.ratio.repeats));
  return table<VariantResult>({
    caption: `Dense first. Perplexity on held-out text; zeros of the prunable weights; bytes of the prunable weights, packed. Speeds: median, below it lower to upper quartile of ${rounds} interleaved rounds; ratios are paired with dense inside of each round. Below 1.00x is slower than dense.`,
    rows: record.variants,
    cards: true,
    chosen: (v) => v.label === record.recommended,
    columns: [
      {
        head: "variant",
        cell: (v) => [
          v.label,
          html` <small>${describeSpec(v.spec)}${v.label === record.recommended && " · recommended"}</small>`,
        ],
      },
      { head: "perplexity", number: true, cell: (v) => figures.perplexity(v.quality.perplexity) },
      {
        head: "perplexity to dense",
        number: true,
        cell: (v) => withNote(figures.times(v.ratio, 3), seedRange(v)),
      },
      { head: "zeros", number: true, cell: (v) => figures.percent(v.achieved) },
      {
        head: "bytes, share of BF16",
        number: true,
        cell: (v) => withNote(figures.percent(v.bytes.share), figures.bytes(v.bytes.prunable)),
      },
      { head: "decode, tokens/s", number: true, cell: (v) => speedText(v.decode) },
      { head: "decode to dense", number: true, cell: (v) => ratioText(v, v.decode) },
      { head: "prefill, tokens/s", number: true, cell: (v) => speedText(v.prefill) },
      { head: "prefill to dense", number: true, cell: (v) => ratioText(v, v.prefill) },
    ],
  });
}

function bytesTable(record: CompressRecord): Markup {
  return table<VariantResult>({
    caption:
      "Three kinds of bytes: what lies in the file, what is held in memory to run, what is read for each token. A layer that runs dense is expanded: it is small in the file and large in memory.",
    rows: record.variants,
    cards: true,
    chosen: (v) => v.label === record.recommended,
    columns: [
      { head: "variant", cell: (v) => v.label },
      { head: "weights in the file", number: true, cell: (v) => figures.bytes(v.bytes.file) },
      { head: "prunable, packed", number: true, cell: (v) => figures.bytes(v.bytes.prunable) },
      { head: "prunable, in BF16", number: true, cell: (v) => figures.bytes(v.bytes.prunableBf16) },
      { head: "resident", number: true, cell: (v) => figures.bytes(v.residentBytes) },
      { head: "read per token", number: true, cell: (v) => figures.bytes(v.bytesPerToken) },
      { head: "zeros of all parameters", number: true, cell: (v) => figures.percent(v.achievedAll) },
    ],
  });
}

function curveTable(record: CompressRecord): Markup {
  return table({
    caption: "The points of the curves, on the short held-out text.",
    rows: record.curve,
    columns: [
      { head: "method", cell: (c) => methodAndPattern(c) },
      { head: "zeros", number: true, cell: (c) => figures.percent(c.achieved) },
      { head: "perplexity", number: true, cell: (c) => figures.perplexity(c.perplexity) },
      { head: "of BF16", number: true, cell: (c) => figures.percent(c.bytes.share) },
      { head: "pruned in", number: true, cell: (c) => figures.seconds(c.seconds) },
    ],
  });
}

function forecastTables(record: CompressRecord): Piece {
  const told = (row: ForecastRow, use: Use): Piece => {
    const p = row[use];
    if (!p) return figures.DASH;
    return withNote(figures.times(p.model), `${figures.times(p.low)}–${figures.times(p.high)}`.replaceAll("x", ""));
  };
  const patterns = [...new Set(shapeRows(record).flatMap((r) => r.shape.curves.map((c) => c.pattern)))];
  return [
    table<ForecastRow>({
      caption:
        "Times as fast as dense: the layers that are pruned, alone, and the whole model, with the range that the quartiles of the measurements give.",
      rows: forecastRows(record),
      columns: [
        { head: "pattern", cell: (r) => r.pattern },
        { head: "zeros", number: true, cell: (r) => figures.percent(r.sparsity, 0) },
        { head: "decode, layers", number: true, cell: (r) => figures.times(r.decode?.layers) },
        { head: "decode, model", number: true, cell: (r) => told(r, "decode") },
        { head: "prefill, layers", number: true, cell: (r) => figures.times(r.prefill?.layers) },
        { head: "prefill, model", number: true, cell: (r) => told(r, "prefill") },
      ],
    }),
    table<ShapeRow>({
      caption:
        "Layer shapes: their part of the layers' time in a dense run, and from which sparsity each pattern pays.",
      rows: shapeRows(record),
      cards: true,
      columns: [
        {
          head: "shape (out x in)",
          cell: (r) => `${r.use}: ${figures.count(r.shape.out)} x ${figures.count(r.shape.in)}`,
        },
        { head: "layers", number: true, cell: (r) => figures.count(r.shape.count) },
        { head: "part of the time", number: true, cell: (r) => figures.percent(r.shape.part) },
        { head: "fastest dense", cell: (r) => kernelName(r.shape.dense) },
        ...patterns.map((pattern) => ({
          head: `${pattern} pays`,
          cell: (r: ShapeRow): Piece => {
            const curve = r.shape.curves.find((c) => c.pattern === pattern);
            return curve ? (paysFrom(curve.breakEven) ?? "not at any measured") : figures.DASH;
          },
        })),
      ],
    }),
  ];
}

/** The label is on the figure's image part; the SVG inside is hidden from readers that speak. */
function figure(picture: Picture): Markup {
  const { legend } = picture;
  return html`<figure id="picture-${picture.id}"><h4>${picture.title}</h4>
${legend.length > 0 && html`<ul class="legend">${legend.map((e) => html`<li>${new Markup(e.swatch)} ${e.name}</li>`)}</ul>`}
<div role="img" aria-label="${`${picture.title}. ${picture.finding}`}">${new Markup(picture.svg)}</div>
<figcaption><b>${steady(picture.finding)}</b> ${steady(picture.note)}</figcaption></figure>`;
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

function layersTable(v: VariantResult): Markup {
  return table({
    caption: "Layers that are alike are told once; bytes are sums.",
    rows: groupLayers(v.layers),
    cards: true,
    columns: [
      { head: "layers", cell: (g) => g.names },
      { head: "shape (out x in)", cell: (g) => `${figures.count(g.rows)} x ${figures.count(g.columns)}` },
      {
        head: "zeros",
        number: true,
        cell: (g) =>
          g.sparsity.most - g.sparsity.least < 0.0005
            ? figures.percent(g.sparsity.most)
            : `${figures.percent(g.sparsity.least)}–${figures.percent(g.sparsity.most)}`,
      },
      {
        head: "packed, of BF16",
        number: true,
        cell: (g) => withNote(figures.bytes(g.packedBytes), figures.percent(g.packedBytes / g.bf16Bytes)),
      },
      { head: "decode", cell: (g) => withNote(kernelName(g.decode.kernel), g.decode.reason) },
      { head: "prefill", cell: (g) => withNote(kernelName(g.prefill.kernel), g.prefill.reason) },
    ],
  });
}

/** A figure stays on one line with its unit. */
const steady = (text: string): string => text.replace(/(\d) (?=%|s\b|[kMGT]?B\b)/g, "$1\u00a0");

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
