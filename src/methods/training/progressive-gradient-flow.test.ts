/** Progressive gradient flow: the worked example, schedules, and what each recipe is when nothing fades or all is kept. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { init, shutdown } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { mlp } from "../../models/mlp.ts";
import { vit } from "../../models/vit.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { sum } from "../../nn/ops/reduce.ts";
import { AdamW, type Optimiser, Sgd } from "../../nn/optimiser.ts";
import type { Run, SparseTraining } from "../../sparsity/hook.ts";
import type { Tick } from "../../sparsity/schedule.ts";
import { siteOf } from "../../sparsity/site.ts";
import { fitSteps } from "../../train/fit-steps.ts";
import { keepForward, nmBitsOf, srSte } from "./bdwp.ts";
import {
  fade,
  flipMeter,
  geometricFrames,
  groupedSites,
  mdgf,
  sdgf,
  ste,
  stepwiseFrames,
} from "./progressive-gradient-flow.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const draws = (n: number, name: string): Float32Array => {
  const s = stream(3, name);
  return Float32Array.from({ length: n }, (_, i) => s.normal(i));
};

const begin = (net: Net, method: SparseTraining) => {
  const sites = method.sites?.(net) ?? [];
  method.begin?.({ net, sites, seed: 1, inputShape: [1, 16], loss: () => tensor([0]) });
  return sites;
};

const B = 8;
/** Some steps of 16-16-10; the weights of the layer that the method works on. */
async function trained(
  method: SparseTraining | undefined,
  { steps = 4, optimiser = (net: Net): Optimiser => new AdamW(net.params) } = {},
): Promise<Float32Array> {
  const net = mlp([16, 16, 10], { seed: 2 });
  await fitSteps(net, {
    optimiser: optimiser(net),
    steps,
    rate: 0.01,
    seed: 1,
    inputShape: [B, 16],
    loss: (mode) => {
      const x = tensor(draws(B * 16, `x${mode.t.step}`), [B, 16]);
      return crossEntropy(net.forward(x, mode), tensor(Int32Array.from({ length: B }, (_, i) => i % 10)));
    },
    ...(method && { method }),
  });
  const w = net.params[0].dense();
  disposeNet(net);
  return w;
}

describe("worked example: W = [3, -1, 0.5, 2] at 2:4, gradient of W~ all ones", () => {
  const t: Tick = { step: 3, steps: 4 };
  const quarter = { shape: "linear", rate: 1, warmUp: 0, fineTune: 0 } as const;
  const run = (method: SparseTraining) =>
    scope(() => {
      const net = linearLayer("l", 4, 1, { seed: 1 });
      net.params[0].assign([3, -1, 0.5, 2]);
      begin(net, method);
      const x = tensor([1, 1, 1, 1], [1, 4]);
      const { value, gradients } = valueAndGrad(() => sum(net.forward(x, { ...EVALUATE, t })), [net.params[0].value]);
      return { y: value.item(), g: [...gradients[0].toArray()] };
    });

  test("E keeps 3 and 2; with D = 1/4 W~ = [3, -0.25, 0.125, 2]", () => {
    const net = linearLayer("l", 4, 1, { seed: 1 });
    net.params[0].assign([3, -1, 0.5, 2]);
    expect([...nmBitsOf(siteOf(net.params[0], 0), [2, 4], "in")]).toEqual([1, 0, 0, 1]);
    expect(run(mdgf(quarter)).y).toBe(3 - 0.25 + 0.125 + 2);
    expect(run(ste()).y).toBe(5);
  });

  test("gradients: MdGf [1, D, D, 1] or whole; straight-through; SR-STE adds lambda (1 - E) W", () => {
    expect(run(mdgf(quarter)).g).toEqual([1, 0.25, 0.25, 1]);
    expect(run(mdgf({ ...quarter, restrict: "none" })).g).toEqual([1, 1, 1, 1]);
    expect(run(ste()).g).toEqual([1, 1, 1, 1]);
    // bdwp.ts asks for groups along the outputs, too; four equal rows do
    const net = linearLayer("l", 4, 4, { seed: 1 });
    net.params[0].assign([3, -1, 0.5, 2, 3, -1, 0.5, 2, 3, -1, 0.5, 2, 3, -1, 0.5, 2]);
    begin(net, srSte({ pattern: [2, 4], lambda: 2e-4 }));
    scope(() => {
      const x = tensor([1, 1, 1, 1], [1, 4]);
      const g = valueAndGrad(() => sum(net.forward(x, EVALUATE)), [net.params[0].value]).gradients[0].toArray();
      const want = [1, 1 - 2e-4, 1 + 1e-4, 1];
      for (let i = 0; i < 16; i++) expect(g[i]).toBeCloseTo(want[i % 4], 7);
    });
  });

  test("rows scaled by positive numbers keep E", () => {
    const w = draws(8 * 16, "w");
    const net = linearLayer("l", 16, 8, { seed: 1 });
    const bits = (by: (row: number) => number) => {
      net.params[0].assign(w.map((v, i) => v * by(Math.floor(i / 16))));
      return nmBitsOf(siteOf(net.params[0], 0), [1, 4], "in");
    };
    expect(bits((r) => 2 ** (r - 4))).toEqual(bits(() => 1));
  });
});

