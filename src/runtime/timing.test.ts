import { expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { interleave, pairedRatio, rotate, spread } from "./timing.ts";

/** A machine of changing speed: work of `cost` takes cost * slowness(now) milliseconds. */
function machine(slowness: (now: number) => number) {
  let now = 0;
  return {
    clock: () => now,
    work: (cost: number) => {
      now += cost * slowness(now);
    },
  };
}

test("the median of paired ratios is right on a machine that drifts and jumps; the quotient of times is not", async () => {
  // Slower by the second, and in a state of 40 % speed for most of the time from 150 ms on.
  const m = machine((now) => (1 + now / 1500) * (now > 150 && now % 200 < 120 ? 2.5 : 1));
  const order: string[] = [];
  const variant = (name: string, cost: number) => ({ name, run: () => m.work(cost), prepare: () => order.push(name) });
  const t = await interleave([variant("dense", 0.3), variant("sparse", 0.1)], {
    rounds: 31,
    clock: m.clock,
    warmUp: 1,
  });
  expect(t.rounds).toBe(31);
  const ratio = t.ratio("sparse", "dense");
  expect(Math.abs(ratio.median - 3)).toBeLessThan(0.05);
  expect(ratio.repeats).toBeGreaterThan(20);
  // The machine changed by more than the difference between the variants.
  const dense = t.variants[0].time;
  expect(dense.max / dense.min).toBeGreaterThan(3);
  expect(order.slice(-4)).toEqual(["sparse", "dense", "dense", "sparse"]);
});

test("slices that another program interrupted do not count", async () => {
  const m = machine(() => 1);
  const draws = stream(2, "interrupt");
  let turn = 0;
  // Half of the slices lose the core for 4 to 40 ms.
  const variant = (name: string, cost: number) => ({
    name,
    run: () => m.work(cost),
    prepare: () => {
      interrupted = turn > 20 && draws.uniform(turn) < 0.5 ? 4 + 36 * draws.uniform(turn + 1e6) : 0;
      turn++;
    },
  });
  let interrupted = 0;
  // The interruption falls between the two readings of the clock that make a slice.
  const late = (v: ReturnType<typeof variant>) => ({
    ...v,
    run: () => {
      m.work(interrupted);
      interrupted = 0;
      v.run();
    },
  });
  const variants = [variant("dense", 0.3), variant("sparse", 0.1)].map(late);
  const t = await interleave(variants, { rounds: 25, slice: 3, warmUp: 1, clock: () => m.clock() });
  const ratio = t.ratio("sparse", "dense");
  expect(Math.abs(ratio.median - 3)).toBeLessThan(0.01);
  expect(ratio.high / ratio.low).toBeLessThan(1.01);
  expect(ratio.repeats).toBeLessThan(20);
  // Without that the quartiles lie far apart.
  const all = spread(t.variants[1].times.map((x, i) => t.variants[0].times[i] / x));
  expect(all.high / all.low).toBeGreaterThan(1.5);
});

test("a steady drift inside of rounds cancels between rounds that run forth and back", async () => {
  const m = machine((now) => Math.exp(now / 400));
  const same = (name: string) => ({ name, run: () => m.work(0.5) });
  const t = await interleave([same("a"), same("b")], { rounds: 20, slice: 5, clock: m.clock, warmUp: 1 });
  // One order alone would show e^(5/400) or more for equal work.
  expect(Math.abs(t.ratio("a", "b").median - 1)).toBeLessThan(0.02);
});

test("slices have the length asked for, and a budget stops the rounds", async () => {
  const m = machine(() => 1);
  const t = await interleave([{ name: "a", run: () => m.work(0.25) }], { slice: 10, rounds: 5, clock: m.clock });
  expect(t.variants[0].calls).toBe(40);
  expect(t.variants[0].time.median).toBeCloseTo(0.25, 9);
  const short = await interleave([{ name: "a", run: () => m.work(1) }], { rounds: 50, budget: 60, clock: m.clock });
  expect(short.rounds).toBeGreaterThanOrEqual(3);
  expect(short.rounds).toBeLessThan(8);
});

test("spread: median, quartiles, extremes", () => {
  expect(spread([5, 1, 3, 2, 4])).toEqual({ median: 3, low: 2, high: 4, min: 1, max: 5, repeats: 5 });
  expect(spread([1, 2]).median).toBe(1.5);
  expect(pairedRatio([1, 2, 4], [2, 4, 8])).toMatchObject({ min: 2, max: 2, median: 2 });
  // Noise that hits both sides of a pair alike leaves the ratio alone.
  const noise = Array.from({ length: 101 }, (_, i) => 1 + 5 * stream(3, "noise").uniform(i));
  expect(
    pairedRatio(
      noise,
      noise.map((t) => 1.5 * t),
    ).max,
  ).toBeCloseTo(1.5, 12);
});

test("rotate walks round", () => {
  const seen: number[] = [];
  const next = rotate(3, (i) => seen.push(i));
  for (let i = 0; i < 7; i++) next();
  expect(seen).toEqual([0, 1, 2, 0, 1, 2, 0]);
});

test("errors: nothing to do, a clock that stands still, an abort", async () => {
  await expect(interleave([], { rounds: 0 })).rejects.toThrow(LacunaError);
  await expect(interleave([{ name: "a", run: () => {} }], { clock: () => 0 })).rejects.toThrow(/no time/);
  const stop = AbortSignal.abort(new Error("stop"));
  await expect(interleave([{ name: "a", run: () => {} }], { signal: stop })).rejects.toThrow("stop");
});
