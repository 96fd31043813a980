/** SparCL: dense replay as its limit, the masks' schedule, gradient masks, data removal, forgetting, cost. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { init, memory, shutdown } from "../../core/engine.ts";
import { stream } from "../../core/random.ts";
import { type Examples, examples } from "../../data/examples.ts";
import { ReplayBuffer } from "../../data/replay-buffer.ts";
import { splitTasks } from "../../data/tasks.ts";
import { classify } from "../../evaluate/classify.ts";
import { mlp } from "../../models/mlp.ts";
import { since, type Tally, tally, totalMacs } from "../../nn/cost.ts";
import { disposeNet, type Net } from "../../nn/net.ts";
import { groupOfClass } from "../../nn/ops/loss-group.ts";
import { Sgd } from "../../nn/optimiser.ts";
import type { Param } from "../../nn/param.ts";
import { probe } from "../../sparsity/evidence.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import { maskOf } from "../../sparsity/mask.ts";
import { siteOf } from "../../sparsity/site.ts";
import { fit as train } from "../../train/fit.ts";
import { replay } from "./replay.ts";
import {
  continualImportance,
  dataRemoval,
  Forgetting,
  largestGradients,
  sparcl,
  taskAwareMasks,
  withGradientMask,
} from "./sparcl.ts";
import { staticRandom } from "./static.ts";

beforeAll(() => init({ threads: 1 }));
afterAll(shutdown);

const WIDTH = 24;
const CLASSES = 4;
const groups = [
  [0, 1],
  [2, 3],
];
const groupOf = groupOfClass(CLASSES, groups);

function planted(count: number, name: string): Examples {
  const [centre, noise] = [stream(1, "centres"), stream(2, name)];
  const y = Uint8Array.from({ length: count }, (_, i) => i % CLASSES);
  const x = Float32Array.from({ length: count * WIDTH }, (_, i) => {
    const [row, k] = [Math.floor(i / WIDTH), i % WIDTH];
    return 0.6 * centre.normal(y[row] * WIDTH + k) + noise.normal(i);
  });
  return examples({ name, shape: [WIDTH], classes: CLASSES, x, y });
}

const all = { train: planted(320, "train"), validation: planted(200, "held"), test: planted(200, "held") };
const tasks = splitTasks(all, groups);
const EPOCHS = 6;
const HIDDEN = [48, 40];
const make = (): Net => mlp([WIDTH, ...HIDDEN, CLASSES], { seed: 3 });

interface Options {
  readonly method?: (t: number) => SparseTraining;
  /** share of the data removed */
  readonly removed?: number;
  readonly storage?: "sparse" | "masked";
  readonly watch?: Hook;
  readonly buffer?: number;
}

async function stream2({ method, removed, storage = "sparse", watch, buffer = 60 }: Options) {
  const net = make();
  const memories = buffer > 0 ? new ReplayBuffer(buffer, all.train, 8) : undefined;
  const losses: number[] = [];
  const gone: number[] = [];
  let used: Tally | undefined;
  for (const [t, task] of tasks.entries()) {
    const optimiser = new Sgd(net.params);
    const host = replay(net, task.train, { ...(memories && { buffer: memories }), groups: groupOf });
    const removal =
      removed === undefined
        ? []
        : [
            dataRemoval(task.train.count, () => host.last, {
              share: removed,
              every: 1,
              until: 3,
              onRemoval: (places) => gone.push(places.length),
            }),
          ];
    const before = tally();
    await train(net, {
      optimiser,
      source: host.source,
      loss: host.loss,
      epochs: EPOCHS,
      batch: 16,
      rate: 0.1,
      seed: 20 + t,
      task: t,
      storage,
      ...(method && { method: method(t) }),
      hooks: [...host.hooks, ...removal, ...(watch ? [watch] : [])],
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    });
    used = since(before);
    optimiser.dispose();
  }
  const { accuracy } = classify(net, all.test);
  const values = net.params.map((p) => p.dense());
  disposeNet(net);
  return { losses, accuracy, values, gone, used: used as Tally, seen: memories?.seen };
}

const masks = { exchange: 0.02, every: 1, epochs: EPOCHS };

test("without sparsity of weights, gradients and data it is DER++, bit for bit", async () => {
  const before = memory.live;
  const dense = await stream2({});
  const limit = await stream2({
    method: () => sparcl({ masks: { ...masks, sparsity: 0, exchange: 0 }, gradients: { sparsity: 0 } }),
    removed: 0,
  });
  expect(limit.losses).toEqual(dense.losses);
  expect(limit.values).toEqual(dense.values);
  expect(dense.seen).toBe(2 * EPOCHS * 160);
  expect(memory.live).toBe(before);
});

