/** The time left, against arithmetic by hand. */
import { expect, test } from "vitest";
import { estimate, type Share } from "./estimate.ts";

const share = (over: Partial<Share>): Share => ({ paper: 1, gflop: 100, alone: false, done: 0, seconds: 0, ...over });

test("nothing measured yet: the work at 20 GFLOP/s, over the processes", () => {
  expect(estimate([share({}), share({}), share({}), share({})], 2)).toEqual({ done: 0, secondsLeft: 10 });
});

test("the measured speed corrects the estimate, each paper by its own", () => {
  const slow = [share({ done: 1, seconds: 50 }), share({})];
  const fast = [share({ paper: 2, done: 1, seconds: 1 }), share({ paper: 2 })];
  expect(estimate(slow, 1)).toEqual({ done: 0.5, secondsLeft: 50 });
  const { done, secondsLeft } = estimate([...slow, ...fast], 1);
  expect(secondsLeft).toBeCloseTo(51, 9);
  expect(done).toBeCloseTo(0.5, 9);
});

test("a paper that has not begun goes by what the others took", () => {
  expect(estimate([share({ done: 1, seconds: 10 }), share({ paper: 2, gflop: 300 })], 1).secondsLeft).toBeCloseTo(30);
});

test("the longest cell bounds the rest, however many processes; cells that run alone are added", () => {
  const long = share({ gflop: 1000 });
  expect(estimate([long, share({}), share({})], 8).secondsLeft).toBeCloseTo(50);
  expect(estimate([long, share({ alone: true }), share({ alone: true })], 8).secondsLeft).toBeCloseTo(60);
});

test("a cell that is half done counts by half, and a finished run by all", () => {
  expect(estimate([share({ done: 0.5, seconds: 5 })], 4)).toEqual({ done: 0.5, secondsLeft: 5 });
  expect(estimate([share({ done: 1, seconds: 5 })], 4)).toEqual({ done: 1, secondsLeft: 0 });
  expect(estimate([], 2)).toEqual({ done: 1, secondsLeft: 0 });
});
