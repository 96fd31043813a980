import { describe, expect, it } from "vitest";
import { scope } from "../core/scope.ts";
import { crop, drawFor, flip, jitter, withNoise } from "./augment.ts";
import { allPlaces, batchesInOrder, batchMaker, makeBatch, shuffledBatches } from "./example-batches.ts";
import { type Examples, examples, range } from "./examples.ts";
import { fillNormal, normalQuantile } from "./noise.ts";
import { standardiser } from "./normalise.ts";

const pictures = (count: number, h = 3, w = 4): Examples =>
  examples({
    name: "pictures",
    shape: [1, h, w],
    classes: 5,
    x: Uint8Array.from({ length: count * h * w }, (_, i) => (i * 7) % 256),
    y: Uint8Array.from({ length: count }, (_, i) => i % 5),
  });

describe("epochs", () => {
  it("see each example once, in an order that belongs to seed and epoch", () => {
    const places = Int32Array.from({ length: 10 }, (_, i) => 3 * i);
    const batches = shuffledBatches(places, 0, { batch: 4, seed: 1 });
    expect(batches.map((b) => b.length)).toEqual([4, 4, 2]);
    const seen = batches.flatMap((b) => [...b]);
    expect([...seen].sort((a, b) => a - b)).toEqual([...places]);
    expect(seen).not.toEqual([...places]);
    expect(shuffledBatches(places, 0, { batch: 4, seed: 1 })).toEqual(batches);
    expect(shuffledBatches(places, 1, { batch: 4, seed: 1 })).not.toEqual(batches);
    expect(shuffledBatches(places, 0, { batch: 4, seed: 2 })).not.toEqual(batches);
    expect(shuffledBatches(places, 0, { batch: 4, seed: 1, tail: "drop" })).toEqual(batches.slice(0, 2));
  });

  it("go in order where asked, and refuse a batch of nothing", () => {
    expect(batchesInOrder(Int32Array.of(5, 6, 7), 2).map((b) => [...b])).toEqual([[5, 6], [7]]);
    expect(batchesInOrder(Int32Array.of(5, 6, 7), 2, "drop")).toHaveLength(1);
    expect(() => batchesInOrder(Int32Array.of(1), 0)).toThrow(/batch: expected a whole number of at least 1, got 0/);
  });
});

