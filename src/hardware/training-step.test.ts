/** A training step on the array: products of the stages, traffic, the schedule, and the bound that no step exceeds. */
import { describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { stream } from "../core/random.ts";
import { type Layer, resnet18, stageProducts } from "./layers.ts";
import { productMacs, SAT } from "./sat.ts";
import { energy, type StepCost, scheduleText, trainingStep } from "./training-step.ts";

const total = (layer: Layer, stage: "FF" | "BP" | "WU", kept?: readonly [number, number]): number =>
  stageProducts(layer, stage, 2, kept).reduce((n, p) => n + productMacs(p), 0);
const strided: Layer = { name: "c", inputs: 8, outputs: 16, kernel: 3, stride: 2, size: 8 };

describe("products of the stages", () => {
  test("a 3x3 convolution of stride 2 goes back in four phases of 1, 2, 2 and 4 kernel positions", () => {
    const phases = stageProducts(strided, "BP", 2);
    expect(phases.map((p) => p.inner / 16).sort()).toEqual([1, 2, 2, 4]);
    expect(phases.every((p) => p.rows === 2 * 16 && p.columns === 8)).toBe(true);
  });

  test("of stride 2 and 1x1 only every fourth pixel gets a gradient", () => {
    const shortcut = { ...strided, kernel: 1 };
    expect(stageProducts(shortcut, "BP", 2)).toEqual([{ rows: 2 * 16, inner: 16, columns: 8 }]);
  });

  test("all three stages take the same multiply-adds, FF and BP a quarter of them at 2:8", () => {
    for (const layer of [strided, { ...strided, kernel: 1 }, { ...strided, stride: 1 }, { ...strided, kernel: 5 }]) {
      const ff = total(layer, "FF");
      expect([total(layer, "BP"), total(layer, "WU")]).toEqual([ff, ff]);
      for (const stage of ["FF", "BP"] as const) expect(total(layer, stage, [2, 8])).toBe(ff / 4);
      expect(total(layer, "WU", [2, 8])).toBe(ff);
    }
  });

  test("the phases are the gradient of a convolution's input, counted kernel position by kernel position", () => {
    for (const [size, kernel, stride] of [
      [8, 3, 2],
      [7, 3, 2],
      [9, 5, 3],
      [6, 1, 2],
      [5, 3, 1],
    ]) {
      const padding = Math.floor(kernel / 2);
      const layer: Layer = { name: "c", inputs: 1, outputs: 1, kernel, stride, size };
      // pairs (pixel, kernel position) whose output would lie on the stride's grid, borders included
      let pairs = 0;
      for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++)
          for (let i = 0; i < kernel; i++)
            for (let j = 0; j < kernel; j++)
              if ((y + padding - i) % stride === 0 && (x + padding - j) % stride === 0) pairs++;
      expect(stageProducts(layer, "BP", 1).reduce((n, p) => n + productMacs(p), 0)).toBe(pairs);
    }
  });
});

describe("one layer by hand", () => {
  // 64 -> 64 channels, 1x1, 32x32 pixels, batch 1: R = 1024, K = C = 64, 4096 weights, maps of 131072 bytes.
  const layers: readonly Layer[] = [
    { name: "first", inputs: 64, outputs: 64, size: 32 },
    { name: "second", inputs: 64, outputs: 64, size: 32 },
  ];
  const of = (step: StepCost, stage: string) => step.stages.filter((s) => s.layer === "second" && s.stage === stage)[0];

  test("dense: WS takes 4 tiles of 1214 cycles, moving two maps 4096 and the weight 128", () => {
    const ff = of(trainingStep(layers, { batch: 1, dataflow: "WS" }), "FF");
    expect(ff).toMatchObject({ compute: 4 * (1024 + 62 + 128) + 32, memory: 4096 + 128, cycles: 4888, macs: 2 ** 22 });
    expect(ff.traffic).toEqual({ read: 131072 + 8192, written: 131072, weights: 8192 });
  });

  test("2:8: one row of tiles, so that memory decides; compact weights are 4096 x 4.75 bits", () => {
    const ff = of(trainingStep(layers, { batch: 1, kept: [2, 8], dataflow: "WS" }), "FF");
    expect(ff).toMatchObject({ compute: 2 * 1214 + 32, memory: 4096 + 38, cycles: 4134, macs: 2 ** 20 });
    expect(ff.traffic.weights).toBe(2432);
  });

  test("WUVE reads weight, gradient and momentum and writes two of them back, and both compact copies", () => {
    const dense = of(trainingStep(layers, { batch: 1 }), "update");
    expect(dense).toMatchObject({ compute: 128, memory: (5 * 8192) / 64, cycles: 640, sorted: 0 });
    const sparse = of(trainingStep(layers, { batch: 1, kept: [2, 8] }), "update");
    expect(sparse).toMatchObject({ compute: 128, memory: (5 * 8192 + 2 * 2432) / 64, sorted: 1024 });
  });

  test("on the fly SORE stands in front of FF and BP, which read dense weights", () => {
    const step = trainingStep(layers, { batch: 1, kept: [2, 8], dataflow: "WS", pregenerate: false });
    // 512 groups over 32 lanes
    expect(of(step, "BP")).toMatchObject({ sorting: 16, memory: 4096 + 128, cycles: 4096 + 128 + 16, sorted: 512 });
    expect(of(step, "update")).toMatchObject({ sorted: 0, memory: 640 });
  });

  test("the first layer has no BP; SR-STE prunes FF alone and SDWP BP alone", () => {
    const stages = (sparse?: readonly ("FF" | "BP")[]): string[] =>
      trainingStep(layers, { batch: 1, kept: [2, 8], ...(sparse && { sparse }) })
        .stages.filter((s) => s.sparse && s.stage !== "update")
        .map((s) => `${s.layer} ${s.stage}`);
    expect(stages()).toEqual(["first FF", "second FF", "second BP"]);
    expect(stages(["FF"])).toEqual(["first FF", "second FF"]);
    expect(stages(["BP"])).toEqual(["second BP"]);
    expect(
      trainingStep(layers, { batch: 1 })
        .stages.map((s) => s.stage)
        .join(" "),
    ).toBe("FF WU update FF BP WU update");
  });

  test("energy is counts times what each costs", () => {
    const step = trainingStep(layers, { batch: 1, kept: [2, 8] });
    const none = { mac: 0, byte: 0, sorted: 0, cycle: 0 };
    expect(energy(step, { ...none, mac: 1 })).toBe(3 * 2 ** 20 + 2 * 2 ** 22);
    // three compact copies are sorted: the first layer needs none for BP
    expect(energy(step, { ...none, sorted: 2 })).toBe(2 * 3 * 512);
    expect(energy(step, { ...none, cycle: 1, byte: 2 })).toBe(
      step.cycles + 2 * (step.traffic.read + step.traffic.written),
    );
  });
});