describe("schedules", () => {
  test("D of the exponential: 0.58, 0.33, 0.064 at 5, 10, 25 %, and 0 once below 0.01", () => {
    const d = fade({ warmUp: 0, fineTune: 0 });
    const at = (share: number) => d({ step: 1000 * share, steps: 1000 });
    expect(at(0)).toBe(1);
    for (const [share, want] of [
      [0.05, 0.577],
      [0.1, 0.333],
      [0.25, 0.0639],
    ]) {
      expect(at(share)).toBeCloseTo(want, 3);
    }
    // exp(-11 t) = 0.01 at t = 0.4187
    expect(at(0.418)).toBeGreaterThan(0.01);
    expect(at(0.419)).toBe(0);
    expect(at(0.5)).toBe(0);
  });

  test("linear: 0 after 40 % of the run; warm-up and last phase", () => {
    const d = fade({ shape: "linear", warmUp: 0.1, fineTune: 0.55 });
    const at = (step: number) => d({ step, steps: 1000 });
    expect([at(0), at(100)]).toEqual([1, 1]);
    expect(at(300)).toBeCloseTo(0.5, 12);
    expect(at(449)).toBeGreaterThan(0.1);
    expect(at(450)).toBe(0);
    expect(fade({ shape: "linear", warmUp: 0, fineTune: 0 })({ step: 400, steps: 1000 })).toBe(0);
  });

  test("frames of 1:16 stepwise, of 1:8 geometric, and where the inputs are too few", () => {
    const text = (frames: readonly (readonly number[])[]) => frames.map((f) => f.join(":")).join(", ");
    expect(text(stepwiseFrames([1, 16]))).toBe("15:16, 8:16, 4:16, 2:16, 1:16");
    expect(text(stepwiseFrames([2, 4]))).toBe("3:4, 2:4");
    expect(text(geometricFrames([1, 8], 128))).toBe("8:64, 4:32, 2:16, 1:8");
    expect(text(geometricFrames([1, 8], 48))).toBe("2:16, 2:16, 2:16, 1:8");
    expect(text(geometricFrames([1, 16], 64))).toBe("4:64, 4:64, 2:32, 1:16");
    expect(() => stepwiseFrames([3, 16])).toThrow(LacunaError);
  });

  test("SdGf: dense, then each frame for an equal part, then N:M", () => {
    const net = linearLayer("l", 16, 4, { seed: 1 });
    begin(net, sdgf({ pattern: [1, 16], warmUp: 0.1, fineTune: 0.4 }));
    const kept = (step: number): number =>
      scope(() => {
        const seen = net.params[0].view?.forward(net.params[0], { step, steps: 100 }).toArray() as Float32Array;
        return seen.reduce((n, v) => n + (v !== 0 ? 1 : 0), 0) / 4;
      });
    expect([0, 9, 10, 19, 20, 30, 40, 50, 59, 60, 99].map(kept)).toEqual([16, 16, 15, 15, 8, 4, 2, 1, 1, 1, 1]);
  });
});