describe("batches", () => {
  it("are the scaled, standardised examples, with labels and ids", () => {
    const e = range(pictures(8), 2, 8);
    const n = standardiser(e);
    scope(() => {
      const { x, y, ids } = makeBatch(e, Int32Array.of(3, 0), { normaliser: n });
      expect(x.shape).toEqual([2, 1, 3, 4]);
      expect([...y.i32]).toEqual([0, 2]);
      expect([...ids]).toEqual([5, 2]);
      const values = x.toArray();
      for (let i = 0; i < 12; i++) {
        expect(values[i]).toBeCloseTo((e.x[36 + i] / 255 - n.mean[0]) / n.std[0], 5); // f32
        expect(values[12 + i]).toBeCloseTo((e.x[i] / 255 - n.mean[0]) / n.std[0], 5);
      }
      const flat = makeBatch(e, Int32Array.of(1), { flat: true });
      expect(flat.x.shape).toEqual([1, 12]);
      expect(flat.x.toArray()[3]).toBe(Math.fround(e.x[15] / 255));
      expect(() => makeBatch(e, Int32Array.of(6))).toThrow(/places from 0 to 5, got 6/);
    });
    expect([...allPlaces(e)]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("with augmentation that changes nothing are those without", () => {
    const e = pictures(4);
    const n = standardiser(e, "channel");
    scope(() => {
      const plain = makeBatch(e, allPlaces(e), { normaliser: n }).x.toArray();
      const same = makeBatch(e, allPlaces(e), { normaliser: n, augment: [crop(0)] }).x.toArray();
      for (let i = 0; i < plain.length; i++) expect(same[i]).toBeCloseTo(plain[i], 5);
    });
  });

  it("augment an example alike in whatever batch it is, and differently in another epoch", () => {
    const e = pictures(40);
    scope(() => {
      const make = batchMaker(e, { augment: [flip(), crop(1), jitter(0.1)], seed: 9 });
      const all = make(allPlaces(e), 2).x.toArray();
      const one = make(Int32Array.of(17), 2).x.toArray();
      expect([...one]).toEqual([...all.subarray(17 * 12, 18 * 12)]);
      expect([...make(Int32Array.of(17), 3).x.toArray()]).not.toEqual([...one]);
      const subset = makeBatch(range(e, 10, 40), Int32Array.of(7), {
        augment: [flip(), crop(1), jitter(0.1)],
        seed: 9,
        epoch: 2,
      });
      expect([...subset.x.toArray()]).toEqual([...one]);
    });
  });
});

describe("augmentation", () => {
  const draw = (...below: number[]) => ({ below: (lane: number) => below[lane], normals: () => {} });

  it("mirrors rows", () => {
    const x = Float32Array.of(1, 2, 3, 4, 5, 6);
    flip()(x, [1, 2, 3], draw(0));
    expect([...x]).toEqual([1, 2, 3, 4, 5, 6]);
    flip()(x, [1, 2, 3], draw(1));
    expect([...x]).toEqual([3, 2, 1, 6, 5, 4]);
    expect(() => flip()(x, [6], draw(1))).toThrow(/images \[C, H, W\], got \[6\]/);
  });

  it("shifts each channel, and fills what comes in", () => {
    const x = Float32Array.of(1, 2, 3, 4, /* second channel */ 5, 6, 7, 8);
    crop(1, 9)(x, [2, 2, 2], draw(2, 0)); // one down the picture, one to the left
    expect([...x]).toEqual([9, 3, 9, 9, 9, 7, 9, 9]);
  });

  it("mirrors half of the examples and shifts evenly", () => {
    let mirrored = 0;
    const shifts = new Int32Array(9);
    for (let id = 0; id < 2000; id++) {
      const d = drawFor(1, 0, 4, id);
      mirrored += d.below(0, 2);
      shifts[d.below(1, 9)]++;
    }
    // within 4 standard deviations
    expect(Math.abs(mirrored - 1000)).toBeLessThan(4 * Math.sqrt(500));
    for (const s of shifts) expect(Math.abs(s - 2000 / 9)).toBeLessThan(4 * Math.sqrt(2000 / 9));
  });

  it("draws anew in each epoch, for each example and each augmentation", () => {
    const drawn = (place: number, epoch: number, from: number): string =>
      Array.from({ length: 20 }, (_, i) => drawFor(1, place, epoch, from + i).below(0, 9)).join("");
    const all = [drawn(0, 0, 0), drawn(0, 1, 0), drawn(0, 0, 20), drawn(1, 0, 0)];
    expect(new Set(all).size).toBe(4);
    expect(drawn(0, 1, 0)).toBe(all[1]);
  });

  it("adds noise to a whole set, in units of values", () => {
    const e = pictures(300);
    const noisy = withNoise(e, 0.2, 5);
    expect(noisy.scale).toBe(1);
    const d = Array.from(noisy.x, (v, i) => (v - e.x[i] / 255) / 0.2);
    const mean = d.reduce((a, b) => a + b) / d.length;
    const square = d.reduce((a, b) => a + b * b) / d.length;
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(d.length));
    expect(Math.abs(square - 1)).toBeLessThan(4 * Math.sqrt(2 / d.length));
    expect([...withNoise(e, 0.2, 5).x]).toEqual([...noisy.x]);
    expect([...withNoise(e, 0.2, 6).x]).not.toEqual([...noisy.x]);
  });
});

describe("normal noise", () => {
  it("inverts the normal distribution", () => {
    // scipy.stats.norm.ppf 1.17; both are good to a few units in the last place
    for (const [p, z] of [
      [0.5, 0],
      [0.6, 0.2533471031357997],
      [0.075, -1.4395314709384563],
      [0.975, 1.959963984540054],
      [1e-3, -3.090232306167813],
      [1e-11, -6.706023155495137],
      [1e-14, -7.6506280929352695],
      [0.999999, 4.753424308817087],
    ]) {
      expect(Math.abs(normalQuantile(p) - z)).toBeLessThanOrEqual(1e-14 * Math.abs(z));
    }
    for (const p of [0.01, 0.3, 0.0749999, 0.0750001])
      expect(normalQuantile(1 - p)).toBeCloseTo(-normalQuantile(p), 12);
  });

  it("gives each index its number, wherever the filling begins", () => {
    const all = new Float32Array(50);
    fillNormal(all, 3, "a");
    const part = new Float32Array(20);
    fillNormal(part, 3, "a", 13);
    expect([...part]).toEqual([...all.subarray(13, 33)]);
    fillNormal(part, 3, "b", 13);
    expect([...part]).not.toEqual([...all.subarray(13, 33)]);
  });

  it("has the moments of a normal", () => {
    const n = 200_000;
    const x = new Float32Array(n);
    fillNormal(x, 1, "moments");
    const moment = (k: number): number => x.reduce((s, v) => s + v ** k, 0) / n;
    // 4 standard errors: variances of x, x^2, x^3, x^4 are 1, 2, 15, 96
    expect(Math.abs(moment(1))).toBeLessThan(4 * Math.sqrt(1 / n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(moment(3))).toBeLessThan(4 * Math.sqrt(15 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
  });
});
