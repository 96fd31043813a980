/**
 * The pictures of a compress record: which numbers go into which chart, its legend, and what it shows, in a sentence
 * (the label of the picture for readers who cannot see it, and its caption for all others).
 */
import type { CompressRecord, VariantResult } from "../pipeline/record.ts";
import * as figures from "./figures.ts";
import { type ForecastCurve, forecastCurves, paysFrom, USES, type Use } from "./forecast.ts";
import { legendOf, list, type Picture, unique } from "./picture.ts";
import { layerPictures } from "./picture-layers.ts";
import { curves, PALETTE, type Point, type Row, reach, rows, type Series, seriesOf, swatch } from "./plot.ts";
import { methodAndPattern, recipeText } from "./words.ts";

/** Every pattern of the record: one colour and shape each, the same in all pictures. */
const patternSeries = (record: CompressRecord): Series[] =>
  seriesOf(
    unique([
      ...record.curve.map((c) => c.pattern),
      ...record.variants.flatMap((v) => v.spec?.pattern ?? []),
      ...forecastCurves(record).map((c) => c.pattern),
    ]).sort(),
  );

function qualityPicture(record: CompressRecord): Picture | null {
  if (record.curve.length === 0) return null;
  const dense = record.denseCurve.perplexity;
  const points = record.curve.map((c): Point => {
    const series = methodAndPattern(c);
    return {
      series,
      x: c.achieved,
      y: c.perplexity,
      title: `${series}: perplexity ${figures.perplexity(c.perplexity)} at ${figures.percent(c.achieved)} zeros`,
    };
  });
  const series = seriesOf(unique(points.map((p) => p.series)));
  // The sparsity at which most series can be compared.
  const asked = record.curve.map((c) => c.sparsity);
  const common = unique(asked.map(String)).sort(
    (a, b) => asked.filter((s) => String(s) === b).length - asked.filter((s) => String(s) === a).length || +b - +a,
  )[0];
  const there = record.curve.filter((c) => String(c.sparsity) === common).sort((a, b) => a.perplexity - b.perplexity);
  return {
    id: "quality",
    title: "Quality against sparsity",
    svg: curves({
      points,
      series,
      x: "zeros in the prunable weights",
      y: "perplexity, lower is better",
      lines: [{ at: dense, text: `dense\n${figures.perplexity(dense)}` }],
      log: true,
      format: (v) => (v >= 1000 ? `${v / 1000}k` : `${Number(v.toPrecision(3))}`),
    }),
    legend: legendOf(series),
    finding: `At ${figures.percent(Number(common), 0)} zeros the perplexity is ${list(
      there.map((c) => `${figures.perplexity(c.perplexity)} with ${methodAndPattern(c)}`),
    )}; dense it is ${figures.perplexity(dense)}.`,
    note: `Pruned without recovery, short held-out text (${figures.count(record.denseCurve.tokens)} scored tokens).`,
  };
}

function bytesPicture(record: CompressRecord): Picture | null {
  const sparse = record.variants.filter((v) => v.spec);
  const all = [
    ...record.curve.map((c) => ({ pattern: c.pattern, x: c.achieved, y: c.bytes.share, what: methodAndPattern(c) })),
    ...sparse.map((v) => ({ pattern: v.spec?.pattern ?? "", x: v.achieved, y: v.bytes.share, what: v.label })),
  ];
  if (all.length === 0) return null;
  const points = all
    .map(
      (p): Point => ({
        series: p.pattern,
        x: p.x,
        y: p.y,
        title: `${p.what}: ${figures.percent(p.y)} of BF16 at ${figures.percent(p.x)} zeros`,
      }),
    )
    .sort((a, b) => a.x - b.x);
  const series = patternSeries(record).filter((s) => points.some((p) => p.series === s.name));
  const least = all.reduce((a, b) => (b.y < a.y ? b : a));
  const bound = Number(recipeText(record.recipe, "promise", "bytesShare"));
  return {
    id: "bytes",
    title: "Bytes against sparsity",
    svg: curves({
      points,
      series,
      x: "zeros in the prunable weights",
      y: "packed bytes, share of BF16",
      lines: [
        { at: 1, text: "BF16" },
        ...(Number.isFinite(bound)
          ? [{ at: bound, text: `promised\n${figures.percent(bound, 0)}`, dashed: true }]
          : []),
      ],
      zero: true,
      format: (v) => figures.percent(v, 0),
    }),
    legend: legendOf(series),
    finding: `The smallest is ${least.what}: ${figures.percent(least.y)} of the BF16 bytes at ${figures.percent(least.x)} zeros.`,
    note: "Prunable weights only: values in BF16, one bit a weight for where they are, shapes.",
  };
}