test("replay keeps what training on forgets", async () => {
  const [kept, lost] = [await stream2({}), await stream2({ buffer: 0 })];
  expect(kept.accuracy).toBeGreaterThan(lost.accuracy + 0.05);
});

test("a layer's sparsity is s - p in the first window of a task and s afterwards; masks move, then rest", async () => {
  const [s, p] = [0.75, 0.02];
  const seen: number[][] = [];
  const bits: string[] = [];
  const watch: Hook = {
    id: "watch",
    step: ({ t, sites }) => {
      // in the middle of each epoch of 10 steps
      if (t.step % 10 === 5) seen.push(sites.map((site) => 1 - site.param.kept / site.numel));
    },
    epoch: ({ sites }) => void bits.push(sites.map((site) => site.param.bits().join("")).join()),
  };
  await stream2({ method: () => sparcl({ masks: { ...masks, sparsity: s, exchange: p } }), watch });
  expect(seen.length).toBe(2 * EPOCHS);
  seen.forEach((layers, e) => {
    const wanted = e % EPOCHS === 0 ? s - p : s;
    layers.forEach((x, k) => {
      expect(Math.abs(x - wanted), `epoch ${e}, layer ${k}`).toBeLessThanOrEqual(
        1 / (HIDDEN[0] * [WIDTH, HIDDEN[1]][k]),
      );
    });
  });
  const changes = Array.from({ length: EPOCHS - 1 }, (_, e) => bits[e] !== bits[e + 1]);
  expect(changes).toEqual([true, true, true, false, false]);
});

test("the task's first mask has p more of each layer than its share, of which what was there is kept", () => {
  const net = make();
  const sites = [0, 2].map((k, i) => siteOf(net.params[k], i));
  const begin = (seed: number) =>
    taskAwareMasks({ ...masks, sparsity: 0.75 }).begin?.({
      net,
      sites,
      seed,
      inputShape: [1, WIDTH],
      loss: () => {
        throw new Error("no gradient is needed");
      },
    });
  begin(1);
  sites.forEach((s) => {
    expect(Math.abs(1 - s.param.kept / s.numel - 0.73)).toBeLessThan(1 / s.numel);
    s.param.setMask(maskOf(s.param.bits().map((b, i) => (i < 60 ? 0 : b))));
  });
  const before = sites.map((s) => s.param.bits());
  begin(2);
  sites.forEach((s, k) => {
    expect(Math.abs(1 - s.param.kept / s.numel - 0.73)).toBeLessThan(1 / s.numel);
    // what is beyond the share of before is for sale; the share is kept
    const stayed = s.param.bits().filter((b, i) => b === 1 && before[k][i] === 1).length;
    expect(stayed).toBeGreaterThanOrEqual(Math.min(maskOf(before[k]).kept, Math.round(0.25 * s.numel) - 1));
  });
  disposeNet(net);
});

test("of each layer (1 - q) N gradients are applied; weights outside of the mask, and grown ones at first, stay 0", async () => {
  for (const storage of ["masked", "sparse"] as const) {
    const counts: number[] = [];
    const apart: number[] = [];
    const onGradient = (p: Param, g: { f32: Float32Array }): void => {
      counts.push(g.f32.reduce((n, x) => n + (x === 0 ? 0 : 1), 0) / p.numel);
    };
    const watch: Hook = {
      id: "watch",
      step: ({ sites }) => {
        for (const { param } of sites) {
          const bits = param.bits();
          apart.push(param.dense().filter((w, i) => bits[i] === 0 && w !== 0).length);
        }
      },
    };
    // fixed masks, so that each choice of gradients stays as it is
    const method = () => withGradientMask(staticOnce(), { sparsity: 0.8, every: 30, onGradient });
    await stream2({ method, storage, watch });
    // a ReLU that is off for a whole batch leaves zeros among the chosen, and then there are fewer
    expect(Math.max(...counts)).toBeLessThanOrEqual(0.2 + 1 / (WIDTH * HIDDEN[0]));
    expect(counts.filter((c) => Math.abs(c - 0.2) <= 1 / (HIDDEN[0] * WIDTH)).length).toBeGreaterThan(5);
    expect(Math.max(...apart)).toBe(0);
  }
});

/** Fixed masks of the hidden layers, drawn in the first task only. */
function staticOnce(): SparseTraining {
  const fixed = staticRandom({ sparsity: 0.75 });
  return {
    ...fixed,
    sites: (net) => [0, 2].map((k, i) => siteOf(net.params[k], i)),
    begin(b) {
      if (b.sites[0].param.storage === "dense") fixed.begin?.(b);
    },
  };
}

