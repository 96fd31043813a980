/** Subnetworks of one backbone: nothing is forgotten, counts hold, exploration is as expected; growth by gradient; EWC. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { scope } from "../../core/scope.ts";
import { valueAndGrad } from "../../core/tape.ts";
import { tensor } from "../../core/tensor.ts";
import { makeBatch } from "../../data/example-batches.ts";
import { type Examples, examples, take } from "../../data/examples.ts";
import { splitTasks } from "../../data/tasks.ts";
import { classify } from "../../evaluate/classify.ts";
import { accuracyMatrix, continualMetrics } from "../../evaluate/continual.ts";
import { mlp } from "../../models/mlp.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { disposeNet, EVALUATE, type Net } from "../../nn/net.ts";
import { sub } from "../../nn/ops/elementwise.ts";
import { checkGradients } from "../../nn/ops/gradient-check.ts";
import { crossEntropy } from "../../nn/ops/loss.ts";
import { sumSquares } from "../../nn/ops/loss-element.ts";
import { groupCrossEntropy, groupOfClass } from "../../nn/ops/loss-group.ts";
import { Adam } from "../../nn/optimiser.ts";
import { erk } from "../../sparsity/budget-shapes.ts";
import { gradient, magnitude, momentum, random, type Score, unfired } from "../../sparsity/criteria.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Hook } from "../../sparsity/hook.ts";
import { maskOf } from "../../sparsity/mask.ts";
import { rewired } from "../../sparsity/rewire.ts";
import { constant, cosine, never } from "../../sparsity/schedule.ts";
import { siteOf } from "../../sparsity/site.ts";
import { sourceOf, fit as train } from "../../train/fit.ts";
import { type ClDstOptions, Subnetworks } from "./cl-dst.ts";
import { Ewc } from "./ewc.ts";
import { expectedExploration } from "./itop.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const WIDTH = 20;
const CLASSES = 6;

function planted(count: number, name: string): Examples {
  const [centre, noise] = [stream(1, "centres"), stream(2, name)];
  const y = Uint8Array.from({ length: count }, (_, i) => i % CLASSES);
  const x = Float32Array.from({ length: count * WIDTH }, (_, i) => {
    const [row, k] = [Math.floor(i / WIDTH), i % WIDTH];
    return 0.9 * centre.normal(y[row] * WIDTH + k) + noise.normal(i);
  });
  return examples({ name, shape: [WIDTH], classes: CLASSES, x, y });
}

const groups = [
  [0, 1],
  [2, 3],
  [4, 5],
];
const all = { train: planted(360, "train"), validation: planted(120, "held"), test: planted(120, "held") };
const tasks = splitTasks(all, groups);
const groupOf = groupOfClass(CLASSES, groups);
const columns = (t: number) => ({ from: 2 * t, to: 2 * t + 2 });
const make = (): Net => mlp([WIDTH, 40, 30, CLASSES], { seed: 3, bias: false });

/** Two epochs of 6 steps; updates after every second. */
async function learn(
  net: Net,
  subnets: Subnetworks,
  t: number,
  options: ClDstOptions & { epochs?: number },
  hooks: Hook[] = [],
) {
  const optimiser = new Adam(net.params);
  const method = subnets.next({ every: 2, ...options });
  const losses: number[] = [];
  await train(net, {
    optimiser,
    source: sourceOf(tasks[t].train),
    epochs: options.epochs ?? 2,
    batch: 20,
    rate: 1e-2,
    seed: 50 + t,
    loss: (output, { y }) => groupCrossEntropy(output, y, groupOf),
    method,
    hooks,
    onStep: ({ loss }) => {
      losses.push(loss);
    },
  });
  optimiser.dispose();
  subnets.keep();
  return { method, losses };
}

const valuesOf = (net: Net): number[] => net.params.flatMap((p) => [...p.dense()]);

test("with isolation BWT is 0, and the logits of a task's classes stay the same bit for bit", async () => {
  const before = memory.live;
  for (const growth of [random, unfired, gradient, momentum(), null] as (Score | null)[]) {
    const net = make();
    const subnets = new Subnetworks(net);
    const own: number[][] = [];
    const logits = (j: number): number[] => {
      subnets.use(j);
      const { logits } = classify(net, tasks[j].test);
      return [...logits].filter((_, i) => groupOf[i % CLASSES] === j);
    };
    const r = await accuracyMatrix(
      tasks.length,
      async (t) => {
        await learn(net, subnets, t, {
          sparsity: 0.7,
          epochs: 5,
          growth: growth?.id === "momentum" ? momentum() : growth,
        });
        own.push(logits(t));
      },
      (j, i) => {
        subnets.use(Math.min(i, j));
        return classify(net, tasks[j].test, { columns: columns(j) }).accuracy;
      },
    );
    expect(continualMetrics(r).bwt).toBe(0);
    for (let j = 0; j < tasks.length; j++) {
      for (let i = j; i < tasks.length; i++) expect(r[i][j]).toBe(r[j][j]);
      expect(logits(j)).toEqual(own[j]);
      expect(r[j][j]).toBeGreaterThan(0.8);
    }
    subnets.dispose();
    disposeNet(net);
  }
  expect(memory.live).toBe(before);
});

