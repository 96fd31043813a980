import { expect, test } from "vitest";
import * as figures from "./figures.ts";
import { spreadOf } from "./fixtures/record.ts";

test("figures as they are read", () => {
  expect(figures.perplexity(25.1)).toBe("25.10");
  expect(figures.perplexity(123456.7)).toBe("123,457");
  expect(figures.times(0.619)).toBe("0.62x");
  expect(figures.percent(0.4627)).toBe("46.3 %");
  expect([0, 999, 999_499, 999_600, 1_234_567, 3_600_000_000].map(figures.bytes)).toEqual([
    "0 B",
    "999 B",
    "999 kB",
    "1.00 MB",
    "1.23 MB",
    "3.60 GB",
  ]);
  expect([0, 999, 1000, 1234567].map(figures.count)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect([8.2, 99.4, 1834.2].map(figures.rate)).toEqual(["8.20", "99.4", "1,834"]);
  expect([0.26, 9.96, 59.4, 59.6, 61, 3599.6, 7380].map(figures.seconds)).toEqual([
    "0.3 s",
    "10.0 s",
    "59 s",
    "1 min 00 s",
    "1 min 01 s",
    "1 h 00 min",
    "2 h 03 min",
  ]);
});

test("what is no number is a dash", () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, null, undefined]) {
    for (const write of [
      figures.perplexity,
      figures.times,
      figures.percent,
      figures.bytes,
      figures.count,
      figures.rate,
      figures.seconds,
    ]) {
      expect(write(bad)).toBe("–");
    }
    expect(figures.against(bad, 1.1)).toEqual({ value: "–", bound: "1.10" });
  }
});

test("a spread is its quartiles; one measurement has none", () => {
  expect(figures.range(spreadOf(2, 0.1), figures.times)).toBe("1.90–2.10");
  expect(figures.range(spreadOf(2, 0.1, 1), figures.times)).toBe("");
});

test("a value on the wrong side of a bound is never written like the bound", () => {
  expect(figures.against(1.07, 1.1)).toEqual({ value: "1.07", bound: "1.10" });
  expect(figures.against(1.1, 1.1)).toEqual({ value: "1.10", bound: "1.10" });
  expect(figures.against(1.1004, 1.1)).toEqual({ value: "1.1004", bound: "1.10" });
  expect(figures.against(1.29996, 1.3)).toEqual({ value: "1.29996", bound: "1.30" });
});
