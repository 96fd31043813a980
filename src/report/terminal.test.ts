import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { CompressRecord } from "../pipeline/record.ts";
import { qualityOf, spreadOf, syntheticRecord } from "./fixtures/record.ts";
import { plain, reportText, width } from "./terminal.ts";

/** Any text: ASCII with its controls and marks, and code points from everywhere but surrogates. */
const anyText = fc
  .array(fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0x10ffff)), { maxLength: 60 })
  .map((points) => String.fromCodePoint(...points.filter((p) => p < 0xd800 || p > 0xdfff)));

const relabel = (label: string): CompressRecord => {
  const record = syntheticRecord();
  const variants = record.variants.map((v, i) => (i === 4 ? { ...v, label } : v));
  const promise = record.promise.map((p, i) => (i === 0 ? { ...p, what: label } : p));
  const { machine } = record.provenance;
  const provenance = { ...record.provenance, machine: { ...machine, cpu: label } };
  return { ...record, variants, recommended: label, promise, provenance };
};

test("promise, table, recommendation, forecast, in 80 columns", () => {
  expect(reportText(syntheticRecord(), 80)).toMatchInlineSnapshot(`
    "The promise is kept: “4x1 60 %, recovered” stays within all 4 bounds.
      kept      perplexity over dense                        1.07  at most 1.10
      kept      decode over the best dense                   1.42  at least 1.30
      kept      prefill over the best dense                  1.57  at least 1.30
      kept      bytes of the prunable weights over BF16      0.46  at most 0.55

    variant                perplexity  to dense   zeros    bytes  of BF16
    dense                       23.42    1.000x   0.0 %  2.36 MB  100.0 %
    SparseGPT 50 %              27.53    1.176x  50.0 %  1.33 MB   56.3 %
    SparseGPT 2:4               31.20    1.333x  50.0 %  1.33 MB   56.3 %
    4x1 80 %                   187.91    8.025x  80.0 %   623 kB   26.4 %
    4x1 60 %, recovered *       25.07    1.070x  60.0 %  1.09 MB   46.3 %

    tokens/s               decode  to dense  quartiles  prefill  to dense  quartiles
    dense                   1,834     1.00x               9,271     1.00x
    SparseGPT 50 %          1,137     0.62x  0.59–0.65   10,013     1.08x  1.04–1.12
    SparseGPT 2:4           1,786     0.97x  0.93–1.02    9,188     0.99x  0.96–1.03
    4x1 80 %                3,551     1.94x  1.85–2.02   20,526     2.21x  2.14–2.29
    4x1 60 %, recovered *   2,601     1.42x  1.35–1.48   14,565     1.57x  1.52–1.63

    * Recommended: “4x1 60 %, recovered” (SparseGPT, 4x1 at 60 %, 160 recovery
      steps): perplexity 1.070x that of dense, 60.0 % zeros in 46.3 % of the BF16
      bytes, decode 1.42x and prefill 1.57x as fast as dense.
    Forecast: On this synthetic machine 4x1 pays from 50 % or less. Unstructured
      sparsity pays from 50 % or less in prefill and from 85 % in decode.
    Measured on Synthetic CPU, no such machine, 2 threads, Node 20.20.2, in 4 min
      41 s; medians of 15 interleaved rounds, below 1.00x is slower than dense."
  `);
});

describe("what is in it", () => {
  const record = syntheticRecord();
  const text = reportText(record, 80);

  test("a line for each variant, with its figures", () => {
    const lines = text.split("\n");
    for (const v of record.variants) {
      const own = lines.filter((l) => l.startsWith(v.label === record.recommended ? `${v.label} *` : `${v.label}  `));
      expect(own).toHaveLength(2);
      expect(own[0]).toContain(v.quality.perplexity.toFixed(2));
      expect(own[0]).toContain(`${v.ratio.toFixed(3)}x`);
      expect(own[0]).toContain(`${(100 * v.bytes.share).toFixed(1)} %`);
      expect(own[1]).toContain(`${v.decode.ratio.median.toFixed(2)}x`);
      expect(own[1]).toContain(`${v.prefill.ratio.median.toFixed(2)}x`);
    }
  });

  test("a broken promise says so, and by how much", () => {
    const promise = record.promise.map((p, i) => (i === 1 ? { ...p, value: 1.2996, kept: false } : p));
    const broken = reportText({ ...record, promise }, 80);
    expect(broken).toMatch(/^The promise is not kept/);
    expect(broken).toContain("1.2996");
    expect(broken).toContain("not kept  decode over the best dense");
  });

  test("colour only when asked, and the same text with it", () => {
    expect(text).not.toContain("\u001b");
    const coloured = reportText(record, 80, { colour: true });
    expect(coloured).toContain("\u001b[32m");
    expect(stripVTControlCharacters(coloured)).toBe(text);
  });

  test("files are named, their paths whole", () => {
    const path = `runs/${"long-".repeat(30)}/report.html`;
    expect(reportText(record, 80, { files: [{ what: "report", path }] })).toContain(`report  ${path}`);
  });
});

test("fits, whatever the labels, and moves no cursor", () => {
  const labels = [
    "a".repeat(200),
    "\u001b[2J\u001b[31mred\u0007",
    "日本語".repeat(20),
    "\u202Ereversed\u2066",
    "e\u0301".repeat(90),
    "line\nbreak\ttab\r",
    ...fc.sample(anyText, { seed: 2, numRuns: 60 }),
  ];
  for (const label of labels) {
    for (const columns of [60, 80, 133]) {
      const text = reportText(relabel(label), columns);
      expect(Math.max(...text.split("\n").map(width))).toBeLessThanOrEqual(columns);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: none but line feeds may be left
      expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
      expect(text).not.toMatch(/NaN|undefined|null|Infinity/);
    }
  }
});

test("nothing recommended, no promise, one measurement, figures that are none", () => {
  const record = syntheticRecord();
  const variants = record.variants.map((v) => ({
    ...v,
    quality: { ...qualityOf(20, 4096), perplexity: Number.NaN },
    ratio: Number.POSITIVE_INFINITY,
    decode: { tokensPerSecond: spreadOf(12, 0, 1), ratio: spreadOf(1.5, 0, 1) },
    prefill: { tokensPerSecond: spreadOf(Number.NaN, 0, 1), ratio: spreadOf(Number.NaN, 0, 1) },
  }));
  const text = reportText({ ...record, variants, promise: [], recommended: "" }, 80);
  expect(text).not.toMatch(/NaN|undefined|null|Infinity/);
  expect(text).toContain("No variant is recommended.");
  expect(reportText({ ...record, variants: [], curve: [], stages: [] }, 80)).toContain("No variant is recommended.");
});

test("plain text keeps letters of all scripts and drops what controls", () => {
  expect(plain("Zürich\n日本\u001b[0m\u202e!")).toBe("Zürich 日本[0m!");
});
