import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { tinyConfig } from "../models/llama/tiny.ts";
import { breakEven, forecast, forecastRatio, type UseForecast, wholeModel } from "./forecast.ts";
import { sharesName } from "./forecast-run.ts";
import { recommend } from "./forecast-words.ts";
import { SPARSE_FORMS } from "./layer.ts";
import { profileKey } from "./machine.node.ts";
import { cellName, emptyProfile, type Profile, sparseName } from "./profile.ts";
import { writeProfile } from "./profile-cache.node.ts";
import { type Spread, spread } from "./timing.ts";

let folder = "";
beforeAll(async () => {
  initSync({ threads: 1 });
  folder = await mkdtemp(join(tmpdir(), "lacuna-forecast-"));
});
afterAll(async () => {
  shutdown();
  await rm(folder, { recursive: true, force: true });
});

test("break-even: exact for a kernel whose time is linear in density", () => {
  // time = 0.1 + 1.5 density: equal to dense at density 0.6, sparsity 0.4.
  const line = [0.2, 0.35, 0.5, 0.7].map((s) => ({ sparsity: s, ratio: 1 / (0.1 + 1.5 * (1 - s)) }));
  const b = breakEven(line);
  expect(b?.kind).toBe("at");
  expect(b?.sparsity).toBeCloseTo(0.4, 12);
  expect(breakEven(line.slice(2))).toEqual({ kind: "below", sparsity: 0.5 });
  expect(breakEven(line.slice(0, 2))).toBeNull();
  expect(breakEven([])).toBeNull();
  // A lucky point in a stretch that loses does not count.
  const lucky = [1.1, 0.8, 0.9, 1.2].map((ratio, i) => ({ sparsity: 0.5 + i / 10, ratio }));
  expect(breakEven(lucky)?.sparsity).toBeGreaterThan(0.7);
});

test("the whole model: Amdahl's law over shapes", () => {
  expect(wholeModel(1, [0.5, 0.5], [2, 2])).toBeCloseTo(2, 12);
  expect(wholeModel(0.5, [1], [1e12])).toBeCloseTo(2, 9);
  expect(wholeModel(0.8, [0.25, 0.75], [1, 3])).toBeCloseTo(1 / (0.2 + 0.8 * (0.25 + 0.25)), 12);
  expect(wholeModel(0, [1], [9])).toBe(1);
});

/** The patterns that the recommendation speaks of. */
type Told = "4x1" | "N:M@4x1" | "unstructured";

function use(name: "decode" | "prefill", gains: Readonly<Record<Told, (s: number) => number>>): UseForecast {
  const grid = { "4x1": [0.2, 0.5, 0.7, 0.9], "N:M@4x1": [0.5, 0.75], unstructured: [0.5, 0.7, 0.9] };
  const model = (Object.keys(grid) as Told[]).map((pattern) => {
    const points = grid[pattern].map((sparsity) => {
      const ratio = gains[pattern](sparsity);
      const text = pattern === "N:M@4x1" ? `${sparsity === 0.5 ? 2 : 1}:4@4x1` : pattern;
      return { sparsity, pattern: text, layers: ratio, model: ratio, low: ratio, high: ratio };
    });
    const flat = points.map((p) => ({ sparsity: p.sparsity, ratio: p.model }));
    return { pattern, kernel: "csr" as const, points, breakEven: breakEven(flat) };
  });
  return { use: name, tokens: 1, context: 0, layersShare: spread([0.8]), shapes: [], model };
}

test("the recommendation in words", () => {
  const decode = use("decode", {
    "4x1": (s) => 0.65 / (1 - s),
    "N:M@4x1": () => 1.3,
    unstructured: (s) => 0.2 / (1 - s),
  });
  const prefill = use("prefill", { "4x1": (s) => 0.85 / (1 - s), "N:M@4x1": () => 1.7, unstructured: () => 0.5 });
  expect(recommend(decode, prefill)).toBe(
    "On this machine 4x1 pays from 20 % or less in prefill and from 35 % in decode; at 70 % this model runs 2.2 times as fast in decode and 2.8 in prefill. 2:4@4x1: 1.3 in decode, 1.7 in prefill. Unstructured sparsity pays from 80 % in decode and never in prefill; short of that it makes the model smaller, not faster.",
  );
  const nothing = use("decode", { "4x1": () => 0.9, "N:M@4x1": () => 0.8, unstructured: () => 0.7 });
  expect(recommend(nothing, nothing)).toMatch(/4x1 does not pay at any sparsity measured\./);
  expect(recommend(nothing, nothing)).toMatch(/Unstructured sparsity does not pay at any sparsity measured; short of/);
});

