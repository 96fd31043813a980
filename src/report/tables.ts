/** The tables of the page: variants, bytes, points of curves, forecast, layers. */
import type { CompressRecord, SpeedRow, VariantResult } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import { type ForecastRow, forecastRows, paysFrom, type ShapeRow, shapeRows, type Use } from "./forecast.ts";
import { groupLayers, kernelName } from "./layers.ts";
import { html, type Markup, type Piece } from "./markup.ts";
import { describeSpec, methodAndPattern } from "./words.ts";

interface Column<R> {
  readonly head: string;
  /** right-aligned */
  readonly number?: boolean;
  cell(row: R): Piece;
}

/** A table with scopes; the first column heads its row. `cards`: rows become blocks on a narrow screen. */
export function table<R>(options: {
  readonly caption: Piece;
  readonly columns: readonly Column<R>[];
  readonly rows: readonly R[];
  readonly cards?: boolean;
  readonly chosen?: (row: R) => boolean;
}): Markup {
  const { columns, cards } = options;
  const side = (c: Column<R>): Piece => c.number === true && html` class="n"`;
  // Roles are written out because `display: block` takes them away from table elements.
  return html`<div class="wide"><table${cards === true && html` class="cards"`} role="table">
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
</tbody></table></div>`;
}

const withNote = (text: string, note: string): Piece => [text, note !== "" && html` <small>${note}</small>`];

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
  return `${Math.min(...ratios).toFixed(3)}–${Math.max(...ratios).toFixed(3)}`;
}

export function variantsTable(record: CompressRecord): Markup {
  const rounds = Math.max(0, ...record.variants.map((v) => v.decode.ratio.repeats));
  const seeds = Math.max(0, ...record.variants.map((v) => v.ratios?.length ?? 0));
  const many = seeds > 1 ? ` (mean of ${seeds} seeds, below it least and most)` : "";
  return table<VariantResult>({
    caption: `Dense first. Perplexity on held-out text${many}; zeros of the prunable weights; bytes of the prunable weights, packed. Speeds: median, below it lower to upper quartile of ${rounds} interleaved rounds; ratios are paired with dense inside of each round. Below 1.00x is slower than dense.`,
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

export function bytesTable(record: CompressRecord): Markup {
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

export function curveTable(record: CompressRecord): Markup {
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

export function forecastTables(record: CompressRecord): Piece {
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

export function layersTable(v: VariantResult): Markup {
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
