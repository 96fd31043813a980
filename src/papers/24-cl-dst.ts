/**
 * Continual learning with dynamic sparse training (Yildirim et al. 2024): five tasks of two classes in one backbone, with a
 * sparse subnetwork for each, against training on and on without protection, against EWC, against all tasks at once, and
 * against fixed masks. Fashion-MNIST, 2,000 images a class; CIFAR-10 (900 images a class), where tasks do get forgotten.
 *
 * A task is told which it is (its own logits only). The head is dense in all. PackNet and SpaceNet are left out. Pixels are
 * standardised by two numbers over the training images of all tasks.
 */
import { scope } from "../core/scope.ts";
import { type MakeOptions, makeBatch } from "../data/example-batches.ts";
import { type Examples, mapSplits, perClass, type Splits } from "../data/examples.ts";
import { loadCifar10Subset, loadFashionMnist } from "../data/load.node.ts";
import { standardiser } from "../data/normalise.ts";
import { classGroups, splitTasks, type Task } from "../data/tasks.ts";
import { classify } from "../evaluate/classify.ts";
import { accuracyMatrix, continualMetrics } from "../evaluate/continual.ts";
import { Subnetworks } from "../methods/training/cl-dst.ts";
import { Ewc } from "../methods/training/ewc.ts";
import { expectedExploration } from "../methods/training/itop.ts";
import { mlp } from "../models/mlp.ts";
import { disposeNet, EVALUATE, type Net } from "../nn/net.ts";
import { groupCrossEntropy, groupOfClass } from "../nn/ops/loss-group.ts";
import { Adam } from "../nn/optimiser.ts";
import { uniform } from "../sparsity/budget.ts";
import { erk } from "../sparsity/budget-shapes.ts";
import type { NetBudget } from "../sparsity/choose.ts";
import { gradient, momentum, random, type Score, unfired } from "../sparsity/criteria.ts";
import type { Hook, SparseTraining } from "../sparsity/hook.ts";
import { cosine } from "../sparsity/schedule.ts";
import { fit, sourceOf } from "../train/fit.ts";
import type { Cell, CellContext, Claim, Experiment, Figures } from "./contract.ts";

const BATCH = 64;
const RATE = 1e-3;
const EVERY = 50;
const FRACTION = [0.5, 0.005] as const;
const GROUPS = classGroups(10, 2);
const GROUP = groupOfClass(10, GROUPS);

interface Set {
  readonly load: () => Promise<Splits>;
  /** training images a class */
  readonly images: number;
  readonly epochs: number;
  readonly inputs: number;
}

const once = (load: () => Promise<Splits>): (() => Promise<Splits>) => {
  let loaded: Promise<Splits> | undefined;
  return () => (loaded ??= load());
};
const fashion: Set = { load: once(loadFashionMnist), images: 2000, epochs: 4, inputs: 784 };
const cifar: Set = { load: once(loadCifar10Subset), images: 900, epochs: 8, inputs: 3072 };

type Learner = "sequential" | "joint" | "ewc" | { readonly density: number; readonly growth: Growth; erk?: true };
/** by name, as momentum has a memory of one run */
type Growth = keyof typeof GROWTHS;
const GROWTHS = {
  static: (): Score | null => null,
  random: () => random,
  unfired: () => unfired,
  momentum: () => momentum(),
  gradient: () => gradient,
};

/** What all learners share: data, the network, training on some images, accuracy on one task. */
class Bench {
  readonly tasks: readonly Task[];
  readonly whole: Examples;
  readonly net: Net;
  readonly make: MakeOptions;
  readonly #context: CellContext;
  readonly #set: Set;
  #done = 0;

  constructor(context: CellContext, set: Set, splits: Splits) {
    const { quick, seed, split } = context;
    const some = mapSplits(splits, (part) => (quick ? perClass(part, 20) : part));
    this.whole = perClass(some.train, quick ? 20 : set.images);
    // only the split that is measured is kept
    const measured = some[split];
    this.tasks = splitTasks({ train: this.whole, validation: measured, test: measured }, GROUPS);
    this.make = { normaliser: standardiser(this.whole), flat: true };
    const hidden = quick ? 40 : 400;
    this.net = mlp([set.inputs, hidden, hidden, 10], { seed, bias: false });
    this.#context = context;
    this.#set = set;
  }

