/**
 * The charts: small functions over Observable Plot with one style, drawn in Node on linkedom's DOM, returned as SVG text.
 *
 * One SVG serves light, dark and paper: text and axes are `currentColor`, halos `var(--paper)`, and the palette has at
 * least 3:1 contrast on white and on near-black. Series differ in shape as well as in colour. Charts are drawn 340 wide
 * so that their text is readable at 360 pixels; wider screens show several beside each other instead of larger ones.
 * Nothing here knows records.
 */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

export const WIDTH = 340;

/** Told apart by colour-blind readers too; tests check contrast on both papers. */
export const PALETTE = ["#2f7fc6", "#d1580c", "#0d9070", "#b45fa9", "#8a7a12", "#7b7f8a", "#d0506f"] as const;
export const SYMBOLS = ["circle", "square", "triangle", "diamond", "cross", "star", "wye"] as const;
/** For what is dense in a chart of sparse things. */
export const GREY = "#7b7f8a";

const FONT = 12;
const SMALL = 11;
const { document } = parseHTML("<!doctype html><html><body></body></html>");

/** One series of a chart, in the order of the legend. */
export interface Series {
  readonly name: string;
  readonly colour: string;
  readonly symbol: (typeof SYMBOLS)[number];
}

/** Colours and shapes by position; both repeat after seven, at different lengths only if there were more shapes. */
export const seriesOf = (names: readonly string[]): Series[] =>
  names.map((name, i) => ({ name, colour: PALETTE[i % PALETTE.length], symbol: SYMBOLS[i % SYMBOLS.length] }));

export interface Point {
  readonly series: string;
  readonly x: number;
  readonly y: number;
  /** quartiles of y */
  readonly low?: number;
  readonly high?: number;
  /** shown when pointed at */
  readonly title: string;
}

type Marks = NonNullable<Plot.PlotOptions["marks"]>;

function draw(options: Plot.PlotOptions): string {
  const figure = Plot.plot({
    document: document as unknown as Document,
    className: "plot",
    width: WIDTH,
    style: { fontSize: `${FONT}px` },
    ...options,
  });
  figure.querySelector("style")?.remove(); // the page has the same rules once
  // The picture as a whole has a label; labels of its parts would be read out by some readers as well.
  for (const part of figure.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  figure.setAttribute("aria-hidden", "true");
  return figure.outerHTML;
}

/** Finite points only: one bad number must not spoil a picture. */
const sound = <T extends { readonly x: number; readonly y: number }>(points: readonly T[]): T[] =>
  points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));