const STYLE: Readonly<Record<Use, Pick<Series, "colour" | "symbol">>> = {
  decode: { colour: PALETTE[0], symbol: "circle" },
  prefill: { colour: PALETTE[1], symbol: "square" },
};

const ratioFormat = (v: number): string => figures.times(v, Number.isInteger(v) ? 0 : 1);

function speedRow(v: VariantResult, use: Use): Row {
  const { ratio, tokensPerSecond } = v[use];
  const text = figures.times(ratio.median);
  return {
    label: v.label,
    value: ratio.median,
    ...(ratio.repeats > 1 && { low: ratio.low, high: ratio.high, min: ratio.min, max: ratio.max }),
    text,
    title: `${v.label}: ${use} ${text} dense, quartiles ${figures.range(ratio, figures.times)}, ${figures.rate(tokensPerSecond.median)} tokens/s`,
  };
}

function speedPictures(record: CompressRecord): Picture[] {
  const sparse = record.variants.filter((v) => v.spec);
  if (sparse.length === 0) return [];
  const most = Math.max(...USES.map((use) => reach(sparse.map((v) => speedRow(v, use)))));
  return USES.map((use): Picture => {
    const bound = Number(recipeText(record.recipe, "promise", use));
    const faster = sparse.filter((v) => v[use].ratio.median >= 1);
    const slower = sparse.filter((v) => v[use].ratio.median < 1);
    const tell = (vs: readonly VariantResult[]): string =>
      list(vs.map((v) => `“${v.label}” (${figures.times(v[use].ratio.median)})`));
    const what = use === "decode" ? "Decode" : "Prefill";
    return {
      id: `speed-${use}`,
      title: use === "decode" ? "Decode speed: one token after another" : "Prefill speed: reading the prompt",
      svg: rows({
        rows: sparse.map((v) => speedRow(v, use)),
        x: `${use}, times as fast as dense`,
        ...STYLE[use],
        lines: [
          { at: 1, text: "dense" },
          ...(Number.isFinite(bound) ? [{ at: bound, text: `promised ${bound}x`, dashed: true }] : []),
        ],
        format: ratioFormat,
        most,
      }),
      legend: [{ name: "median", swatch: swatch(STYLE[use]) }],
      finding: `${[
        faster.length > 0 && `${what} is at least as fast as dense with ${tell(faster)}`,
        slower.length > 0 && `${what.toLowerCase()} is slower than dense with ${tell(slower)}`,
      ]
        .filter(Boolean)
        .join("; ")
        .replace(/^./, (c) => c.toUpperCase())}.`,
      note: "Thick bar: quartiles. Thin line: slowest and fastest round. Paired with dense inside of each round.",
    };
  });
}

