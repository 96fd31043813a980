/**
 * Numbers as a reader sees them, in the page and in the terminal alike. A value that is not finite is a dash: nothing
 * here ever prints NaN, Infinity, null or undefined.
 */
import type { Spread } from "../pipeline/record.ts";

export const DASH = "–";

type Maybe = number | null | undefined;

const finite = (x: Maybe): x is number => typeof x === "number" && Number.isFinite(x);

const say = (x: Maybe, write: (x: number) => string): string => (finite(x) ? write(x) : DASH);

/** 25.104 -> "25.10", 1234.5 -> "1,235"; large values without decimals. */
export const perplexity = (x: Maybe): string => say(x, (v) => (v < 1000 ? v.toFixed(2) : count(Math.round(v))));

/** 0.62 -> "0.62x" */
export const times = (x: Maybe, decimals = 2): string => say(x, (v) => `${v.toFixed(decimals)}x`);

/** 0.5 -> "50.0 %" */
export const percent = (x: Maybe, decimals = 1): string => say(x, (v) => `${(100 * v).toFixed(decimals)} %`);

/** 1234567 -> "1.23 MB"; powers of 1000. */
export function bytes(x: Maybe): string {
  if (!finite(x)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = x;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${Math.round(value)} B` : `${value.toPrecision(3)} ${units[unit]}`;
}

/** 1234567 -> "1,234,567" */
export const count = (x: Maybe): string =>
  say(x, (v) =>
    Math.round(v)
      .toString()
      .replace(/\B(?=(\d{3})+$)/g, ","),
  );

/** Tokens per second: three figures at least. */
export const rate = (x: Maybe): string => say(x, (v) => (v >= 100 ? count(v) : v.toPrecision(3)));

export function seconds(x: Maybe): string {
  if (!finite(x)) return DASH;
  if (x < 10) return `${x.toFixed(1)} s`;
  const whole = Math.round(x);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${String(whole % 60).padStart(2, "0")} s`
    : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Lower to upper quartile, "1.48–1.55"; empty for a single measurement. */
export const range = (s: Spread, write: (x: number) => string): string =>
  s.repeats > 1 ? `${write(s.low).replace(/x$/, "")}–${write(s.high).replace(/x$/, "")}` : "";

/**
 * Value and bound with so many decimals, 2 to 6, that a value on the wrong side of its bound does not look like it:
 * 1.1004 against at most 1.1 is "1.1004", not "1.10".
 */
export function against(value: Maybe, bound: number): { readonly value: string; readonly bound: string } {
  const text = bound.toFixed(2);
  if (!finite(value)) return { value: DASH, bound: text };
  let decimals = 2;
  while (decimals < 6 && value !== bound && Number(value.toFixed(decimals)) === Number(bound.toFixed(decimals))) {
    decimals++;
  }
  return { value: value.toFixed(decimals), bound: text };
}

/** The spaces between a figure and its unit made unbreakable. */
export const steady = (text: string): string => text.replace(/(\d) (?=%|s\b|min\b|[kMGT]?B\b)/g, "$1\u00a0");