/** Ticks 1, 2, 5 x 10^k inside [low, high]; finer steps when that gives fewer than three. */
export function logTicks(low: number, high: number): number[] {
  for (const steps of [
    [1, 2, 5],
    [1, 1.5, 2, 3, 5, 7],
    [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9],
  ]) {
    const ticks: number[] = [];
    for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
      for (const s of steps) {
        const tick = Number((s * 10 ** k).toPrecision(3));
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    if (ticks.length >= 3) return ticks;
  }
  return [low, high].map((v) => Number(v.toPrecision(3)));
}

/** Every 10 % on a short axis, else every 20 %. */
function percentTicks(low: number, high: number): number[] {
  const step = high - low > 0.55 ? 2 : 1;
  const ticks: number[] = [];
  for (let t = Math.ceil(low * 10 - 1e-9); t <= high * 10 + 1e-9; t++) if (t % step === 0) ticks.push(t / 10);
  return ticks;
}

export interface CurveOptions {
  readonly points: readonly Point[];
  readonly series: readonly Series[];
  /** labels of the axes, units included */
  readonly x: string;
  readonly y: string;
  /** horizontal lines that matter (the dense model, the break-even, a bound), named at their right end; \n breaks */
  readonly lines?: readonly { readonly at: number; readonly text: string; readonly dashed?: boolean }[];
  /** logarithmic y when the values span more than a factor of 3; else from zero if asked */
  readonly log?: boolean;
  readonly zero?: boolean;
  readonly format: (y: number) => string;
}

/** Curves of y against sparsity (0 to 1 in, shown in percent), a dot at each measured point. */
export function curves(options: CurveOptions): string {
  const points = sound(options.points);
  const lines = (options.lines ?? []).filter((l) => Number.isFinite(l.at));
  const ys = [...points.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]), ...lines.map((l) => l.at)];
  const least = Math.min(...ys);
  const most = Math.max(...ys);
  const log = options.log === true && least > 0 && most / least > 3;
  const room = log ? 1.12 : (most - least || Math.abs(most) || 1) * 0.08;
  // Room below a logarithmic curve for the name of a line at its foot.
  const low = log ? least / (room * room) : options.zero ? 0 : least - room;
  const high = log ? most * room : most + room;
  const xs = points.map((p) => p.x);
  const near = Math.max(0, Math.floor(10 * Math.min(...xs) - 0.5) / 10);
  const far = Math.min(1, Math.max(near + 0.2, Math.ceil(10 * Math.max(...xs) + 0.5) / 10));
  const longest = Math.max(0, ...lines.flatMap((l) => l.text.split("\n").map((part) => part.length)));
  const marks: Marks = [
    Plot.ruleY(
      lines.filter((l) => !l.dashed),
      { y: "at", strokeWidth: 1.25, strokeOpacity: 0.75 },
    ),
    Plot.ruleY(
      lines.filter((l) => l.dashed),
      { y: "at", strokeWidth: 1.25, strokeOpacity: 0.75, strokeDasharray: "4,3" },
    ),
    Plot.line(points, { x: "x", y: "y", z: "series", stroke: "series", strokeWidth: 1.75 }),
    Plot.ruleX(
      points.filter((p) => p.low !== undefined && p.high !== undefined),
      { x: "x", y1: "low", y2: "high", stroke: "series", strokeWidth: 3, strokeOpacity: 0.5 },
    ),
    // Later series are drawn smaller, so that points in one place stay visible under each other.
    ...options.series.map((own, i) =>
      Plot.dot(
        points.filter((p) => p.series === own.name),
        {
          x: "x",
          y: "y",
          symbol: own.symbol,
          fill: own.colour,
          stroke: "var(--paper)",
          strokeWidth: 1,
          r: Math.max(3, 6 - 0.9 * i),
          title: "title",
        },
      ),
    ),
    Plot.text(lines, {
      frameAnchor: "right",
      y: "at",
      text: "text",
      textAnchor: "start",
      lineAnchor: "middle",
      dx: 5,
      fill: "currentColor",
      fontSize: SMALL,
    }),
  ];
  return draw({
    height: 250,
    marginLeft: 46,
    marginRight: Math.max(14, 10 + 6.4 * longest),
    marginTop: 26,
    marginBottom: 38,
    x: {
      domain: [near, far],
      label: options.x,
      labelAnchor: "center",
      labelArrow: "none",
      ticks: percentTicks(near, far),
      tickFormat: (v: number) => `${Math.round(100 * v)} %`,
    },
    y: {
      type: log ? "log" : "linear",
      domain: [low, high],
      label: options.y,
      labelArrow: "none",
      ticks: log ? logTicks(low, high) : 5,
      tickFormat: options.format,
      grid: true,
    },
    color: { domain: options.series.map((s) => s.name), range: options.series.map((s) => s.colour) },
    marks,
  });
}

export interface Row {
  readonly label: string;
  readonly value: number;
  /** quartiles and extremes, when measured more than once */
  readonly low?: number;
  readonly high?: number;
  readonly min?: number;
  readonly max?: number;
  /** what was foretold: a hollow diamond */
  readonly expected?: number;
  readonly text: string;
  readonly title: string;
}

export interface RowOptions {
  readonly rows: readonly Row[];
  readonly x: string;
  readonly colour: string;
  readonly symbol: (typeof SYMBOLS)[number];
  readonly lines: readonly { readonly at: number; readonly text: string; readonly dashed?: boolean }[];
  readonly format: (x: number) => string;
  /** end of the axis, so that two pictures can be compared */
  readonly most?: number;
}

/** Largest value that rows and lines reach. */
export const reach = (rows: readonly Row[]): number =>
  Math.max(
    0,
    ...rows
      .flatMap((r) => [r.value, r.max, r.high, r.expected])
      .filter((v) => Number.isFinite(v))
      .map(Number),
  );

