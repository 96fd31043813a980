/**
 * Fairness of `train`: every contestant computes the same network. Losses of plain Adam steps from the same weights agree,
 * and the check notices each part of the network that is changed.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, shutdown } from "../../../src/core/engine.ts";
import { stream } from "../../../src/core/random.ts";
import type { LlamaConfig } from "../../../src/models/llama/config.ts";
import { tinyConfig } from "../../../src/models/llama/tiny.ts";
import { CHECKED_STEPS, type Contestant, checkLosses, LOSS_TOLERANCE, openTrainer } from "../suites/train.ts";
import { open } from "./lacuna.ts";
import { livelyWeights, type TrainSetup } from "./setup.ts";

const config = tinyConfig({ vocabSize: 61, tied: true });
const [BATCH, TOKENS] = [3, 16];

function setup(fields: Partial<LlamaConfig> = {}): TrainSetup {
  const draws = stream(1, "ids");
  const ids = (b: number): Int32Array =>
    Int32Array.from({ length: BATCH * TOKENS }, (_, i) => draws.below(1000 * b + i, config.vocabSize));
  const batches = [0, 1].map((b) => ({ inputs: ids(2 * b), targets: ids(2 * b + 1) }));
  const c = { ...config, ...fields };
  return {
    config: c,
    weights: livelyWeights(c),
    batches,
    batch: BATCH,
    tokens: TOKENS,
    rate: 3e-3,
    optimiser: {},
    threads: 1,
  };
}

const peers: readonly Contestant[] = [
  { name: "tfjs", module: "tfjs", threads: 1 },
  { name: "tfjs, transposes", module: "tfjs", threads: 1, transposes: true },
  { name: "jax", module: "jax", threads: 1 },
];

/** Lacuna's losses, in this isolate. */
async function own(fields: Partial<LlamaConfig> = {}, threads = 1): Promise<number[]> {
  await init({ threads });
  return (await open({ ...setup(fields), threads })).losses(CHECKED_STEPS);
}

async function losses(c: Contestant, s: TrainSetup): Promise<number[]> {
  const seat = await openTrainer(c, s);
  const found = seat.call<number[]>("losses", CHECKED_STEPS);
  expect(seat.call("losses", CHECKED_STEPS), `${c.name} starts anew each time`).toEqual(found);
  expect(Number.isFinite(seat.call<number>("step"))).toBe(true);
  await seat.close();
  return found;
}

let reference: number[] = [];
beforeAll(async () => {
  reference = await own();
});
afterAll(shutdown);

test.each(peers)("$name computes Lacuna's network", async (peer) => {
  // Losses of about 4.4 in f32, summed in other orders: the bench tolerates twenty times more.
  const apart = checkLosses(peer.name, reference, await losses(peer, setup()));
  expect(apart).toBeLessThan(LOSS_TOLERANCE / 20);
  // Steps change the loss, so that agreeing on later ones says something about gradients and updates.
  expect(Math.abs(reference[2] - reference[0])).toBeGreaterThan(0.05);
});

test("two threads give the same bits", async () => {
  expect(await own({}, 2)).toEqual(reference);
});

test.each([
  ["rotary angles", { ropeTheta: 100 }],
  ["grouping of heads", { kvHeads: 1 }],
  ["norm epsilon", { normEps: 0.05 }],
  ["depth", { layers: 1 }],
] as const)("a network that differs in its %s is refused", async (_, fields) => {
  const other = await own(fields);
  expect(() => checkLosses("other", reference, other)).toThrow("other does not compute the same network");
});

test("losses that are missing or not numbers are refused", () => {
  expect(() => checkLosses("a", [1, 2], [1])).toThrow("does not compute");
  expect(() => checkLosses("a", [1, 2], [1, Number.NaN])).toThrow("does not compute");
});
