import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sparseMatrix } from "../core/compute/sparse.ts";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { nmViolation } from "../kernels/sparse/streams.ts";
import { tinyModel } from "../models/llama/tiny.ts";
import { denseStack, drawnWeight, gridDensity, quotaOfDensity, sparseStack } from "./drawn.ts";
import { DENSE_FORMS, SPARSE_FORMS } from "./layer.ts";
import { profileKey } from "./machine.node.ts";
import {
  type Cell,
  cellName,
  emptyProfile,
  footprintOf,
  measureCell,
  type ProfileKey,
  profileSpeeds,
} from "./profile.ts";
import { machineSpeeds, profilePath, readProfile, writeProfile } from "./profile-cache.node.ts";
import { createRunner } from "./runner.ts";

let folder = "";
beforeAll(async () => {
  initSync({ threads: 1 });
  folder = await mkdtemp(join(tmpdir(), "lacuna-profile-"));
});
afterAll(async () => {
  shutdown();
  await rm(folder, { recursive: true, force: true });
});

const key: ProfileKey = { cpu: "A", node: "20", v8: "11", threads: 2, fused: false, lacuna: "0.1.0" };
const shape = { out: 24, in: 64, type: "bf16" as const };
const quick = { rounds: 2, slice: 0.2, warmUp: 0.1 };

test("drawn weights have the density and the pattern they are drawn for", () => {
  const share = (w: Float32Array) => w.filter((v) => v !== 0).length / w.length;
  const big = { out: 64, in: 256, type: "bf16" as const };
  // 16,384 weights, or 4,096 blocks: three standard deviations are 0.012 and 0.024.
  expect(Math.abs(share(drawnWeight(big, "csr", 0.3, 1)) - 0.3)).toBeLessThan(0.012);
  const block = drawnWeight(big, "block4x1", 0.3, 1);
  expect(Math.abs(share(block) - 0.3)).toBeLessThan(0.024);
  expect(sparseMatrix(block, 64, 256, "block4x1").stored).toBeLessThan(1.1 * block.filter((v) => v !== 0).length);
  expect(share(drawnWeight(big, "nm4x1", 0.25, 1))).toBe(0.25);
  expect(nmViolation(drawnWeight(big, "nm4x1", 0.25, 1), 64, 256, 1, 4)).toBeUndefined();
  expect(share(drawnWeight(big, "dense", 1, 1))).toBe(1);
  expect(drawnWeight(big, "csr", 0.3, 1)).not.toEqual(drawnWeight(big, "csr", 0.3, 2));
});

test("copies of a layer compute the same at different addresses", () => {
  const x = memory.alloc(4 * 64);
  const y = memory.alloc(4 * 24);
  memory.f32(x, 64).fill(0.5);
  const live = memory.live;
  for (const form of SPARSE_FORMS) {
    const stack = sparseStack(shape, { form, density: 0.5 }, 5);
    const want = [0, 1].map((i) => {
      const w = drawnWeight(shape, form, 0.5, 11 + i);
      return Float32Array.from(
        { length: 24 },
        (_, r) => 0.5 * w.subarray(64 * r, 64 * r + 64).reduce((a, b) => a + b, 0),
      );
    });
    stack.products.forEach((p, i) => {
      memory.f32(y, 24).fill(Number.NaN);
      p.forward(x, 1, y);
      // Sums of at most 64 multiples of 1/256 below 1 are exact.
      expect(memory.f32(y, 24), `${form}, copy ${i}`).toEqual(want[i % 2]);
    });
    expect(memory.live).toBeGreaterThan(live);
    stack.free();
    expect(memory.live).toBe(live);
  }
  for (const type of ["f32", "bf16", "f16"] as const) {
    const w = drawnWeight(shape, "dense", 1, 7);
    for (const form of DENSE_FORMS) {
      const stack = denseStack({ ...shape, type }, form, 2);
      stack.products[1].forward(x, 1, y);
      const want = Array.from(
        { length: 24 },
        (_, r) => 0.5 * w.subarray(64 * r, 64 * r + 64).reduce((a, b) => a + b, 0),
      );
      expect([...memory.f32(y, 24)], `${type} ${form}`).toEqual(want);
      stack.free();
    }
  }
  expect(memory.live).toBe(live);
  memory.free(x);
  memory.free(y);
});

test("a cell is measured once, later only what it lacks, and memory is given back", async () => {
  const profile = emptyProfile(key);
  const live = memory.live;
  const wants = [
    { form: "csr", density: 0.2 },
    { form: "nm4x1", density: 0.5 },
    // No N:M with a kernel has this density.
    { form: "nm4x1", density: 0.4 },
  ] as const;
  const cell = await measureCell(profile, shape, "decode", 1, wants, quick);
  expect(memory.live).toBe(live);
  expect(Object.keys(cell.sparse).sort()).toEqual(["csr 0.2", "nm4x1 0.5"]);
  expect(cell.denseRatios[cell.dense]).toBe(1);
  expect(Object.keys(cell.denseRatios).sort()).toEqual(["expanded", "panel", "stored"]);
  const before = structuredClone(cell);
  await measureCell(profile, shape, "decode", 1, [...wants, { form: "block4x1", density: 0.31 }], quick);
  const after = profile.cells[cellName(shape, "decode", 1)];
  expect({ ...after.sparse, "block4x1 0.3": undefined }).toEqual({ ...before.sparse, "block4x1 0.3": undefined });
  expect(after.sparse["block4x1 0.3"].median).toBeGreaterThan(0);
  const speeds = profileSpeeds(profile, 1);
  expect(speeds.ratio(shape, "decode", "block4x1", 0.295)).toBe(after.sparse["block4x1 0.3"].median);
  expect(speeds.ratio(shape, "prefill", "csr", 0.2)).toBeUndefined();
  expect(speeds.dense(shape, "decode")).toBe(cell.dense);
  expect(profileSpeeds(profile, 4).dense(shape, "decode")).toBeUndefined();
});