function forecastPicture(use: Use, curvesOfUse: readonly ForecastCurve[], series: readonly Series[]): Picture | null {
  const points = curvesOfUse.flatMap((c) =>
    c.points.map(
      (p): Point => ({
        series: c.pattern,
        x: p.sparsity,
        y: p.model,
        low: p.low,
        high: p.high,
        title: `${p.pattern}: ${figures.times(p.model)} dense at ${figures.percent(p.sparsity, 0)} zeros`,
      }),
    ),
  );
  if (points.length === 0) return null;
  const shown = series.filter((s) => points.some((p) => p.series === s.name));
  return {
    id: `forecast-${use}`,
    title: `Forecast: ${use}`,
    svg: curves({
      points,
      series: shown,
      x: "zeros",
      y: "whole model, times as fast as dense",
      lines: [{ at: 1, text: "break\neven" }],
      log: true,
      format: (v) => figures.times(v, 1),
    }),
    legend: legendOf(shown),
    finding: `${use === "decode" ? "Decode" : "Prefill"}: ${list(
      curvesOfUse.map((c) => {
        const from = paysFrom(c.breakEven);
        return from === undefined
          ? `${c.pattern} does not pay at any sparsity that was measured`
          : `${c.pattern} pays ${from}`;
      }),
    )}.`,
    note: "Before anything was pruned: this model's layer shapes on this machine, plus what no sparsity shortens.",
  };
}

function forecastPictures(record: CompressRecord): Picture[] {
  const all = forecastCurves(record);
  const series = patternSeries(record);
  return USES.flatMap((use) => {
    const picture = forecastPicture(
      use,
      all.filter((c) => c.use === use),
      series,
    );
    return picture ? [picture] : [];
  });
}

function foretoldPicture(record: CompressRecord): Picture | null {
  const told = record.variants.flatMap((v) =>
    USES.flatMap((use) => {
      const { forecast } = v[use];
      if (!v.spec || forecast === undefined || !Number.isFinite(forecast)) return [];
      const off = forecast / v[use].ratio.median - 1;
      return [{ v, use, forecast, off }];
    }),
  );
  if (told.length === 0) return null;
  const worst = told.reduce((a, b) => (Math.abs(b.off) > Math.abs(a.off) ? b : a));
  const sign = (off: number): string => `${off < 0 ? "−" : "+"}${figures.percent(Math.abs(off), 0)}`;
  return {
    id: "foretold",
    title: "Forecast against measured",
    svg: rows({
      rows: told.map(({ v, use, forecast, off }): Row => {
        const row = speedRow(v, use);
        return {
          ...row,
          label: `${v.label}: ${use}`,
          expected: forecast,
          text: sign(off),
          title: `${row.title}; forecast ${figures.times(forecast)}`,
        };
      }),
      x: "times as fast as dense",
      colour: PALETTE[2],
      symbol: "circle",
      lines: [{ at: 1, text: "dense" }],
      format: ratioFormat,
    }),
    legend: [
      { name: "measured, with spread", swatch: swatch({ colour: PALETTE[2], symbol: "circle" }) },
      { name: "forecast", swatch: swatch({ colour: "currentColor", symbol: "diamond" }, true) },
    ],
    finding: `The forecast was furthest off for “${worst.v.label}”, ${worst.use}: ${figures.times(worst.forecast)} foretold, ${figures.times(worst.v[worst.use].ratio.median)} measured (${sign(worst.off)}).`,
    note: "At the right: forecast over measured.",
  };
}

export interface PictureGroup {
  readonly title: string;
  readonly pictures: readonly Picture[];
}

const present = (pictures: readonly (Picture | null)[]): Picture[] => pictures.filter((p): p is Picture => p !== null);

/** All pictures that this record has numbers for, in the order of the page. */
export function pictureGroups(record: CompressRecord): PictureGroup[] {
  return [
    { title: "Quality and bytes", pictures: present([qualityPicture(record), bytesPicture(record)]) },
    { title: "Speed", pictures: speedPictures(record) },
    { title: "Forecast", pictures: present([...forecastPictures(record), foretoldPicture(record)]) },
    { title: "Layers", pictures: layerPictures(record) },
  ].filter((g) => g.pictures.length > 0);
}
