import { expect, test } from "vitest";
import { constant, cosine, cubic, linear } from "./schedule.ts";

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