describe("recipes that are one another", () => {
  const all = { warmUp: 0, fineTune: 0 };

  test("beta = 0 is dense training, bit for bit, with each restriction", async () => {
    const dense = await trained(undefined);
    for (const restrict of ["grad", "none"] as const) {
      expect(await trained(mdgf({ ...all, rate: 0, restrict }))).toEqual(dense);
    }
    // the gate takes the step apart and puts it together again
    const gated = await trained(mdgf({ ...all, rate: 0, restrict: "update" }));
    gated.forEach((w, i) => {
      expect(Math.abs(w - dense[i])).toBeLessThan(1e-6);
    });
  });

  test("D = 0 without restriction is straight-through, and so is SR-STE with lambda 0", async () => {
    const straight = await trained(ste([1, 4]));
    expect(await trained(mdgf({ pattern: [1, 4], fineTune: 1, restrict: "none" }))).toEqual(straight);
    expect(await trained(srSte({ pattern: [1, 4], lambda: 0 }))).toEqual(straight);
    expect(await trained(srSte({ pattern: [1, 4], lambda: 0.1 }))).not.toEqual(straight);
    expect(straight).not.toEqual(await trained(undefined));
  });

  test("N = M is dense training for every recipe", async () => {
    const dense = await trained(undefined);
    const pattern = [4, 4] as const;
    const recipes = [
      ste(pattern),
      srSte({ pattern }),
      mdgf({ pattern }),
      mdgf({ pattern, shape: "linear" }),
      sdgf({ pattern }),
      sdgf({ pattern, frames: "geometric" }),
    ];
    for (const recipe of recipes) {
      const w = await trained(recipe);
      // packed products add up in another order
      w.forEach((v, i) => {
        expect(Math.abs(v - dense[i]), recipe.id).toBeLessThan(1e-5);
      });
    }
  });

  test("a gated update moves pruned weights D times as far as an ungated one", async () => {
    const options = { ...all, pattern: [1, 4], shape: "linear", rate: 0.3 } as const;
    const optimiser = (net: Net): Optimiser => new Sgd(net.params);
    const start = await trained(undefined, { steps: 0 });
    // one step at D = 1, then one at 0.85
    const moved = async (restrict: "none" | "update") =>
      trained(mdgf({ ...options, restrict }), { steps: 2, optimiser });
    const [free, gated] = [await moved("none"), await moved("update")];
    const first = await trained(mdgf({ ...options, rate: 0, restrict: "none" }), { steps: 1, optimiser });
    const net = linearLayer("l", 16, 16, { seed: 1 });
    net.params[0].assign(first);
    const bits = nmBitsOf(siteOf(net.params[0], 0), [1, 4], "in");
    free.forEach((w, i) => {
      const step = w - first[i];
      expect(gated[i] - first[i]).toBeCloseTo(bits[i] ? step : 0.85 * step, 6);
    });
    expect(first).not.toEqual(start);
  });
});

describe("in a transformer", () => {
  const net = () => vit({ seed: 1, size: 14, width: 16, depth: 1, heads: 2, ff: 32 });

  test("all linear layers of the blocks are sites; patch and classifier are dense; widths that M does not divide stay", () => {
    const parts = ["attention.q", "attention.k", "attention.v", "attention.o", "ff1", "ff2"];
    expect(groupedSites(net(), 16).map((s) => s.name)).toEqual(parts.map((p) => `block0.${p}.weight`));
    expect(groupedSites(net(), 32).map((s) => s.name)).toEqual(["block0.ff2.weight"]);
    expect(() => groupedSites(net(), 64)).toThrow(LacunaError);
  });

  test("exported weights keep N of every M and give the logits of training at D = 0", () => {
    const model = net();
    const sites = begin(model, mdgf({ pattern: [1, 16] }));
    const end = { train: false, t: { step: 100, steps: 100 }, seed: 0 };
    const logits = () => scope(() => model.forward(tensor(draws(2 * 196, "images"), [2, 1, 14, 14]), end).toArray());
    const before = logits();
    keepForward(sites, [1, 16]);
    const after = logits();
    after.forEach((v, i) => {
      expect(Math.abs(v - before[i])).toBeLessThan(1e-5);
    });
    for (const { param, columns } of sites) {
      const w = param.dense();
      for (let at = 0; at < w.length; at += 16) {
        expect(w.subarray(at, at + 16).reduce((n, v) => n + (v !== 0 ? 1 : 0), 0)).toBeLessThanOrEqual(1);
      }
      expect(columns % 16).toBe(0);
    }
  });
});

test("the flip meter counts entries that changed between two looks", () => {
  const net = linearLayer("l", 4, 2, { seed: 1 });
  const sites = [siteOf(net.params[0], 0)];
  const meter = flipMeter([1, 4], 4);
  const at = (step: number, w: readonly number[]) => {
    net.params[0].assign(w);
    meter.step?.({ t: { step, steps: 8 }, sites } as unknown as Run);
  };
  at(1, [9, 0, 0, 0, 9, 0, 0, 0]);
  at(2, [2, 1, 0, 0, 2, 1, 0, 0]);
  at(3, [0, 0, 0, 9, 0, 0, 0, 9]);
  at(4, [1, 2, 0, 0, 2, 1, 0, 0]);
  at(6, [1, 2, 0, 0, 2, 1, 0, 0]);
  at(8, [2, 1, 0, 0, 0, 0, 0, 1]);
  expect(meter.flips).toEqual([
    { step: 4, share: 2 / 8 },
    { step: 6, share: 0 },
    { step: 8, share: 4 / 8 },
  ]);
});
