import { parseHTML } from "linkedom";
import { describe, expect, test } from "vitest";
import { curves, GREY, grid, logTicks, PALETTE, type Point, rows, SYMBOLS, seriesOf, swatch } from "./plot.ts";
import { STYLE } from "./style.ts";

/** Relative luminance, WCAG 2. */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5]
    .map((i) => Number.parseInt(hex.slice(i, i + 2), 16) / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

/** Variables of the light and of the dark scheme. */
const schemes = STYLE.split("@media screen")
  .slice(0, 2)
  .map((part) => Object.fromEntries([...part.matchAll(/--(\w+): (#[0-9a-f]{6})/g)].map((m) => [m[1], m[2]])));

test("contrast: 3:1 for shapes, 4.5:1 for text, in both schemes (WCAG 2.2, 1.4.11 and 1.4.3)", () => {
  expect(schemes.map((s) => Object.keys(s).length)).toEqual([7, 7]);
  for (const s of schemes) {
    for (const colour of [...PALETTE, GREY]) expect(contrast(colour, s.paper)).toBeGreaterThanOrEqual(3);
    for (const text of ["ink", "soft", "good", "bad"]) {
      expect(contrast(s[text], s.paper)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(s[text], s.panel)).toBeGreaterThanOrEqual(4.5);
    }
  }
  // The dark text inside of coloured cells.
  for (const colour of PALETTE) expect(contrast("#0b0d10", colour)).toBeGreaterThanOrEqual(4.5);
});

test("series differ in colour and in shape", () => {
  const series = seriesOf(["a", "b", "c", "d", "e", "f", "g"]);
  expect(new Set(series.map((s) => s.colour)).size).toBe(7);
  expect(new Set(series.map((s) => s.symbol)).size).toBe(7);
  const paths = SYMBOLS.map((symbol) => /<path[^>]* d="([^"]+)"/.exec(swatch({ colour: GREY, symbol }))?.[1]);
  expect(new Set(paths).size).toBe(7);
});

test("logarithmic ticks lie inside, ascend, and are at least three where that can be", () => {
  expect(logTicks(20, 700)).toEqual([20, 50, 100, 200, 500]);
  expect(logTicks(1, 10)).toEqual([1, 2, 5, 10]);
  for (const [low, high] of [
    [0.55, 3.2],
    [23.9, 80],
    [1, 1.3],
    [900, 1e6],
  ]) {
    const ticks = logTicks(low, high);
    expect(ticks.length).toBeGreaterThanOrEqual(2);
    expect([...ticks].sort((a, b) => a - b)).toEqual(ticks);
    expect(ticks.every((t) => t >= low * 0.99 && t <= high * 1.01)).toBe(true);
  }
});

const svgOf = (text: string) => {
  const { document } = parseHTML(`<!doctype html><html><body>${text}</body></html>`);
  const svg = document.querySelector("svg");
  if (!svg) throw new Error("no picture");
  return svg;
};

const titles = (text: string): (string | null)[] =>
  [...svgOf(text).querySelectorAll("title")].map((t) => t.textContent);

const point = (series: string, x: number, y: number): Point => ({ series, x, y, title: `${series} ${x}` });

describe("curves", () => {
  const series = seriesOf(["a", "b"]);
  const base = { series, x: "x", y: "y", format: String };

  test("a dot for each point and a line for each series, placed in order of value", () => {
    const text = curves({
      ...base,
      points: [point("a", 0.3, 10), point("a", 0.5, 20), point("b", 0.3, 12), point("b", 0.5, 40)],
      lines: [{ at: 8, text: "dense" }],
      log: true,
    });
    expect(titles(text)).toEqual(["a 0.3", "a 0.5", "b 0.3", "b 0.5"]);
    const svg = svgOf(text);
    const lines = [...svg.querySelectorAll("path")].filter((p) =>
      series.some((s) => s.colour === p.getAttribute("stroke")),
    );
    expect(lines).toHaveLength(2);
    const heights = [...svg.querySelectorAll("title")].map((t) => {
      const mark = t.parentElement;
      return Number(mark?.getAttribute("cy") ?? /,([\d.]+)\)/.exec(mark?.getAttribute("transform") ?? "")?.[1]);
    });
    // Larger values are higher up, and equal factors are equal distances on a logarithmic axis.
    expect(heights[0]).toBeGreaterThan(heights[2]);
    expect(heights[1] - heights[3]).toBeCloseTo(heights[0] - heights[1], 1); // 10 to 20 to 40
    expect(svg.textContent).toContain("dense");
  });

  test("no point, one point, and points that are no numbers", () => {
    for (const points of [[], [point("a", 0.5, 2)], [point("a", 0.5, Number.NaN), point("b", 0.4, 3)]]) {
      const text = curves({ ...base, points, lines: [{ at: 1, text: "one" }], log: true });
      expect(text).not.toMatch(/NaN|undefined|null|Infinity/);
      expect(titles(text)).toHaveLength(points.filter((p) => Number.isFinite(p.y)).length);
    }
    expect(curves({ ...base, points: [] })).not.toMatch(/NaN|undefined|null|Infinity/);
  });
});

describe("rows", () => {
  const base = {
    x: "x",
    colour: PALETTE[0],
    symbol: "circle",
    lines: [{ at: 1, text: "dense" }],
    format: String,
  } as const;

  test("a dot a row, bars where there is a spread, a diamond where something was expected", () => {
    const text = rows({
      ...base,
      rows: [
        { label: "one", value: 0.5, low: 0.4, high: 0.6, min: 0.3, max: 0.7, text: "0.5x", title: "first" },
        { label: "two", value: 2, expected: 1.8, text: "2.0x", title: "second" },
      ],
    });
    expect(titles(text)).toEqual(["first", "second"]);
    const svg = svgOf(text);
    expect(svg.textContent).toContain("0.5x");
    const bars = [...svg.querySelectorAll("g")].filter((g) => g.getAttribute("stroke") === PALETTE[0]);
    expect(bars.reduce((n, g) => n + g.querySelectorAll("line").length, 0)).toBe(2);
  });

  test("no rows", () => {
    expect(rows({ ...base, rows: [], lines: [] })).not.toMatch(/NaN|undefined|null|Infinity/);
  });
});

test("grid: a rectangle and a text for each cell", () => {
  const text = grid({
    cells: ["q", "k"].flatMap((x) =>
      ["0", "1", "2"].map((y) => ({ x, y, fill: GREY, opacity: 0.5, text: `${x}${y}`, title: `cell ${x} ${y}` })),
    ),
    columns: ["q", "k"],
    rows: ["0", "1", "2"],
    y: "block",
    ink: "#000000",
  });
  expect(svgOf(text).querySelectorAll("rect")).toHaveLength(6);
  expect(titles(text)).toHaveLength(6);
  expect(svgOf(text).querySelector("rect")?.parentElement?.innerHTML).toContain('fill-opacity="0.5"');
});