describe("networks", () => {
  const layers = resnet18();

  test("ResNet-18 for 32x32 images has 11.2 million weights and 0.56 GMAC an image", () => {
    const weights = layers.reduce((n, l) => n + l.inputs * l.outputs * (l.kernel ?? 1) ** 2, 0);
    expect(weights).toBe(11_164_352);
    const forward = layers.reduce((n, l) => n + stageProducts(l, "FF", 1).reduce((k, p) => k + productMacs(p), 0), 0);
    expect(forward).toBe(555_422_720);
  });

  test("stem and classifier stay dense, all else is pruned", () => {
    const step = trainingStep(layers, { batch: 128, kept: [2, 8] });
    const dense = step.stages.filter((s) => s.stage === "FF" && !s.sparse).map((s) => s.layer);
    expect(dense).toEqual(["stem", "head"]);
  });

  test("the schedule is no slower than either dataflow alone, on drawn networks and machines", () => {
    const s = stream(5, "networks");
    const pick = <T>(list: readonly T[], i: number): T => list[Math.floor(s.uniform(i) * list.length)];
    for (let t = 0; t < 60; t++) {
      const drawn: Layer[] = Array.from({ length: 3 }, (_, l) => ({
        name: `l${l}`,
        inputs: pick([8, 24, 64, 200], 100 * t + 5 * l),
        outputs: pick([8, 16, 96, 512], 100 * t + 5 * l + 1),
        kernel: pick([1, 3, 5], 100 * t + 5 * l + 2),
        stride: pick([1, 2], 100 * t + 5 * l + 3),
        size: pick([4, 7, 16, 32], 100 * t + 5 * l + 4),
      }));
      const sat = { ...SAT, side: pick([8, 32], 100 * t + 50), bandwidth: pick([4, 64, 1024], 100 * t + 51) };
      const options = { batch: pick([1, 16, 128], 100 * t + 52), kept: [2, 8] as const, sat };
      const [best, ws, os] = (["scheduled", "WS", "OS"] as const).map(
        (dataflow) => trainingStep(drawn, { ...options, dataflow }).cycles,
      );
      expect(best).toBeLessThanOrEqual(Math.min(ws, os));
    }
  });

  test("N = M costs what dense costs on the array; speed-up stays under 3 / (2 N/M + 1) of the stages that share it", () => {
    const pruned = (kept: readonly [number, number]) => trainingStep(layers, { batch: 128, kept });
    const dense = trainingStep(layers, { batch: 128 });
    const compute = (step: StepCost): number[] => step.stages.map((s) => (s.dataflow ? s.compute : 0));
    expect(compute(pruned([8, 8]))).toEqual(compute(dense));
    for (const [n, m] of [
      [2, 4],
      [2, 8],
      [1, 8],
      [2, 16],
    ] as const) {
      const step = pruned([n, m]);
      dense.stages.forEach((d, i) => {
        const s = step.stages[i];
        if (s.sparse && d.dataflow) expect(d.cycles / s.cycles).toBeLessThanOrEqual(m / n);
      });
      expect(dense.cycles / step.cycles).toBeLessThanOrEqual(3 / ((2 * n) / m + 1));
      expect(dense.cycles / step.cycles).toBeGreaterThan(1);
    }
  });

  test("what is no pattern is refused", () => {
    for (const kept of [
      [2, 0],
      [3, 2],
      [0.5, 4],
    ] as const) {
      expect(() => trainingStep(layers, { batch: 1, kept })).toThrow(LacunaError);
    }
  });

  test("the schedule is a table with a line a layer and stage", () => {
    const step = trainingStep(layers, { batch: 128, kept: [2, 8] });
    const lines = scheduleText(step).split("\n");
    expect(lines).toHaveLength(1 + step.stages.length);
    expect(lines[5]).toMatch(/^stage1\.0\.conv1\s+BP\s+(WS|OS)\s+N:M\s+\d+/);
  });
});
