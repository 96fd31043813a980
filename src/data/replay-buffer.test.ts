/** Reservoir sampling is fair, and the buffer keeps what belongs together. */
import { expect, test } from "vitest";
import { examples } from "./examples.ts";
import { ReplayBuffer, reservoir } from "./replay-buffer.ts";

test("each example seen is in the buffer with probability capacity / seen: chi-square over 10,000 buffers", () => {
  const [capacity, seen, trials] = [3, 10, 10_000];
  const held = new Float64Array(seen);
  for (let seed = 0; seed < trials; seed++) {
    const place = reservoir(capacity, seed);
    const buffer = new Int32Array(capacity);
    for (let n = 0; n < seen; n++) if (place(n) >= 0) buffer[place(n)] = n;
    for (const n of buffer) held[n]++;
  }
  const wanted = (trials * capacity) / seen;
  // counts of one buffer sum to 3, which takes the factor (1 - 3/10) off the variance
  const chi = held.reduce((s, h) => s + (h - wanted) ** 2 / wanted, 0) / (1 - capacity / seen);
  // 9 degrees of freedom: 27.9 is exceeded once in 1,000
  expect(chi).toBeLessThan(27.9);
});

const set = examples({
  name: "numbers",
  shape: [2],
  classes: 5,
  x: Float32Array.from({ length: 200 }, (_, i) => i),
  y: Uint8Array.from({ length: 100 }, (_, i) => i % 5),
});

test("values, labels, ids and outputs of an example stay together", () => {
  const buffer = new ReplayBuffer(8, set, 1);
  for (let at = 0; at < 100; at += 10) {
    const places = Int32Array.from({ length: 10 }, (_, i) => at + i);
    buffer.add(
      set,
      places,
      Float32Array.from({ length: 50 }, (_, i) => at + Math.floor(i / 5) + (i % 5) / 10),
    );
    expect(buffer.count).toBe(Math.min(8, at + 10));
  }
  expect(buffer.seen).toBe(100);
  const { x, y, ids, count } = buffer.examples;
  expect(count).toBe(8);
  expect(Math.max(...ids)).toBeGreaterThan(20);
  ids.forEach((id, i) => {
    expect([...x.subarray(2 * i, 2 * i + 2)]).toEqual([2 * id, 2 * id + 1]);
    expect(y[i]).toBe(id % 5);
    expect(buffer.outputs(Int32Array.of(i))[3]).toBeCloseTo(id + 0.3, 4);
  });
});

test("draws are of different examples, another each time, the same for the same seed", () => {
  const [a, b] = [1, 1].map((seed) => {
    const buffer = new ReplayBuffer(50, set, seed);
    buffer.add(
      set,
      Int32Array.from({ length: 60 }, (_, i) => i),
      new Float32Array(300),
    );
    return [buffer.draw(20), buffer.draw(20)];
  });
  expect(b).toEqual(a);
  expect(a[0]).not.toEqual(a[1]);
  for (const draw of a) expect(new Set(draw).size).toBe(20);
  const small = new ReplayBuffer(50, set, 1);
  small.add(set, Int32Array.of(4, 5), new Float32Array(10));
  expect([...small.draw(20)].sort()).toEqual([0, 1]);
  expect(() => small.add(set, Int32Array.of(1), new Float32Array(2))).toThrow(/one head/);
});
