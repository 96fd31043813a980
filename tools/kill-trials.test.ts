import { afterAll, beforeAll, expect, test } from "vitest";
import { type Driver, drive } from "../src/cli/drive.ts";
import { killPruning, killTraining, sound } from "./kill-trials.ts";

let cli: Driver;

beforeAll(async () => {
  cli = await drive();
}, 60_000);

afterAll(() => cli?.dispose());

test("killed three times each, training ends with the same weights, and pruning leaves nothing partial", async () => {
  const train = await killTraining(cli, 3, 2);
  expect(train).toMatchObject({ kills: 3, identical: train.finished });
  const prune = await killPruning(cli, 3, 2);
  expect(prune).toMatchObject({ kills: 3, recovered: 3, refused: prune.leftovers, left: { partial: 0 } });
  expect(sound(train, prune)).toBe(true);
}, 120_000);

test("the verdict notices each thing that can go wrong", () => {
  const train = { kills: 3, duringWrites: 1, finished: 2, identical: 2, steps: 40 };
  const left = { none: 2, whole: 1, partial: 0 };
  const prune = { kills: 3, duringWrites: 1, left, leftovers: 2, refused: 2, recovered: 3 };
  expect(sound(train, prune)).toBe(true);
  expect(sound({ ...train, identical: 1 }, prune)).toBe(false);
  expect(sound({ ...train, finished: 0, identical: 0 }, prune)).toBe(false);
  expect(sound(train, { ...prune, left: { ...left, whole: 0, partial: 1 } })).toBe(false);
  expect(sound(train, { ...prune, refused: 1 })).toBe(false);
  expect(sound(train, { ...prune, recovered: 2 })).toBe(false);
});