test("the largest of all gradients are chosen, those of masked weights never before others", () => {
  expect([...largestGradients(Float32Array.of(0, -3, 1, 0, 2, -0.5), 3)]).toEqual([0, 1, 1, 0, 1, 0]);
  const run = () =>
    stream2({ method: () => sparcl({ masks: { ...masks, sparsity: 0.75 }, gradients: { sparsity: 0.5 } }) });
  return expect(run()).rejects.toThrow(/gradient sparsity above that of the weight/);
});

test("stored sparse and masked, training is the same; stored sparse, only what is needed is computed", async () => {
  const method = () => sparcl({ masks: { ...masks, sparsity: 0.75 }, gradients: { sparsity: 0.85 } });
  const masked = await stream2({ method, storage: "masked", removed: 0.3 });
  const sparse = await stream2({ method, removed: 0.3 });
  const apart = sparse.losses.map((l, i) => Math.abs(l - masked.losses[i]));
  // f32 sums in another order over some 80 steps, which later ones amplify
  expect(Math.max(...apart.slice(0, 80))).toBeLessThan(1e-4);
  expect(sparse.losses.length).toBe(masked.losses.length);
  expect(sparse.gone).toEqual([16, 16, 16, 16, 16, 16]);
  const dense = await stream2({});
  const [a, b] = [WIDTH * HIDDEN[0], HIDDEN[0] * HIDDEN[1]];
  const head = HIDDEN[1] * CLASSES;
  const per = a * (0.25 + 0.15) + b * (0.25 + 0.25 + 0.15) + 3 * head;
  const ratio = totalMacs(sparse.used.ran) / totalMacs(dense.used.ran);
  const closed = (per * 0.8) / (2 * a + 3 * b + 3 * head);
  // the first window has p more weights, steps that choose or read gradients compute all of them
  expect(ratio).toBeGreaterThan(closed);
  expect(ratio).toBeLessThan(closed * 1.08);
});

test("cost of a layer: (2 (1 - s) + 1 - q) / 3 = 0.2333 for s = 0.75, q = 0.80", async () => {
  const net = mlp([64, 64, 64], { seed: 1, bias: false });
  const [p] = net.params;
  p.setMask(maskOf(Uint8Array.from({ length: 4096 }, (_, i) => (i % 4 === 0 ? 1 : 0))));
  p.as("csr");
  p.takeGradientAt(Uint8Array.from({ length: 4096 }, (_, i) => (i % 20 < 16 ? 1 : 0)));
  const { kept, gradientPlaces } = p;
  expect((2 * kept + (gradientPlaces?.index.nonZeros ?? 0)) / (3 * 4096)).toBeCloseTo(0.2333, 3);
  disposeNet(net);
});

test("forgetting events of right and wrong answers 0, 1, 1, 0, 1, 0 are 2; never right is most", () => {
  const f = new Forgetting(3);
  for (const c of [0, 1, 1, 0, 1, 0]) f.note([1], [c]);
  f.note([0], [1]);
  expect([0, 1, 2].map((p) => f.of(p))).toEqual([0, 2, Number.POSITIVE_INFINITY]);
});

test("easy examples are removed, not those that are forgotten or never learnt; counts live on through windows", () => {
  const right = (epoch: number, place: number): number => [1, epoch % 2, 0][place % 3];
  const removed: number[] = [];
  let last: { places: Int32Array; correct: Uint8Array } | undefined;
  const hook = dataRemoval(30, () => last, { share: 0.3, every: 1, until: 3 });
  let left = Array.from({ length: 30 }, (_, i) => i);
  for (let epoch = 1; epoch <= 5; epoch++) {
    last = { places: Int32Array.from(left), correct: Uint8Array.from(left, (p) => right(epoch, p)) };
    const run = {
      t: { step: epoch, steps: 6, epoch },
      seed: 1,
      remove: (places: Int32Array) => {
        removed.push(...places);
        left = left.filter((p) => !places.includes(p));
      },
    };
    hook.step?.(run as never);
    hook.epoch?.(run as never);
  }
  expect(removed.length).toBe(9);
  // after the first epoch nothing was forgotten yet, so what was right then goes by lot; from then on the always right
  expect(removed.slice(0, 3).every((p) => p % 3 !== 2)).toBe(true);
  expect(removed.slice(3).every((p) => p % 3 === 0)).toBe(true);
});

test("importance is |w| + lambda |g|", () => {
  const net = mlp([2, 2], { seed: 1, bias: false });
  const [p] = net.params;
  p.assign([1, -2, 0.5, 0]);
  const site = siteOf(p, 0);
  const score = continualImportance(0.5, () => Float32Array.of(-4, 0, 1, 2));
  const unused = (): never => {
    throw new Error("unused");
  };
  expect([...score.of(site, probe([site], unused, 1))]).toEqual([3, 2, 1, 1]);
  disposeNet(net);
});
