import { expect, test } from "vitest";
import { exp, ln, sinCosTurns } from "./elementary.ts";
import { fnv1a, philox, stream } from "./random.ts";

test("Philox4x32-10 gives the known-answer vectors of its authors", () => {
  expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const f = 0xffffffff;
  expect(philox([f, f, f, f], [f, f])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

test("FNV-1a gives its published values", () => {
  expect(fnv1a("")).toBe(0x811c9dc5);
  expect(fnv1a("a")).toBe(0xe40c292c);
  expect(fnv1a("foobar")).toBe(0xbf9cf968);
});

test("ln, exp, sin and cos agree with the host", () => {
  // 4 units in the last place.
  const close = (got: number, want: number) =>
    expect(Math.abs(got - want)).toBeLessThanOrEqual(1e-15 * Math.max(1, Math.abs(want)));
  for (let i = 1; i < 4000; i++) {
    close(ln(i / 37), Math.log(i / 37));
    close(ln(i * 1e-300), Math.log(i * 1e-300));
    const x = (i - 2000) / 90;
    expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(2e-15);
    const [s, c] = sinCosTurns(i / 4000);
    // The host's argument, 2 pi t, is itself rounded by up to 4.5e-16 here.
    expect(Math.abs(s - Math.sin((2 * Math.PI * i) / 4000))).toBeLessThan(2e-15);
    expect(Math.abs(c - Math.cos((2 * Math.PI * i) / 4000))).toBeLessThan(2e-15);
  }
});

test("uniform and normal draws have the right moments", () => {
  const n = 20_000;
  const s = stream(7, "moments");
  let mean = 0;
  let m1 = 0;
  let m2 = 0;
  let m4 = 0;
  for (let i = 0; i < n; i++) {
    mean += s.uniform(i) / n;
    const z = s.normal(i);
    m1 += z / n;
    m2 += (z * z) / n;
    m4 += z ** 4 / n;
  }
  // Four standard errors.
  expect(Math.abs(mean - 0.5)).toBeLessThan((4 * Math.sqrt(1 / 12)) / Math.sqrt(n));
  expect(Math.abs(m1)).toBeLessThan(4 / Math.sqrt(n));
  expect(Math.abs(m2 - 1)).toBeLessThan((4 * Math.sqrt(2)) / Math.sqrt(n));
  expect(Math.abs(m4 - 3)).toBeLessThan((4 * Math.sqrt(96)) / Math.sqrt(n));
});

test("a permutation holds every index once, and differs by index, name and seed", () => {
  const p = stream(1, "p").permutation(257);
  expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 257 }, (_, i) => i));
  expect(stream(1, "p").permutation(257)).toEqual(p);
  for (const other of [
    stream(1, "p").permutation(257, 1),
    stream(1, "q").permutation(257),
    stream(2, "p").permutation(257),
  ]) {
    expect(other).not.toEqual(p);
  }
});