  async train(e: Examples, run: number, method?: SparseTraining, hooks: readonly Hook[] = []): Promise<void> {
    const { quick, seed, signal, progress } = this.#context;
    const optimiser = new Adam(this.net.params);
    const [before, share] = [this.#done, e.count / this.whole.count];
    await fit(this.net, {
      optimiser,
      source: sourceOf(e, this.make),
      epochs: quick ? 1 : this.#set.epochs,
      batch: quick ? 20 : BATCH,
      tail: "drop",
      rate: RATE,
      seed: 100 * seed + run,
      loss: (output, { y }) => groupCrossEntropy(output, y, GROUP),
      ...(method && { method }),
      hooks,
      signal,
      onStep: ({ step, steps }) => progress(before + (share * step) / steps),
    });
    optimiser.dispose();
    this.#done += share;
  }

  /** Per cent right on a task, and its own logits. */
  measure(task: number): { readonly accuracy: number; readonly logits: Float32Array } {
    const [from, to] = [GROUPS[task][0], GROUPS[task][1] + 1];
    const { accuracy, logits } = classify(this.net, this.tasks[task].test, { ...this.make, columns: { from, to } });
    return { accuracy: 100 * accuracy, logits: logits.filter((_, i) => GROUP[i % 10] === task) };
  }
}

type Matrix = readonly (readonly number[])[];

function figuresOf(r: Matrix): Record<string, number> {
  const { acc, bwt, fwt } = continualMetrics(r);
  const own = r.map((row, i) => row[i]);
  return { acc, bwt, fwt, ...Object.fromEntries(own.map((a, i) => [`own ${i}`, a])) };
}

async function sequential(b: Bench, ewc?: Ewc): Promise<Figures> {
  const learn = async (t: number): Promise<void> => {
    const { train } = b.tasks[t];
    await b.train(train, t, undefined, ewc?.hooks ?? []);
    const few = perClass(train, Math.min(100, Math.floor(train.count / 2)));
    ewc?.consolidate(
      Array.from({ length: few.count }, (_, i) => () => {
        const { x, y } = makeBatch(few, Int32Array.of(i), b.make);
        return groupCrossEntropy(b.net.forward(x, EVALUATE), y, GROUP);
      }),
    );
  };
  const r = await accuracyMatrix(b.tasks.length, learn, (j) => scope(() => b.measure(j).accuracy));
  ewc?.dispose();
  return figuresOf(r);
}

async function joint(b: Bench): Promise<Figures> {
  await b.train(b.whole, 0);
  const each = b.tasks.map((_, j) => b.measure(j).accuracy);
  return figuresOf(each.map(() => each));
}

interface Sparse {
  readonly sparsity: number;
  readonly budget: NetBudget;
  readonly growth: Growth;
}

async function subnetworks(b: Bench, { growth, ...options }: Sparse): Promise<Figures> {
  const sub = new Subnetworks(b.net);
  const own: Float32Array[] = [];
  const explored: number[] = [];
  const expected: number[] = [];
  const numel = sub.sites.reduce((n, s) => n + s.numel, 0);
  const learn = async (t: number): Promise<void> => {
    let steps = 0;
    const watch: Hook = { id: "steps", step: (run) => void (steps = run.t.steps) };
    const method = sub.next({ ...options, growth: GROWTHS[growth](), every: EVERY, fraction: FRACTION });
    await b.train(b.tasks[t].train, t, method, [watch]);
    sub.keep();
    const kept = sub.sites.map((s) => s.param.kept);
    const share = cosine(FRACTION[0], FRACTION[1]);
    const updates = Array.from({ length: Math.ceil(steps / EVERY) - 1 }, (_, i) => (i + 1) * EVERY);
    const tried = sub.sites.reduce((n, s, k) => {
      const exchanged = updates.map((step) => Math.ceil(share({ step, steps }) * kept[k] - 1e-6));
      return n + s.numel * expectedExploration(s.numel, kept[k], exchanged);
    }, 0);
    const density = kept.reduce((n, k) => n + k, 0) / numel;
    // the meter starts with the first update
    explored.push(Math.max(density, method.meter.explored) / density);
    expected.push(tried / numel / density);
    own.push(b.measure(t).logits);
  };
  const r = await accuracyMatrix(b.tasks.length, learn, (j, i) => {
    sub.use(Math.min(i, j));
    return b.measure(j).accuracy;
  });
  let changed = 0;
  own.forEach((before, j) => {
    sub.use(j);
    const now = b.measure(j).logits;
    for (let i = 0; i < now.length; i++) if (!Object.is(now[i], before[i])) changed++;
    for (let i = j; i < r.length; i++) if (r[i][j] !== r[j][j]) changed++;
  });
  const used = sub.used;
  sub.dispose();
  return {
    ...figuresOf(r),
    changed,
    explored: Math.min(...explored),
    unexpected: Math.max(...explored.map((e, t) => Math.abs(e / expected[t] - 1))),
    used,
  };
}

async function run(context: CellContext, set: Set, learner: Learner): Promise<Figures> {
  const b = new Bench(context, set, await set.load());
  try {
    if (learner === "sequential") return await sequential(b);
    if (learner === "ewc") return await sequential(b, new Ewc(b.net));
    if (learner === "joint") return await joint(b);
    const budget = learner.erk ? erk : uniform;
    return await subnetworks(b, { sparsity: 1 - learner.density, budget, growth: learner.growth });
  } finally {
    disposeNet(b.net);
  }
}

function cell(set: Set, learner: Learner, seed: number): Cell {
  const name =
    typeof learner === "string" ? learner : `${learner.growth} ${100 * learner.density} %${learner.erk ? " erk" : ""}`;
  const weights = set.inputs * 400 + 400 * 400 + 4000;
  return {
    key: `${set === fashion ? "fashion" : "cifar"}, ${name}`,
    seed,
    gflop: (6 * weights + 2e5) * 10 * set.images * set.epochs * 1e-9,
    run: (context) => run(context, set, learner),
  };
}

/** Everything else that the paper varies, once. */
const grid: readonly Learner[] = [
  ...[0.2, 0.05].flatMap((density) =>
    (["static", "random", "gradient"] as const).map((growth): Learner => ({ density, growth, erk: true })),
  ),
  { density: 0.2, growth: "gradient" },
  { density: 0.05, growth: "momentum" },
  { density: 0.05, growth: "unfired" },
];

const PILOT = "MNIST, 10,000 training images as validation; CIFAR's training file";
const dst = (text: Omit<Claim, "basis"> & Partial<Claim>): Claim => ({ basis: "reasoned", ...text });

const experiment: Experiment = {
  paper: 24,
  method: "methods/training/cl-dst.ts",
  uses: [
    "data/tasks.ts",
    "evaluate/continual.ts",
    "methods/training/ewc.ts",
    "methods/training/itop.ts",
    "models/mlp.ts",
    "nn/ops/loss-group.ts",
    "sparsity/budget-shapes.ts",
    "sparsity/criteria.ts",
    "sparsity/rewire.ts",
  ],
  data: ["fashion-mnist", "cifar-10-subset"],
  seeds: [1, 2, 3],
  quickSeeds: [1],
  minutes: 7,
  claims: [
    dst({
      id: "C1",
      text: "nothing is forgotten: no accuracy and no logit of an earlier task differs after later ones, bit for bit",
      metric: "changed",
      op: "==",
      threshold: 0,
      main: true,
      kind: "exact",
      needs: ["F1"],
      replaced: { was: "the same without F1", why: "a learner that learns nothing forgets nothing", on: "reasoning" },
    }),
    dst({
      id: "C2",
      text: "CIFAR-10: subnetworks at 80 % are at least 3 points better than training on without protection",
      metric: "cifarOverSequential",
      op: ">=",
      threshold: 3,
      main: true,
      kind: "effect",
      needs: ["F2", "F3"],
      basis: "estimated",
      replaced: {
        was: "3 points on Fashion-MNIST",
        why: "with heads of their own the tasks of MNIST forget 2.2 points only; on CIFAR-10 10.0",
        on: PILOT,
      },
    }),
    dst({
      id: "C2b",
      text: "Fashion-MNIST: subnetworks at 80 % are better than training on without protection",
      metric: "overSequential",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "effect",
    }),
    dst({
      id: "C2c",
      text: "CIFAR-10: subnetworks at 80 % are better than EWC",
      metric: "cifarOverEwc",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "effect",
      needs: ["F4"],
    }),
    dst({
      id: "C3",
      text: "at 95 % random growth is at most 0.3 points behind fixed masks",
      metric: "randomOverStatic",
      op: ">=",
      threshold: -0.3,
      main: true,
      kind: "no-worse",
      needs: ["A1"],
    }),
    dst({
      id: "C3b",
      text: "at 95 % growth by gradient is at most 0.3 points behind fixed masks",
      metric: "gradientOverStatic",
      op: ">=",
      threshold: -0.3,
      main: false,
      kind: "no-worse",
      needs: ["A2"],
    }),
    dst({
      id: "C4",
      text: "subnetworks at 80 % are at most 3 points behind a dense network that sees all tasks at once",
      metric: "overJoint",
      op: ">=",
      threshold: -3,
      main: true,
      kind: "no-worse",
      basis: "estimated",
    }),
    dst({
      id: "C5",
      text: "five fixed random masks at 80 % use 1 - 0.8^5 = 67.2 % of the places, to 1 point",
      metric: "used",
      op: "==",
      threshold: 100 * (1 - 0.8 ** 5),
      tolerance: 1,
      main: false,
      kind: "exact",
    }),
    ...(
      [
        ["A1", "random growth at 95 %: each task tries at least 1.8 times the places it holds", "exploredRandom", 1.8],
        ["A2", "the same with growth by gradient: at least 1.5 times", "exploredGradient", 1.5],
      ] as const
    ).map(([id, text, metric, threshold]) =>
      dst({
        id,
        text,
        metric,
        op: ">=",
        threshold,
        main: true,
        kind: "activity",
        basis: "measured",
        replaced: { was: 2, why: "four updates of a task cannot reach it", on: PILOT },
      }),
    ),
    dst({
      id: "A3",
      text: "random growth tries as many places as expected, to 2 %",
      metric: "unexpected",
      op: "<=",
      threshold: 0.02,
      main: true,
      kind: "exact",
    }),
    dst({
      id: "F1",
      text: "each task is learnt to at least 90 % of what it reaches when all are trained at once",
      metric: "leastLearnt",
      op: ">=",
      threshold: 90,
      main: false,
      kind: "floor",
    }),
    dst({
      id: "F2",
      text: "CIFAR-10: without protection at least 3 points are forgotten (BWT)",
      metric: "cifarForgotten",
      op: ">=",
      threshold: 3,
      main: false,
      kind: "floor",
      basis: "measured",
    }),
    dst({
      id: "F3",
      text: "CIFAR-10: without protection each task is at first learnt at most 3 points worse than all at once, on average",
      metric: "cifarLearnt",
      op: ">=",
      threshold: -3,
      main: false,
      kind: "floor",
    }),
    dst({
      id: "F4",
      text: "CIFAR-10: EWC forgets less than no protection",
      metric: "cifarEwcKeeps",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "floor",
    }),
  ],
  cells: (seed): readonly Cell[] => [
    ...(["sequential", "joint"] as const).map((l) => cell(fashion, l, seed)),
    ...(["static", "random"] as const).map((growth) => cell(fashion, { density: 0.2, growth }, seed)),
    ...(["static", "random", "gradient"] as const).map((growth) => cell(fashion, { density: 0.05, growth }, seed)),
    ...(["sequential", "joint", "ewc"] as const).map((l) => cell(cifar, l, seed)),
    cell(cifar, { density: 0.2, growth: "random" }, seed),
    ...grid.map((l) => cell(fashion, l, 1)),
  ],
  metrics(_, get) {
    const all = ["fashion, joint", "fashion, sequential"].map(get);
    const [together, onAndOn] = all;
    const [random20, static20] = ["fashion, random 20 %", "fashion, static 20 %"].map(get);
    const [random5, gradient5, static5] = ["random", "gradient", "static"].map((g) => get(`fashion, ${g} 5 %`));
    const [cJoint, cOn, cEwc, cSub] = ["joint", "sequential", "ewc", "random 20 %"].map((l) => get(`cifar, ${l}`));
    const own = (f: Figures): number[] => GROUPS.map((_, t) => f[`own ${t}`]);
    const mean = (a: readonly number[]): number => a.reduce((x, y) => x + y, 0) / a.length;
    const isolated = [random20, static20, random5, gradient5, static5];
    return {
      changed: [...isolated, cSub].reduce((n, f) => n + f.changed, 0),
      cifarOverSequential: cSub.acc - cOn.acc,
      cifarOverEwc: cSub.acc - cEwc.acc,
      cifarForgotten: -cOn.bwt,
      cifarLearnt: mean(own(cOn)) - cJoint.acc,
      cifarEwcKeeps: cEwc.bwt - cOn.bwt,
      overSequential: random20.acc - onAndOn.acc,
      overJoint: random20.acc - together.acc,
      randomOverStatic: random5.acc - static5.acc,
      gradientOverStatic: gradient5.acc - static5.acc,
      exploredRandom: random5.explored,
      exploredGradient: gradient5.explored,
      unexpected: random5.unexpected,
      used: 100 * static20.used,
      leastLearnt: Math.min(
        ...isolated.flatMap((f) => GROUPS.map((_, t) => (100 * own(f)[t]) / own(together)[t])),
        ...GROUPS.map((_, t) => (100 * own(cSub)[t]) / own(cJoint)[t]),
      ),
    };
  },
};
export default experiment;
