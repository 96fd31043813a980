/** Ratios and rates: paired, with their spread or not at all. */
import { expect, test } from "vitest";
import { interleave, type Timing } from "../../src/runtime/timing.ts";
import { type Outcome, print, printJson, type Row, rateOf, ratioRow, reached, rowOf } from "./outcome.ts";

/** Interleaved run of variants that take as long as they say, on a clock of their own. */
async function timed(rounds: number, costs: Readonly<Record<string, readonly number[]>>): Promise<Timing> {
  let now = 0;
  const variants = Object.entries(costs).map(([name, list]) => {
    let i = -3; // the first three calls warm up
    return {
      name,
      run: () => {
        now += i < 0 ? list[0] : list[i];
        i++;
      },
    };
  });
  return interleave(variants, { rounds, slice: 1e-6, warmUp: 0, clock: () => now });
}

const fields = { id: "a/over-b", what: "a", shape: "1 x 1", threads: 1, over: "b" };

test("a ratio is the median of quotients within rounds, not the quotient of medians", async () => {
  const timing = await timed(5, { a: [1, 1, 1, 2, 1.5], b: [1.25, 1.5, 3, 3, 3] });
  const row = ratioRow(timing, "a", "b", fields);
  // quotients 1.25, 1.5, 3, 1.5, 2; of medians 3
  expect(row).toEqual({
    ...fields,
    sparsity: 0,
    ratio: 1.5,
    low: 1.5,
    high: 2,
    repeats: 5,
    atLeast: null,
    aim: null,
  } satisfies Row);
});

test("a rate has its quartiles the right way round", async () => {
  const timing = await timed(5, { a: [10, 20, 40, 50, 100] });
  const rate = rateOf(timing, "a", 2, { id: "a", what: "a", shape: "", threads: 1, unit: "tokens/s" });
  expect([rate.low, rate.value, rate.high]).toEqual([40, 50, 100]);
});

test("no ratio without a spread", async () => {
  const two = await timed(2, { a: [1, 1], b: [2, 2] });
  expect(() => ratioRow(two, "a", "b", fields)).toThrow("comes from 2 rounds");
  expect(() => rateOf(two, "a", 1, { ...fields, unit: "x" })).toThrow("comes from 2 rounds");
  const good = ratioRow(await timed(3, { a: [1, 1, 1], b: [2, 2, 2] }), "a", "b", fields);
  const bad: Row[] = [
    { ...good, low: Number.NaN },
    { ...good, low: 2.1 },
    { ...good, high: Number.POSITIVE_INFINITY },
    { ...good, repeats: 1 },
  ];
  for (const row of bad) {
    const outcome: Outcome = { rows: [row], rates: [], counts: [], notes: [] };
    expect(() => print(outcome)).toThrow("bench: a/over-b");
    expect(() => printJson(outcome)).toThrow("bench: a/over-b");
  }
});

test("an aim below the gate: less is better", () => {
  const spread = { low: 0.3, high: 0.5, repeats: 5 };
  const row = (median: number): Row => rowOf({ median, ...spread }, { ...fields, atLeast: 0.4, aim: 0.35 });
  expect([0.34, 0.4, 0.41].map((x) => reached(row(x)))).toEqual([
    { gate: true, aim: true },
    { gate: true, aim: false },
    { gate: false, aim: false },
  ]);
  const text = (median: number): string => print({ rows: [row(median)], rates: [], counts: [], notes: [] });
  expect(text(0.41)).toContain("MISSED: at most 0.4, aim 0.35");
  expect(text(0.34)).toContain("reached: at most 0.4, aim 0.35 reached");
  expect(reached(rowOf({ median: 0.35, ...spread }, fields))).toEqual({ gate: false, aim: false });
});

test("what is printed: quartiles beside each ratio, misses named, JSON with the agreed fields only", async () => {
  const timing = await timed(3, { a: [1, 1, 1], b: [2, 2.5, 3] });
  const row = ratioRow(timing, "a", "b", { ...fields, sparsity: 0.8, atLeast: 3, aim: 4 });
  const outcome: Outcome = { rows: [row], rates: [], counts: [], notes: ["n"] };
  expect(print(outcome)).toContain("2.50 (2.25 to 2.75, 3 rounds)");
  expect(print(outcome)).toContain("MISSED: at least 3, aim 4");
  const parsed = JSON.parse(printJson(outcome)) as Record<string, unknown>[];
  expect(Object.keys(parsed[0])).toEqual(
    "id what shape sparsity threads over ratio low high repeats atLeast aim".split(" "),
  );
});
