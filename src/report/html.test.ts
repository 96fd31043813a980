import { parseHTML } from "linkedom";
import { describe, expect, test } from "vitest";
import type { CompressRecord } from "../pipeline/record.ts";
import { qualityOf, spreadOf, syntheticRecord } from "./fixtures/record.ts";
import { reportHtml } from "./html.ts";

const BAD_WORDS = /\b(?:NaN|undefined|null|Infinity)\b|\[object/;

function pageOf(record: CompressRecord) {
  const text = reportHtml(record);
  const { document } = parseHTML(text);
  const body = document.querySelector("body");
  if (!body) throw new Error("no body");
  return { text, document, body, all: (selector: string) => [...document.querySelectorAll(selector)] };
}

const words = (node: { textContent: string | null } | null): string =>
  (node?.textContent ?? "").replace(/[\s\u00a0]+/g, " ").trim();

const withCommas = (n: number): string => new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 }).format(n);

describe("the page of a whole record", () => {
  const record = syntheticRecord();
  const { text, body, document, all } = pageOf(record);

  test("its sections come in order", () => {
    expect(all("main > section").map((s) => s.id)).toEqual([
      "lead",
      "variants",
      "pictures",
      "text",
      "layers",
      "provenance",
    ]);
    expect(document.querySelector("html")?.getAttribute("lang")).toBe("en");
    expect(document.title).toContain(record.model.folder);
  });

  test("it leads with the promise: kept or not, each line with bound and value", () => {
    const lead = words(document.querySelector("#lead"));
    expect(lead).toMatch(/^The promise is kept: “4x1 60 %, recovered”/);
    const lines = all(".promise li").map(words);
    expect(lines).toHaveLength(record.promise.length);
    for (const [i, p] of record.promise.entries()) {
      expect(lines[i]).toContain(p.what);
      expect(lines[i]).toContain(p.value.toFixed(2));
      expect(lines[i]).toContain(`${p.atMost ? "at most" : "at least"} ${p.bound.toFixed(2)}`);
    }
    expect(lead).toContain(`Recommended: “${record.recommended}”`);
    expect(lead).toContain(record.forecast.recommendation);
  });

  test("every figure of every variant is in its row of the table, dense first", () => {
    const rows = all("#variants > .wide:first-of-type tbody tr");
    expect(rows).toHaveLength(record.variants.length);
    for (const [i, v] of record.variants.entries()) {
      const cells = [...rows[i].querySelectorAll("th, td")].map(words);
      expect(cells[0]).toMatch(new RegExp(`^${v.label.replace(/[()]/g, ".")}`));
      const range = (s: { low: number; high: number }, write: (x: number) => string) =>
        `${write(s.low)}–${write(s.high)}`;
      const two = (x: number): string => x.toFixed(2);
      expect(cells.slice(1)).toEqual([
        v.quality.perplexity.toFixed(2),
        `${v.ratio.toFixed(3)}x`,
        `${(100 * v.achieved).toFixed(1)} %`,
        expect.stringMatching(new RegExp(`^${(100 * v.bytes.share).toFixed(1)} % [\\d.]+ [kM]B$`)),
        `${withCommas(v.decode.tokensPerSecond.median)} ${range(v.decode.tokensPerSecond, withCommas)}`,
        v.spec ? `${two(v.decode.ratio.median)}x ${range(v.decode.ratio, two)}` : "1.00x",
        `${withCommas(v.prefill.tokensPerSecond.median)} ${range(v.prefill.tokensPerSecond, withCommas)}`,
        v.spec ? `${two(v.prefill.ratio.median)}x ${range(v.prefill.ratio, two)}` : "1.00x",
      ]);
    }
    expect(words(rows[0])).toMatch(/^dense/);
    expect(words(rows[1])).toContain("0.62x"); // a loss, as plain as a gain
  });

  test("it asks for nothing: no script, no address, and a policy that forbids both", () => {
    expect(all("script, iframe, object, embed, img, video, audio, form, base")).toEqual([]);
    expect(all("link").map((l) => l.getAttribute("href"))).toEqual(["data:,"]);
    expect(text).not.toMatch(/https?:|\burl\(|@import|\bsrc=|\bon[a-z]+=|javascript:/i);
    expect(document.querySelector('meta[http-equiv="Content-Security-Policy"]')?.getAttribute("content")).toMatch(
      /^default-src 'none'; style-src 'unsafe-inline'/,
    );
  });

  test("no word of a program's in the text, in labels or in pictures", () => {
    expect(words(body)).not.toMatch(BAD_WORDS);
    expect(text).not.toMatch(BAD_WORDS);
  });

  test("every picture has a label with its finding, a caption, and marks for all of its data", () => {
    const figures = all("figure");
    const marks = Object.fromEntries(
      figures.map((f) => {
        const image = f.querySelector('[role="img"]');
        const label = image?.getAttribute("aria-label") ?? "";
        expect(label.length).toBeGreaterThan(30);
        expect(label).toMatch(/\d/);
        expect(words(f.querySelector("figcaption")).length).toBeGreaterThan(30);
        expect(image?.querySelectorAll("svg")).toHaveLength(1);
        expect(image?.querySelector("svg")?.getAttribute("aria-hidden")).toBe("true");
        expect(image?.querySelectorAll("style")).toHaveLength(0);
        return [f.id.replace("picture-", ""), image?.querySelectorAll("title").length];
      }),
    );
    const sparse = record.variants.filter((v) => v.spec);
    const forecastPoints = (use: "decode" | "prefill") =>
      record.forecast[use].model.reduce((n, c) => n + c.points.length, 0);
    const layers = sparse[0].layers.length;
    expect(marks).toEqual({
      quality: record.curve.length,
      bytes: record.curve.length + sparse.length,
      "speed-decode": sparse.length,
      "speed-prefill": sparse.length,
      "forecast-decode": forecastPoints("decode"),
      "forecast-prefill": forecastPoints("prefill"),
      foretold: 2 * sparse.filter((v) => v.decode.forecast !== undefined).length,
      "layers-sparsity": layers,
      "layers-decode": layers,
      "layers-prefill": layers,
    });
    const ids = all("[id]").map((e) => e.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("the shapes that make up each picture", () => {
    const shapes = Object.fromEntries(
      all("figure").map((f) => {
        const svg = f.querySelector('[role="img"] svg');
        const n = (tag: string): number => svg?.querySelectorAll(tag).length ?? 0;
        return [
          f.id.replace("picture-", ""),
          `${n("path")} paths, ${n("circle")} circles, ${n("line")} lines, ${n("rect")} rects, ${n("text")} texts`,
        ];
      }),
    );
    expect(shapes).toMatchInlineSnapshot(`
      {
        "bytes": "28 paths, 1 circles, 8 lines, 0 rects, 14 texts",
        "forecast-decode": "23 paths, 0 circles, 17 lines, 0 rects, 10 texts",
        "forecast-prefill": "24 paths, 0 circles, 18 lines, 0 rects, 11 texts",
        "foretold": "10 paths, 4 circles, 9 lines, 0 rects, 16 texts",
        "layers-decode": "0 paths, 0 circles, 0 lines, 42 rects, 56 texts",
        "layers-prefill": "0 paths, 0 circles, 0 lines, 42 rects, 56 texts",
        "layers-sparsity": "0 paths, 0 circles, 0 lines, 42 rects, 56 texts",
        "quality": "22 paths, 3 circles, 6 lines, 0 rects, 12 texts",
        "speed-decode": "6 paths, 4 circles, 10 lines, 0 rects, 17 texts",
        "speed-prefill": "10 paths, 0 circles, 10 lines, 0 rects, 17 texts",
      }
    `);
  });

  test("tables have captions and scopes", () => {
    expect(all("table").length).toBeGreaterThan(5);
    for (const t of all("table")) expect(words(t.querySelector("caption")).length).toBeGreaterThan(10);
    expect(all("thead th").every((h) => h.getAttribute("scope") === "col")).toBe(true);
    expect(all("tbody th").every((h) => h.getAttribute("scope") === "row")).toBe(true);
    for (const row of all("tbody tr")) expect(row.querySelectorAll("th")).toHaveLength(1);
  });

  test("text of every variant, dense beside the recommended one", () => {
    const titles = all("#text section h3").map(words);
    expect(titles).toHaveLength(record.variants.length);
    expect(titles[0]).toMatch(/^dense/);
    expect(titles[1]).toMatch(/^4x1 60 %, recovered/);
    for (const v of record.variants) {
      expect(all("#text blockquote").map((b) => b.textContent)).toContain(record.prompt + v.sample);
    }
  });

  test("layers with what computes them and why", () => {
    const layers = words(document.querySelector("#layers"));
    const reasons = record.variants.flatMap((v) => (v.spec ? v.layers : [])).map((l) => l.decode.reason);
    for (const reason of new Set(reasons)) expect(layers).toContain(reason);
  });

  test("provenance: machine, software, protocol, recipe, stages", () => {
    const told = words(document.querySelector("#provenance"));
    const { machine, node, v8, date } = record.provenance;
    for (const s of [
      machine.cpu,
      machine.platform,
      node,
      v8,
      date,
      "non-overlapping windows",
      "test-long.txt",
      "65,280",
    ])
      expect(told).toContain(s);
    for (const s of record.stages) expect(told).toContain(s.name);
    expect(document.querySelector("#provenance pre")?.textContent).toContain("  perplexityRatio: 1.1\n");
  });
});

test("with several seeds, each line says how far they lie apart", () => {
  const record = syntheticRecord();
  const promise = record.promise.map((p, i) => (i === 0 ? { ...p, perSeed: [1.061, 1.094, 1.083] } : p));
  const lines = pageOf({ ...record, promise })
    .all(".promise li")
    .map(words);
  expect(lines[0]).toContain("1.061 to 1.094 over 3 seeds");
  expect(lines[1]).not.toContain("seeds");
});

test("a broken promise leads, with the line that broke it", () => {
  const record = syntheticRecord();
  const promise = record.promise.map((p, i) => (i === 1 ? { ...p, value: 1.2996, kept: false } : p));
  const { document, all } = pageOf({ ...record, promise });
  expect(words(document.querySelector(".verdict"))).toBe(
    "The promise is not kept: for “4x1 60 %, recovered” decode over the best dense is 1.2996, not at least 1.30.",
  );
  expect(all(".promise li.broken").map(words)).toEqual([expect.stringContaining("✗ not kept")]);
});

test("text of the record stays text, wherever it stands", () => {
  const evil = `"><script>alert(1)</script><img src=x onerror='alert(2)'></svg></style>&amp;{{x}}`;
  const record = syntheticRecord();
  const hostile: CompressRecord = {
    ...record,
    prompt: `${evil}prompt`,
    recommended: `${evil}3`,
    recipe: { ...(record.recipe as object), [evil]: evil, text: { table: evil, curve: evil } },
    stages: [{ name: evil, seconds: 1 }],
    model: { ...record.model, folder: evil },
    provenance: { ...record.provenance, machine: { ...record.provenance.machine, cpu: evil }, date: evil },
    forecast: { ...record.forecast, recommendation: evil, measured: evil },
    curve: record.curve.map((c) => ({ ...c, method: evil, pattern: evil })),
    promise: record.promise.map((p) => ({ ...p, what: evil })),
    variants: record.variants.map((v, i) => ({
      ...v,
      label: `${evil}${i}`,
      spec: v.spec && { ...v.spec, method: evil, pattern: evil },
      sample: `${evil}\u0000\u001b[2J`,
      folder: evil,
      layers: v.layers.map((l, j) => ({
        ...l,
        name: j % 2 === 0 ? `${l.name}.${evil}` : `${evil}${j}`,
        decode: { kernel: evil, reason: evil },
        prefill: { kernel: evil, reason: evil },
      })),
    })),
  };
  const clean = pageOf(record);
  const { text, all, document } = pageOf(hostile);
  expect(all("script, img, [onerror]")).toEqual([]);
  expect(text).not.toContain("<script");
  expect(text).not.toContain("\u0000");
  expect(document.title).toBe(`Which sparsity pays: ${evil}`);
  expect(all("#text blockquote")[0].textContent).toBe(`${evil}prompt${evil}\ufffd\ufffd[2J`);
  expect(all("#picture-quality title")[0].textContent).toContain(evil);
  // The page is built as the clean one is: nothing broke out of its place.
  expect(all("main > section").map((s) => s.id)).toEqual(clean.all("main > section").map((s) => s.id));
  expect(all("figure").map((f) => f.id)).toEqual(clean.all("figure").map((f) => f.id));
  expect(all("style")).toHaveLength(1);
});

describe("records with less in them", () => {
  const record = syntheticRecord();
  const bare = (r: CompressRecord): void => {
    const text = reportHtml(r);
    expect(text).not.toMatch(BAD_WORDS);
    expect(text).toContain("</html>");
  };
  const [dense, ...sparse] = record.variants;
  const noForecast = { ...record.forecast, recommendation: "" };

  test("no curve, no forecast curves, nothing foretold", () => {
    const r: CompressRecord = {
      ...record,
      curve: [],
      forecast: {
        ...noForecast,
        decode: { ...record.forecast.decode, model: [], shapes: [] },
        prefill: { ...record.forecast.prefill, model: [] },
      },
      variants: [
        dense,
        ...sparse.map(({ decode, prefill, ...v }) => ({
          ...v,
          decode: { tokensPerSecond: decode.tokensPerSecond, ratio: decode.ratio },
          prefill: { tokensPerSecond: prefill.tokensPerSecond, ratio: prefill.ratio },
        })),
      ],
    };
    bare(r);
    const ids = pageOf(r)
      .all("figure")
      .map((f) => f.id);
    expect(ids).not.toContain("picture-quality");
    expect(ids.filter((id) => id.includes("forecast") || id.includes("foretold"))).toEqual([]);
    expect(ids).toContain("picture-bytes");
  });

  test("a pattern without a forecast, a curve with one point", () => {
    const decode = record.forecast.decode;
    const one = { ...decode.model[0], points: decode.model[0].points.slice(2, 3), breakEven: null };
    const r = {
      ...record,
      curve: record.curve.slice(0, 1),
      forecast: { ...record.forecast, decode: { ...decode, model: [one, { ...decode.model[2], points: [] }] } },
    };
    bare(r);
    const label = pageOf(r).document.querySelector("#picture-forecast-decode [role=img]")?.getAttribute("aria-label");
    expect(label).toContain("4x1 does not pay at any sparsity that was measured");
    expect(label).not.toContain("unstructured");
  });

  test("the dense model alone", () => {
    bare({ ...record, curve: [], variants: [dense], recommended: "", promise: [] });
    bare({ ...record, curve: [], variants: [], recommended: "gone", promise: [], stages: [], recipe: null });
  });

  test("one round, no layers, no bits per byte, figures that are none", () => {
    const once = { tokensPerSecond: spreadOf(12, 0, 1), ratio: spreadOf(1.5, 0, 1) };
    const none = {
      tokensPerSecond: spreadOf(Number.NaN, 0, 1),
      ratio: spreadOf(Number.NaN, 0, 1),
      forecast: Number.NaN,
    };
    const quality = { ...qualityOf(20, 4096), bitsPerByte: null };
    const variants = record.variants.map((v) => ({
      ...v,
      quality,
      layers: [],
      decode: once,
      prefill: none,
      ratio: Number.NaN,
    }));
    const curve = record.curve.map((c) => ({ ...c, perplexity: Number.NaN }));
    bare({ ...record, variants, curve, denseCurve: quality });
    bare({ ...record, curve: [{ ...record.curve[0], perplexity: 1e9 }, ...record.curve.slice(1)] });
  });

  test("several seeds show their spread", () => {
    const variants = [dense, ...sparse.map((v) => ({ ...v, ratios: [1.061, 1.094, 1.083] }))];
    const { document } = pageOf({ ...record, variants });
    expect(words(document.querySelector("#variants caption"))).toContain("mean of 3 seeds");
    expect(words(document.querySelector("#variants"))).toContain("1.061–1.094");
  });
});