test("the forecast of one pattern and sparsity, between grid points linear in time", () => {
  const f = use("decode", { "4x1": (s) => 1 / (0.1 + (1 - s)), "N:M@4x1": (s) => 2 * s, unstructured: () => 1 });
  expect(forecastRatio(f, "4x1", 0.7)).toBeCloseTo(1 / 0.4, 12);
  expect(forecastRatio(f, "4x1", 0.6)).toBeCloseTo(1 / 0.5, 12);
  expect(forecastRatio(f, "4x1", 0.6999)).toBe(forecastRatio(f, "4x1", 0.7));
  expect(forecastRatio(f, "4x1", 0.95)).toBeUndefined();
  expect(forecastRatio(f, "4x1", 0.1)).toBeUndefined();
  expect(forecastRatio(f, "2:4@4x1", 0.5)).toBe(1);
  expect(forecastRatio(f, "2:4@4x1", 0.6)).toBeUndefined();
  expect(forecastRatio(f, "1x16", 0.5)).toBeUndefined();
});

/** 24 x 24 for q, k, v, o; 40 x 24 for gate and up; 24 x 40 for down. */
const config = tinyConfig({ layers: 3, heads: 3, kvHeads: 3 });
const shapes = [
  [24, 24, 12],
  [40, 24, 6],
  [24, 40, 3],
] as const;

/** A profile of a machine on which each form's time is a line over density. */
function madeUp(): Profile {
  const profile = emptyProfile(profileKey());
  for (const use of ["decode", "prefill"] as const) {
    for (const [out, width] of shapes) {
      const sparse: Record<string, Spread> = {};
      for (let d = 0.05; d < 1; d += 0.05) {
        const [single, block] = use === "decode" ? [5, 1.4] : [1.7, 1.2];
        for (const form of SPARSE_FORMS) {
          const ratio = 1 / ((form === "csr" ? single : block) * d + 0.001 * width);
          sparse[sparseName(form, d)] = { ...spread([ratio]), low: 0.9 * ratio, high: 1.1 * ratio };
        }
      }
      const cell = {
        dense: "stored" as const,
        date: "2026-01-02T00:00:00.000Z",
        milliseconds: 1,
        denseRatios: {},
        sparse,
      };
      profile.cells[cellName({ out, in: width, type: "bf16" }, use, 1)] = cell;
    }
    profile.shares[sharesName(config, "bf16", use)] = {
      date: "2026-01-01T00:00:00.000Z",
      tokens: use === "decode" ? 1 : 64,
      context: use === "decode" ? 32 : 0,
      layers: { ...spread([0.6]), low: 0.55, high: 0.65 },
      shapes: { "24 x 24": 0.5, "40 x 24": 0.3, "24 x 40": 0.2 },
    };
  }
  return profile;
}

