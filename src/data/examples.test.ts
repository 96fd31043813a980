import { describe, expect, it } from "vitest";
import {
  classCounts,
  type Examples,
  examples,
  first,
  ofClasses,
  perClass,
  poolImages,
  range,
  splitLastPerClass,
  stratified,
  take,
} from "./examples.ts";
import { affineOf, standardised, standardiser } from "./normalise.ts";
import { classGroups, permutedTasks, splitTasks } from "./tasks.ts";

/** 12 examples of [2] with class i mod 3 and values 10 i, 10 i + 1. */
const twelve = (): Examples =>
  examples({
    name: "twelve",
    shape: [2],
    classes: 3,
    x: Uint8Array.from({ length: 24 }, (_, i) => 10 * (i >> 1) + (i & 1)),
    y: Uint8Array.from({ length: 12 }, (_, i) => i % 3),
  });

describe("examples", () => {
  it("refuses arrays that do not belong together, and labels beyond the classes", () => {
    const y = new Uint8Array([0, 1, 2]);
    expect(() => examples({ name: "a", shape: [2], classes: 3, x: new Uint8Array(5), y })).toThrow(
      /3 examples of \[2\], 6 values, got 5/,
    );
    expect(() => examples({ name: "a", shape: [1], classes: 2, x: new Uint8Array(3), y })).toThrow(
      /labels from 0 to 1, got 2 for example 2/,
    );
  });

  it("takes ranges as views and places as copies, with the ids of the file", () => {
    const e = twelve();
    const part = range(e, 3, 6);
    expect([...part.x]).toEqual([30, 31, 40, 41, 50, 51]);
    expect([...part.ids]).toEqual([3, 4, 5]);
    expect(part.x.buffer).toBe(e.x.buffer);
    const some = take(part, [2, 0]);
    expect([...some.x]).toEqual([50, 51, 30, 31]);
    expect([...some.ids]).toEqual([5, 3]);
    expect([...some.y]).toEqual([2, 0]);
    expect(() => take(e, [12])).toThrow(/places from 0 to 11, got 12/);
    expect(() => first(e, 13)).toThrow(/range within its 12/);
  });

  it("finds classes: some of them, so many of each, the last of each", () => {
    const e = twelve();
    expect([...ofClasses(e, [2, 0]).ids]).toEqual([0, 2, 3, 5, 6, 8, 9, 11]);
    expect([...perClass(e, 2).ids]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(() => perClass(e, 5)).toThrow(/5 examples of each class, got 4 of class 0/);
    const { rest, last } = splitLastPerClass(e, 1);
    expect([...last.ids]).toEqual([9, 10, 11]);
    expect([...rest.ids]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("splits with equal shares of the classes, by seed, each example once", () => {
    const n = 100;
    const y = Uint8Array.from({ length: n }, (_, i) => (i < 60 ? 0 : 1));
    const e = examples({ name: "n", shape: [1], classes: 2, x: new Uint8Array(n), y });
    const s = stratified(e, { validation: 0.1, test: 0.25, seed: 1 });
    expect([...classCounts(s.test)]).toEqual([15, 10]);
    expect([...classCounts(s.validation)]).toEqual([6, 4]);
    const all = [...s.train.ids, ...s.validation.ids, ...s.test.ids].sort((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: n }, (_, i) => i));
    expect([...stratified(e, { validation: 0.1, test: 0.25, seed: 1 }).test.ids]).toEqual([...s.test.ids]);
    expect([...stratified(e, { validation: 0.1, test: 0.25, seed: 2 }).test.ids]).not.toEqual([...s.test.ids]);
  });

  it("averages pixels, a ragged edge over what it has", () => {
    const x = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, /* second channel */ 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    const e = examples({ name: "p", shape: [2, 3, 3], classes: 1, x, y: new Uint8Array(1) });
    const p = poolImages(e, 2);
    expect(p.shape).toEqual([2, 2, 2]);
    expect([...p.x]).toEqual([3, 4.5, 7.5, 9, 0, 0, 0, 9]);
    expect(p.scale).toBe(1 / 255);
    expect(() => poolImages(twelve(), 2)).toThrow(/images \[C, H, W\]/);
  });
});

describe("standardisation", () => {
  it("has mean 0 and deviation 1 on the set it was taken from; constant features become 0", () => {
    const x = Float32Array.from([1, 5, 2, 3, 5, 4, 8, 5, 9]);
    const e = examples({ name: "t", shape: [3], classes: 1, x, y: new Uint8Array(3) });
    const n = standardiser(e, "feature");
    expect([...n.mean]).toEqual([4, 5, 5]);
    expect(n.std[0]).toBeCloseTo(Math.sqrt(26 / 3), 14);
    expect(n.std[1]).toBe(1);
    const s = standardised(e, n);
    for (let f = 0; f < 3; f++) {
      const column = [s.x[f], s.x[3 + f], s.x[6 + f]];
      expect(column.reduce((a, b) => a + b)).toBeCloseTo(0, 6); // f32
      const square = column.reduce((a, b) => a + b * b, 0) / 3;
      expect(square).toBeCloseTo(f === 1 ? 0 : 1, 6);
    }
  });

  it("goes by channel or over all values, in units after the scale", () => {
    const x = Uint8Array.from([0, 255, 51, 51, 0, 255, 51, 51]);
    const e = examples({ name: "c", shape: [2, 1, 2], classes: 1, x, y: new Uint8Array(2) });
    const channel = standardiser(e, "channel");
    expect(channel.mean[0]).toBeCloseTo(0.5, 14);
    expect(channel.std[0]).toBeCloseTo(0.5, 14);
    expect(channel.mean[1]).toBeCloseTo(0.2, 14);
    expect(standardiser(e).mean[0]).toBeCloseTo(0.35, 14);
    const { factor, shift } = affineOf(e, channel);
    expect(255 * factor[0] + shift[0]).toBeCloseTo(1, 12);
    expect(() => affineOf(twelve(), channel)).not.toThrow();
    expect(() => affineOf({ ...e, shape: [4] }, channel)).toThrow(/4 means, for \[4\] by channel, got 2/);
    const tiny = standardised(e);
    expect(tiny.x[1]).toBe(1);
    expect(tiny.scale).toBe(1);
  });
});

describe("tasks", () => {
  it("splits classes into groups and keeps labels", () => {
    const s = { train: twelve(), validation: first(twelve(), 3), test: twelve() };
    const tasks = splitTasks(s, [[0, 2], [1]]);
    expect([...tasks[0].train.y]).toEqual([0, 2, 0, 2, 0, 2, 0, 2]);
    expect([...tasks[1].validation.ids]).toEqual([1]);
    expect(tasks[1].classes).toEqual([1]);
    expect(() => splitTasks(s, [[0], [0, 1]])).toThrow(/none twice/);
    expect(() => splitTasks(s, [[3]])).toThrow(/classes from 0 to 2/);
    expect(classGroups(10, 2)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
      [8, 9],
    ]);
  });

  it("permutes pixels alike in all parts and differently in each task, the first left as it is", () => {
    const wide = examples({
      name: "wide",
      shape: [1, 4, 4],
      classes: 2,
      x: Uint8Array.from({ length: 32 }, (_, i) => i % 16),
      y: Uint8Array.of(0, 1),
    });
    const tasks = permutedTasks({ train: wide, validation: wide, test: wide }, 3, 7);
    expect([...tasks[0].train.x]).toEqual([...wide.x]);
    const order = [...tasks[1].train.x.subarray(0, 16)];
    expect(order).not.toEqual([...wide.x.subarray(0, 16)]);
    expect([...order].sort((a, b) => a - b)).toEqual([...wide.x.subarray(0, 16)]);
    expect([...tasks[1].test.x.subarray(16)]).toEqual(order);
    expect([...tasks[2].train.x.subarray(0, 16)]).not.toEqual(order);
  });
});