test("grids: footprints, densities, N:M", () => {
  expect([1e5, 2e6, 4.7e6, 20e6, 1e9].map(footprintOf)).toEqual([1, 4, 4, 16, 64]);
  expect([0, 0.31, 0.34, 0.52, 0.999].map(gridDensity)).toEqual([0.02, 0.3, 0.35, 0.5, 0.95]);
  // What is measured is at most 6 % off, and the grid is its own.
  for (let d = 0.021; d < 0.95; d += 0.0003) {
    expect(Math.abs(gridDensity(d) / d - 1)).toBeLessThan(0.0625);
    expect(gridDensity(gridDensity(d))).toBe(gridDensity(d));
  }
  expect(quotaOfDensity(0.5, 192)).toEqual({ n: 2, m: 4 });
  expect(quotaOfDensity(0.25, 192)).toEqual({ n: 1, m: 4 });
  expect(quotaOfDensity(0.25, 190)).toBeUndefined();
  expect(quotaOfDensity(0.35, 192)).toBeUndefined();
});

const spreadOf = (median: number) => ({ median, low: median, high: median, min: median, max: median, repeats: 3 });
const cellOf = (csr: number): Cell => ({
  dense: "stored",
  date: "2026-01-01T00:00:00.000Z",
  milliseconds: 1,
  denseRatios: { stored: 1 },
  sparse: { "csr 0.5": spreadOf(csr) },
});

test("the file: round trip, one a machine, damaged or foreign ones are ignored and replaced", async () => {
  const profile = { ...emptyProfile(key), cells: { a: cellOf(1.5) } };
  expect(await writeProfile(profile, folder)).toBe(true);
  expect(await readProfile(key, folder)).toEqual(profile);
  expect(await readProfile({ ...key, threads: 1 }, folder)).toEqual(emptyProfile({ ...key, threads: 1 }));
  expect(profilePath({ ...key, lacuna: "0.2.0" }, folder)).not.toBe(profilePath(key, folder));

  const path = profilePath(key, folder);
  const text = await readFile(path, "utf8");
  const damaged = [
    "",
    "null",
    text.slice(0, text.length / 2),
    text.replace("1.5", "-1"),
    text.replace('"stored"', '"fast"'),
    text.replace('"shares": {}', '"shares": {"x": {}}'),
    text.replace(/"version": \d+/, '"version": 1'),
    // Another machine's content under this machine's name.
    text.replace('"cpu": "A"', '"cpu": "B"'),
  ];
  for (const bad of damaged) {
    expect(bad).not.toBe(text);
    await writeFile(path, bad);
    expect(await readProfile(key, folder), bad.slice(0, 60)).toEqual(emptyProfile(key));
  }
  expect(await writeProfile(profile, folder)).toBe(true);
  expect(await readProfile(key, folder)).toEqual(profile);
  expect(await readdir(folder)).toHaveLength(1);
  // A cache that cannot be written is no error.
  expect(await writeProfile(profile, join(path, "inside a file"))).toBe(false);
});

test("the folder: LACUNA_CACHE, XDG_CACHE_HOME, home", () => {
  expect(cacheFolder({ LACUNA_CACHE: "/x", XDG_CACHE_HOME: "/y" })).toBe("/x");
  expect(cacheFolder({ XDG_CACHE_HOME: "/y" })).toBe(join("/y", "lacuna"));
  expect(cacheFolder({})).toMatch(/\.cache[\\/]lacuna$/);
});

test("a runner with measured speeds gives reasons of this machine, and the next one measures nothing", async () => {
  const edit = (name: string, v: Float32Array, [R, C]: readonly number[]): void => {
    if (name.includes("_proj")) v.set(drawnWeight({ out: R, in: C, type: "f32" }, "block4x1", 0.3, 5));
  };
  const model = await tinyModel({}, { dtype: "BF16", edit });
  const own = join(folder, "own");
  const options = { ...quick, folder: own };
  const runner = await createRunner(model, { speeds: machineSpeeds(model, options) });
  for (const l of runner.layers.slice(0, -1)) {
    expect(`${l.choice.decode.reason} ${l.choice.prefill.reason}`).toMatch(/on this machine.*on this machine/);
    expect(l.choice.decode.ratio).toBeGreaterThan(0);
  }
  const path = profilePath(profileKey(), own);
  const text = await readFile(path, "utf8");
  const again = await createRunner(model, { speeds: machineSpeeds(model, options) });
  expect(await readFile(path, "utf8")).toBe(text);
  expect(again.layers.map((l) => l.choice)).toEqual(runner.layers.map((l) => l.choice));
  for (const r of [runner, again]) r.dispose();
});
