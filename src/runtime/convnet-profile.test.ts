import { afterAll, expect, it } from "vitest";
import { initSync, memory, shutdown } from "../core/engine.ts";
import { drawNet } from "../models/convnets/drawn.ts";
import { mobileNetV1 } from "../models/convnets/shapes.ts";
import { ConvRunner } from "./convnet.ts";
import { pointwiseFacts } from "./convnet-choose.ts";
import { measurePointwise } from "./convnet-profile.ts";
import { sparsifyPointwise } from "./convnet-sparsify.ts";

afterAll(() => shutdown());

it("measures each shape and density once, frees what it took, and the runner names its source", async () => {
  initSync({ threads: 1 });
  const net = sparsifyPointwise(drawNet(mobileNetV1({ width: 0.25, resolution: 32, classes: 4 }), 1), {
    sparsity: 0.9,
  });
  const facts = net.shape.layers.flatMap((layer, i) =>
    layer.kind === "pointwise" ? [pointwiseFacts(layer.name, net.weights[i].weight, layer.out, layer.in, 16)] : [],
  );
  const before = memory.live;
  let now = 0;
  // a clock that only counts its readings: nothing here depends on how fast the machine is
  const speeds = await measurePointwise(facts, {
    clock: () => ++now,
    rounds: 3,
    slice: 1,
    warmUp: 1,
    forms: 1,
    footprint: 1,
  });
  expect(memory.live).toBe(before);
  // 13 layers; the five of 128 x 128 and the last two pairs have shapes of their own
  expect(new Set(facts.map((f) => `${f.out} ${f.in}`)).size).toBe(speeds.cells.size);
  for (const f of facts) expect(speeds.ratio(f, "csr")).toBeGreaterThan(0);
  expect(speeds.ratio({ ...facts[0], pixels: 17 }, "csr")).toBeUndefined();
  expect(speeds.ratio(facts[0], "block4x1")).toBeUndefined();
  const runner = new ConvRunner(net, { speeds });
  expect(runner.layers.find((l) => l.kind === "pointwise")?.choice.reason).toMatch(/on this machine/);
  runner.dispose();
});

it("measures nothing where nothing is zero", async () => {
  const facts = pointwiseFacts("x", Float32Array.of(1, 2), 2, 1, 4);
  expect((await measurePointwise([facts])).cells.size).toBe(0);
});
