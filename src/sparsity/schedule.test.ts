import { expect, test } from "vitest";
import { constant, cosine, cubic, everyEpochs, everySteps, exponential, linear, sine, stairs } from "./schedule.ts";

const at = (step: number) => ({ step, steps: 100 });

test("every ramp starts and ends exactly, and stands still outside its window", () => {
  for (const make of [linear, cubic, cosine]) {
    const ramp = make(0.1, 0.9, { begin: 0.2, end: 0.6 });
    for (const step of [0, 10, 20]) expect(ramp(at(step))).toBe(0.1);
    for (const step of [60, 75, 100]) expect(ramp(at(step))).toBe(0.9);
  }
});

test("midway values are the published ones", () => {
  expect(linear(0, 1)(at(25))).toBe(0.25);
  expect(cubic(0, 0.8)(at(50))).toBeCloseTo(0.7, 12); // 0.8 (1 - 1/8)
  expect(cosine(0.3, 0)(at(50))).toBeCloseTo(0.15, 12); // RigL's half wave
  expect(cosine(0.3, 0)(at(25))).toBeCloseTo(0.15 * (1 + Math.SQRT1_2), 12);
  expect(constant(0.4)(at(7))).toBe(0.4);
});

test("a run of no steps is at its end", () => expect(cubic(0, 0.5)({ step: 0, steps: 0 })).toBe(0.5));

test("exponential, sine and stairs", () => {
  expect(exponential(1, 0.02)(at(50))).toBeCloseTo(Math.sqrt(0.02), 12);
  expect(exponential(1, 0.02)(at(100))).toBe(0.02);
  expect(() => exponential(0, 0.5)).toThrow(/above 0/);
  expect(sine(0, 0.8)(at(50))).toBeCloseTo(0.8 * Math.SQRT1_2, 12);
  const lr = stairs([0.1, 0.01, 0.001], [0.5, 0.75]);
  expect([0, 49, 50, 74, 75, 100].map((s) => lr(at(s)))).toEqual([0.1, 0.1, 0.01, 0.01, 0.001, 0.001]);
});

test("Zhu and Gupta's cubic ramp at published points", () => {
  const s = cubic(0, 0.9);
  for (const [p, want] of [
    [0, 0],
    [10, 0.2439],
    [25, 0.5203125],
    [50, 0.7875],
    [75, 0.8859375],
    [100, 0.9],
  ]) {
    expect(s(at(p))).toBeCloseTo(want, 12);
  }
});

test("updates fall strictly inside of their span", () => {
  const when = everySteps(10, { until: 0.5 });
  expect(Array.from({ length: 101 }, (_, step) => step).filter((step) => when(at(step)))).toEqual([10, 20, 30, 40]);
  const epochs = everyEpochs(2);
  const ends = [1, 2, 3, 4, 5].map((e) => ({ step: 20 * e, steps: 100, epoch: e, epochEnd: true }));
  expect(ends.filter(epochs).map((t) => t.epoch)).toEqual([2, 4]);
  expect(epochs({ step: 41, steps: 100, epoch: 2, epochEnd: false })).toBe(false);
  expect(everyEpochs(1)({ step: 100, steps: 100, epoch: 5, epochEnd: true })).toBe(false);
});