test("frozen weights keep their values, grown ones bring them along, free ones start at 0", async () => {
  const net = make();
  const subnets = new Subnetworks(net);
  await learn(net, subnets, 0, { sparsity: 0.7 });
  const frozen = subnets.sites.map((s) => s.param.dense());
  let reused = 0;
  let fresh = 0;
  let before: Uint8Array[] = [];
  const watch: Hook = {
    id: "watch",
    step: ({ t }) => {
      subnets.sites.forEach((s, k) => {
        const bits = s.param.bits();
        const w = s.param.dense();
        bits.forEach((b, i) => {
          const held = subnets.masks[0][k].bits[i] === 1;
          if (held) expect(w[i]).toBe(frozen[k][i]);
          else if (b === 0) expect(w[i]).toBe(0);
          if (t.step === 1 || b === 0 || before[k][i] === 1) return;
          if (held) reused++;
          else {
            fresh++;
            expect(w[i]).toBe(0);
          }
        });
      });
      before = subnets.sites.map((s) => s.param.bits());
    },
  };
  await learn(net, subnets, 1, { sparsity: 0.7 }, [watch]);
  expect(reused).toBeGreaterThan(20);
  expect(fresh).toBeGreaterThan(20);
  subnets.dispose();
  disposeNet(net);
});

test("every layer has as many weights after an update as before, by uniform and by ERK; masks do move", async () => {
  for (const options of [{ sparsity: 0.8 }, { sparsity: 0.8, budget: erk }]) {
    const net = make();
    const subnets = new Subnetworks(net);
    const counts: string[] = [];
    const watch: Hook = { id: "watch", step: ({ sites }) => void counts.push(sites.map((s) => s.param.kept).join()) };
    const { method } = await learn(net, subnets, 0, { ...options, growth: gradient }, [watch]);
    expect(new Set(counts).size).toBe(1);
    expect(subnets.sites.reduce((n, s) => n + s.param.kept, 0)).toBe(0.2 * (20 * 40 + 40 * 30));
    expect(method.meter.updates).toBe(5);
    expect(method.meter.grown).toBe(method.meter.dropped);
    expect(method.meter.fromFirst).toBeGreaterThan(0.1);
    subnets.dispose();
    disposeNet(net);
  }
});

test("an exchange of nothing is training with fixed masks, bit for bit", async () => {
  const runs = [];
  for (const options of [{ growth: null }, { fraction: [0, 0] as const, growth: gradient }]) {
    const net = make();
    const subnets = new Subnetworks(net);
    const losses = [];
    for (const t of [0, 1]) losses.push(...(await learn(net, subnets, t, { sparsity: 0.8, ...options })).losses);
    runs.push({ losses, values: valuesOf(net) });
    subnets.dispose();
    disposeNet(net);
  }
  expect(runs[1]).toEqual(runs[0]);
});

test("random masks of density d use 1 - (1 - d)^T of the places after T tasks", () => {
  const expected = [
    [0.2, 5, 0.6723],
    [0.1, 5, 0.4095],
    [0.2, 10, 0.8926],
  ];
  for (const [density, count, share] of expected) {
    const net = mlp([200, 200, 200, 2], { seed: 1, bias: false });
    const subnets = new Subnetworks(net);
    for (let t = 0; t < count; t++) {
      const loss = () => sumSquares(net.params[0].value);
      subnets
        .next({ sparsity: 1 - density })
        .begin?.({ net, sites: subnets.sites, seed: t, inputShape: [1, 200], loss });
      subnets.keep();
    }
    expect(1 - (1 - density) ** count).toBeCloseTo(share, 4);
    // 80,000 places: 4 standard deviations
    expect(Math.abs(subnets.used - share)).toBeLessThan(4 * Math.sqrt((share * (1 - share)) / 80000));
    subnets.dispose();
    disposeNet(net);
  }
});

