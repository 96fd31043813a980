import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, shutdown } from "../core/engine.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import { createRunner, type Runner } from "../runtime/runner.ts";
import { compareSpeed } from "./speed.ts";

beforeAll(() => initSync({ threads: 1 }));
afterAll(shutdown);

/** A runner whose calls advance a clock instead of computing. */
function fake(perStep: number, perPromptToken: number, tick: (ms: number) => void, contextLength = 64): Runner {
  let position = 0;
  const log: string[] = [];
  const runner = {
    contextLength,
    model: { config: { vocabSize: 100 } },
    log,
    get position() {
      return position;
    },
    reset: () => {
      position = 0;
    },
    rewind: (to: number) => {
      position = to;
    },
    prefill: (ids: ArrayLike<number>) => {
      position += ids.length;
      log.push(`p${ids[0]},${ids.length}`);
      tick(perPromptToken * ids.length);
    },
    step: (id: number) => {
      log.push(`s${id}@${position}`);
      position++;
      tick(perStep);
    },
  };
  return runner as unknown as Runner;
}

test("tokens per second and paired ratios, by a clock that slows down", async () => {
  let now = 0;
  const tick = (ms: number): void => {
    now += ms * (1 + now / 5000);
  };
  const dense = fake(0.4, 0.1, tick);
  const sparse = fake(0.2, 0.025, tick);
  const done: number[] = [];
  const options = {
    promptTokens: 20,
    tokens: 8,
    rounds: 12,
    clock: () => now,
    onProgress: (d: number) => done.push(d),
  };
  const [a, b] = await compareSpeed([dense, sparse], options);
  expect(a.decode.ratio).toMatchObject({ median: 1, min: 1, max: 1 });
  expect(Math.abs(b.decode.ratio.median - 2)).toBeLessThan(0.03);
  expect(Math.abs(b.prefill.ratio.median - 4)).toBeLessThan(0.06);
  // On a machine that has become slower: 1000 / 0.4 steps a second are the most there can be.
  expect(a.decode.tokensPerSecond.max).toBeLessThan(2500);
  expect(a.decode.tokensPerSecond.median).toBeGreaterThan(1000);
  expect(b.decode.tokensPerSecond.repeats).toBe(12);
  expect(done.at(-1)).toBe(1);
  expect([...done].sort((x, y) => x - y)).toEqual(done);
  // The same ids for both, decode always from the end of the prompt.
  const logs = [dense, sparse].map((r) => new Set((r as unknown as { log: string[] }).log));
  expect(logs[0]).toEqual(logs[1]);
  expect(logs[0].size).toBe(1 + 8);
  expect([...logs[0]].filter((l) => l.startsWith("s")).map((l) => Number(l.split("@")[1]))).toEqual([
    20, 21, 22, 23, 24, 25, 26, 27,
  ]);
});

test("real runners: positive figures, left empty", async () => {
  const runners = [await createRunner(await tinyModel()), await createRunner(await tinyModel({ layers: 1 }))];
  const speed = await compareSpeed(runners, { rounds: 2, promptTokens: 8, tokens: 4 });
  for (const s of speed) {
    expect(s.decode.tokensPerSecond.min).toBeGreaterThan(0);
    expect(s.prefill.ratio.min).toBeGreaterThan(0);
  }
  expect(runners.map((r) => r.position)).toEqual([0, 0]);
  await expect(compareSpeed(runners, { promptTokens: 60, tokens: 5 })).rejects.toThrow(/at most 64 together/);
  await expect(compareSpeed(runners, { rounds: 2, signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow(
    "stop",
  );
  for (const r of runners) r.dispose();
});