/** One row each: its name above, a dot with bars of spread, the value at the right. From zero. */
export function rows(options: RowOptions): string {
  const band = 40;
  const data = options.rows
    .filter((r) => Number.isFinite(r.value))
    .map((r, i) => ({ ...r, at: i, nameAt: i - 0.26, dotAt: i + 0.16 }));
  const lines = options.lines.filter((l) => Number.isFinite(l.at));
  const most = Math.max(options.most ?? 0, reach(data), ...lines.map((l) => l.at)) * 1.06 || 1;
  const halo = { stroke: "var(--paper)", strokeWidth: 4, paintOrder: "stroke" } as const;
  const marks: Marks = [
    Plot.ruleX(
      lines.filter((l) => !l.dashed),
      { x: "at", strokeWidth: 1.25, strokeOpacity: 0.75 },
    ),
    Plot.ruleX(
      lines.filter((l) => l.dashed),
      { x: "at", strokeWidth: 1.25, strokeOpacity: 0.75, strokeDasharray: "4,3" },
    ),
    Plot.ruleY(
      data.filter((r) => r.min !== undefined && r.max !== undefined),
      { y: "dotAt", x1: "min", x2: "max", stroke: options.colour, strokeWidth: 1.5 },
    ),
    Plot.ruleY(
      data.filter((r) => r.low !== undefined && r.high !== undefined),
      { y: "dotAt", x1: "low", x2: "high", stroke: options.colour, strokeWidth: 7, strokeOpacity: 0.45 },
    ),
    Plot.dot(data, {
      x: "value",
      y: "dotAt",
      symbol: options.symbol,
      fill: options.colour,
      stroke: "var(--paper)",
      strokeWidth: 1,
      r: 5,
      title: "title",
    }),
    Plot.dot(
      data.filter((r) => r.expected !== undefined),
      { x: "expected", y: "dotAt", symbol: "diamond", stroke: "currentColor", strokeWidth: 1.75, r: 5 },
    ),
    Plot.text(data, {
      x: () => 0,
      y: "nameAt",
      text: "label",
      textAnchor: "start",
      fill: "currentColor",
      lineWidth: 20,
      textOverflow: "ellipsis",
      ...halo,
    }),
    Plot.text(data, {
      frameAnchor: "right",
      y: "nameAt",
      text: "text",
      textAnchor: "end",
      fontWeight: "bold",
      fontVariant: "tabular-nums",
      fill: "currentColor",
      ...halo,
    }),
    // The first line's name ends at it, the others' start at theirs: two lines near each other do not collide.
    ...[lines.slice(0, 1), lines.slice(1)].map((some, i) =>
      Plot.text(some, {
        x: "at",
        frameAnchor: i === 0 ? "top-right" : "top-left",
        dx: i === 0 ? 3 : -3,
        dy: -16,
        text: "text",
        fill: "currentColor",
        ...halo,
      }),
    ),
  ];
  return draw({
    height: 66 + band * Math.max(1, data.length),
    marginLeft: 10,
    marginRight: 14,
    marginTop: 26,
    marginBottom: 40,
    x: {
      domain: [0, most],
      label: options.x,
      labelAnchor: "center",
      labelArrow: "none",
      ticks: 5,
      tickFormat: options.format,
    },
    y: { domain: [-0.5, Math.max(1, data.length) - 0.5], reverse: true, axis: null },
    marks,
  });
}

export interface Cell {
  readonly x: string;
  readonly y: string;
  readonly fill: string;
  readonly opacity?: number;
  readonly text: string;
  readonly title: string;
}

/** A grid of labelled cells: columns `x`, rows `y`, both in their given order. */
export function grid(options: {
  readonly cells: readonly Cell[];
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly y: string;
  /** colour of the text in the cells */
  readonly ink: string;
}): string {
  const widest = Math.max(0, ...options.rows.map((r) => r.length));
  return draw({
    height: 34 + 26 + Math.max(1, options.rows.length) * 24,
    marginLeft: Math.max(42, Math.min(150, 18 + 7 * widest)),
    marginRight: 4,
    marginTop: 34,
    marginBottom: 6,
    x: { type: "band", domain: options.columns, label: null, axis: "top", tickSize: 0, padding: 0.06 },
    y: {
      type: "band",
      domain: options.rows,
      label: options.y,
      labelAnchor: "top",
      labelArrow: "none",
      tickSize: 0,
      padding: 0.08,
    },
    marks: [
      Plot.cell(options.cells, {
        x: "x",
        y: "y",
        fill: "fill",
        fillOpacity: (c: Cell) => c.opacity ?? 1,
        rx: 2,
        title: "title",
      }),
      Plot.text(options.cells, { x: "x", y: "y", text: "text", fill: options.ink, fontSize: SMALL }),
    ],
    color: { type: "identity" },
    opacity: { type: "identity" },
  });
}

/** A swatch of a legend: the series' shape in its colour. */
export function swatch(series: Pick<Series, "colour" | "symbol">, hollow = false): string {
  const figure = Plot.plot({
    document: document as unknown as Document,
    className: "swatch",
    width: 14,
    height: 14,
    margin: 0,
    axis: null,
    marks: [
      Plot.dot([0], {
        frameAnchor: "middle",
        symbol: series.symbol,
        ...(hollow ? { stroke: series.colour, strokeWidth: 1.75 } : { fill: series.colour }),
        r: 4.5,
      }),
    ],
  });
  figure.querySelector("style")?.remove();
  figure.setAttribute("aria-hidden", "true");
  for (const part of figure.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  return figure.outerHTML;
}