test("growth by gradient takes the largest |residual x| of a linear model with squared error", () => {
  const layer = linearLayer("w", 8, 5, { seed: 2, bias: false });
  const [param] = layer.params;
  const bits = Uint8Array.from({ length: 40 }, (_, i) => (i % 3 === 0 ? 1 : 0));
  param.setMask(maskOf(bits));
  const noise = stream(9, "data");
  const [x, y] = [8, 5].map((n, k) => Float64Array.from({ length: 6 * n }, (_, i) => noise.normal(1000 * k + i)));
  const site = siteOf(param, 0);
  const w = param.dense();
  const evidence = probe(
    [site],
    () => {
      const out = layer.forward(tensor(Float32Array.from(x), [6, 8]), EVALUATE);
      const target = tensor(Float32Array.from(y), [6, 5]);
      return sumSquares(sub(out, target));
    },
    1,
  );
  const steepness = Float64Array.from(w, (_, flat) => {
    const [o, i] = [Math.floor(flat / 8), flat % 8];
    let sum = 0;
    for (let n = 0; n < 6; n++) {
      let r = -y[5 * n + o];
      for (let k = 0; k < 8; k++) r += w[8 * o + k] * x[8 * n + k];
      sum += r * x[8 * n + i];
    }
    return Math.abs(sum);
  });
  const r = { drop: magnitude, grow: gradient, budget: erk, target: constant(0), when: never, regrow: false };
  const next = scope(() => rewired(r, site, maskOf(bits).kept, 4, evidence));
  const inactive = [...bits.keys()].filter((i) => bits[i] === 0);
  const wanted = inactive.sort((a, b) => steepness[b] - steepness[a]).slice(0, 4);
  expect(inactive.filter((i) => next.bits[i] === 1).sort()).toEqual(wanted.sort());
  disposeNet(layer);
});

test("the exchanged share falls from 0.5 to 0.005 by half a cosine", () => {
  const share = cosine(0.5, 0.005);
  expect(share({ step: 0, steps: 248 })).toBe(0.5);
  expect(share({ step: 124, steps: 248 })).toBeCloseTo(0.2525, 12);
  expect(share({ step: 248, steps: 248 })).toBe(0.005);
});

test("random growth explores as much as expected, and more than fixed masks", async () => {
  const net = mlp([WIDTH, 400, 300, CLASSES], { seed: 4, bias: false });
  const subnets = new Subnetworks(net);
  const { method } = await learn(net, subnets, 0, { sparsity: 0.9, growth: random });
  const share = cosine(0.5, 0.005);
  const places = subnets.sites.reduce((n, s) => n + s.numel, 0);
  const tried = subnets.sites.reduce((n, s) => {
    const exchanged = [2, 4, 6, 8, 10].map((step) => Math.ceil(share({ step, steps: 12 }) * s.param.kept));
    return n + s.numel * expectedExploration(s.numel, s.param.kept, exchanged);
  }, 0);
  // 128,000 places, of which some 23 % are tried; 4 standard deviations of that share are 2 % of it
  expect(Math.abs((method.meter.explored * places) / tried - 1)).toBeLessThan(0.02);
  expect(method.meter.explored).toBeGreaterThan(0.2);
  expect(expectedExploration(10, 2, [])).toBe(0.2);
  expect(expectedExploration(10, 2, [8])).toBe(1);
  subnets.dispose();
  disposeNet(net);
});

test("biases would be forgotten, and are refused", () => {
  const net = mlp([4, 3, 2], { seed: 1 });
  expect(() => new Subnetworks(net)).toThrow(/fc1.bias, fc2.bias/);
  disposeNet(net);
});

test("EWC: the penalty of two tasks has the gradient of the sum of both, by differences and by formula", () => {
  const net = mlp([3, 2], { seed: 5, bias: false });
  const [p] = net.params;
  const e = { ...take(planted(4, "few"), [0, 1]), x: Float32Array.from([1, 2, 3, -1, 0, 2]), shape: [3] };
  const ewc = new Ewc(net, 10);
  expect(ewc.hooks.length).toBe(0);
  const [fishers, centres]: [Float64Array[], Float32Array[]] = [[], []];
  for (const shift of [0, 0.5]) {
    p.assign(p.dense().map((w) => w + shift));
    const losses = [0, 1].map((i) => () => {
      const { x, y } = makeBatch(e, Int32Array.of(i));
      return crossEntropy(net.forward(x, EVALUATE), y);
    });
    const squares = new Float64Array(6);
    for (const loss of losses) {
      scope(() => {
        valueAndGrad(loss, [p.value]).gradients[0].f32.forEach((g, i) => {
          squares[i] += (g * g) / 2;
        });
      });
    }
    fishers.push(squares);
    centres.push(p.dense());
    ewc.consolidate(losses);
  }
  p.assign(p.dense().map((w, i) => w + 0.1 * i));
  const w = p.dense();
  const { gradients } = valueAndGrad(() => ewc.hooks[0].penalty?.({} as never) as never, [p.value]);
  gradients[0].f32.forEach((g, i) => {
    const wanted = [0, 1].reduce((s, k) => s + 20 * fishers[k][i] * (w[i] - centres[k][i]), 0);
    expect(Math.abs(g - wanted)).toBeLessThan(1e-5 * Math.max(1, Math.abs(wanted)));
  });
  checkGradients([p.value], () => ewc.penalty());
  ewc.dispose();
  disposeNet(net);
});
