import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { Rate, Row } from "../bench/src/outcome.ts";
import { boundOf, promised, type Records, type SuiteRecord, speedPage } from "./speed-doc.ts";

const row = (id: string, ratio: number, more: Partial<Row> = {}): Row => ({
  ...{ id, what: "w", shape: "s", sparsity: 0, threads: 1, over: "tfjs-wasm" },
  ...{ ratio, low: ratio - 0.1, high: ratio + 0.1, repeats: 5, atLeast: 2, aim: 2.5 },
  ...more,
});
const rate = (id: string, value: number): Rate => ({
  ...{ id, what: "w", shape: "s", threads: 1, unit: "GFLOP/s" },
  ...{ value, low: value, high: value, repeats: 5 },
});
const record = (suite: string, rows: readonly Row[], rates: readonly Rate[] = []): SuiteRecord => ({
  ...{ suite, date: "2026-01-02T03:04:00.000Z", rows, rates },
  machine: { cpu: "A", cores: 2, loadBefore: 0.1 },
  versions: { node: "20.0.0", commit: "abc", peers: { peer: "1.0.0" } },
});

test("docs/speed.md is what the records say", async () => {
  expect(await readFile(new URL("../docs/speed.md", import.meta.url), "utf8")).toBe(speedPage());
});

test("rows in the order of the lines; only promised ones; one without a line is refused", () => {
  const records: Records = {
    spmm: record("spmm", [row("spmm/csr-90/n196/over-tfjs", 7), row("spmm/x", 1, { atLeast: null, aim: null })]),
    gemm: record("gemm", [row("gemm/8x2048x2048/over-tfjs", 1.6), row("gemm/512x512x512/over-tfjs", 1.3)]),
  };
  expect(promised(records).map((f) => f.row.id)).toEqual([
    "gemm/512x512x512/over-tfjs",
    "gemm/8x2048x2048/over-tfjs",
    "spmm/csr-90/n196/over-tfjs",
  ]);
  expect(() => promised({ gemm: record("gemm", [row("gemm/7x7x7/over-tfjs", 1)]) })).toThrow("gemm/7x7x7/over-tfjs");
});

test("misses are named, with what bounds them from the rates of the records", () => {
  const missed = row("gemm/8x2048x2048/over-tfjs", 1.6);
  const even = row("spmm/even/csr/n64", 0.45, { over: "own dense", atLeast: 0.5, aim: 0.4 });
  const records: Records = {
    gemm: record("gemm", [missed], [rate("gemm/8x2048x2048/lacuna", 36), rate("gemm/8x2048x2048/tfjs-wasm", 22.5)]),
    spmm: record("spmm", [even]),
    ceiling: record("ceiling", [], [rate("ceiling/multiply-add", 54), rate("ceiling/reading-2", 27)]),
  };
  const page = speedPage(records);
  expect(page).toContain("1 of 2 recorded rows");
  expect(page).toContain("| 2.00 | 2.50 | 1.60 (1.50 to 1.70) | **missed** |");
  expect(page).toContain("| 50 % | 40 % | 45 % (35 % to 55 %) | reached |");
  // 16 MiB at 27 GB/s are 0.62 ms of the 1.86 ms that 67 MFLOP take at 36 GFLOP/s
  expect(boundOf(missed, records)).toContain("2.40 times tfjs-wasm. The weight's 16 MiB");
  expect(boundOf(missed, records)).toContain("takes 0.33 of the time");
  expect(boundOf(missed, { gemm: records.gemm })).toBeUndefined();
  expect(speedPage({ gemm: records.gemm })).toContain("What bounds it was not looked into.");
});