test("from a known profile: figures by hand, nothing measured", async () => {
  const f = await forecast(config, { profile: madeUp() });
  expect(f.cached).toBe(true);
  expect(f.seconds).toBeLessThan(5);
  expect(f.measured).toBe("2026-01-01T00:00:00.000Z");
  expect(f.model.prunable).toBe(3 * (4 * 24 * 24 + 3 * 40 * 24));
  expect(f.decode.shapes.map((s) => [s.out, s.in, s.count, s.part])).toEqual([
    [24, 24, 12, 0.5],
    [40, 24, 6, 0.3],
    [24, 40, 3, 0.2],
  ]);
  // 4x1 at 80 %, one token: times 1.4 * 0.2 + 0.024 and + 0.040 of dense.
  const layers = 0.8 * (0.28 + 0.024) + 0.2 * (0.28 + 0.04);
  const point = f.decode.model[0].points.find((p) => p.sparsity === 0.8);
  expect(point?.layers).toBeCloseTo(1 / layers, 9);
  expect(point?.model).toBeCloseTo(1 / (0.4 + 0.6 * layers), 9);
  // All ratios at a tenth less, and the smaller share.
  expect(point?.low).toBeCloseTo(1 / (0.45 + (0.55 * layers) / 0.9), 9);
  expect(point?.high).toBeCloseTo(1 / (0.35 + (0.65 * layers) / 1.1), 9);
  // Layers break even where 1.4 density + 0.0272 = 1, which is where the model does.
  expect(f.decode.model[0].breakEven?.sparsity).toBeCloseTo(1 - (1 - 0.0272) / 1.4, 2);
  expect(f.decode.model[2].points.map((p) => p.sparsity)).toEqual([0.5, 0.6, 0.7, 0.8, 0.9, 0.95]);
  expect(f.decode.model[1].points.map((p) => p.pattern)).toEqual(["2:4@4x1", "1:4@4x1"]);
  expect(f.recommendation).toBe(
    "On this machine 4x1 pays from 20 % or less in prefill and from 35 % in decode; at 70 % this model runs 1.5 times as fast in decode and 1.6 in prefill. 2:4@4x1: 1.2 in decode, 1.3 in prefill. Unstructured sparsity pays from 50 % or less in prefill and from 85 % in decode; short of that it makes the model smaller, not faster.",
  );
  expect(JSON.parse(JSON.stringify(f))).toEqual(f);

  // The same from the cache folder.
  await writeProfile(madeUp(), folder);
  const again = await forecast(config, { folder });
  expect(again.cached).toBe(true);
  expect({ ...again, seconds: 0, provenance: 0 }).toEqual({ ...f, seconds: 0, provenance: 0 });
});

test("measured: complete, within the formula, kept for the next time; memory is given back", async () => {
  const live = memory.live;
  const labels: string[] = [];
  const profile = emptyProfile(profileKey());
  const f = await forecast(config, { seconds: 1, profile, onProgress: (_, label) => labels.push(label) });
  expect(memory.live).toBe(live);
  expect(f.cached).toBe(false);
  // Six dense cells, two shares, those of six patterns, three shapes and two uses, and the end.
  expect(labels).toHaveLength(6 + 2 + 36 + 1);
  expect(JSON.parse(JSON.stringify(f))).toEqual(f);
  for (const u of [f.decode, f.prefill]) {
    expect(u.shapes.reduce((s, x) => s + x.part, 0)).toBeCloseTo(1, 9);
    expect(u.layersShare.min).toBeGreaterThan(0);
    expect(u.layersShare.max).toBeLessThanOrEqual(1);
    expect(u.model.map((c) => c.pattern)).toEqual(["4x1", "N:M@4x1", "unstructured", "2x1", "1x16", "N:M"]);
    for (const curve of u.model) {
      expect(curve.points.length).toBeGreaterThanOrEqual(2);
      for (const p of curve.points) {
        const ratios = u.shapes.map(
          (s) =>
            s.curves.find((c) => c.pattern === curve.pattern)?.points.find((q) => q.sparsity === p.sparsity)?.ratio
              .median,
        ) as number[];
        const parts = u.shapes.map((s) => s.part);
        expect(p.model).toBeCloseTo(wholeModel(u.layersShare.median, parts, ratios), 9);
        expect(p.low).toBeLessThanOrEqual(p.model);
        expect(p.high).toBeGreaterThanOrEqual(p.model);
      }
    }
  }
  // An abort keeps what was there; `fresh` measures again and replaces.
  const before = structuredClone(profile);
  const stop = AbortSignal.abort(new Error("stop"));
  await expect(forecast(config, { profile, fresh: true, signal: stop })).rejects.toThrow("stop");
  expect(profile).toEqual(before);
  const g = await forecast(config, { profile, fresh: true, seconds: 1 });
  expect(g.cached).toBe(false);
  expect(g.measured > f.measured).toBe(true);
  expect(profile.shares).not.toEqual(before.shares);
});
