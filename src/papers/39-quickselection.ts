/**
 * QuickSelection (Atashgahi et al. 2022): 50 of 784 pixels of MNIST by the strength of inputs in a sparse autoencoder, against
 * random pixels, variance, the Laplacian score, strength before training, fixed connections and a dense autoencoder; then
 * the same on ISOLET, and planted features. All selections are judged by one nearest neighbour on the raw columns.
 *
 * Selectors see the 50,000 training images only and never a label. MCFS, AEFS and the concrete autoencoder are left out.
 */
import { scope } from "../core/scope.ts";
import { valueAndGrad } from "../core/tape.ts";
import { type Examples, examples, first, type Splits, selectFeatures, widthOf } from "../data/examples.ts";
import { loadIsolet, loadMnist } from "../data/load.node.ts";
import { plantedFeatures } from "../data/planted.ts";
import { argmax } from "../evaluate/classify.ts";
import { extraTrees, treeShares } from "../evaluate/extra-trees.ts";
import { nearestAccuracy } from "../evaluate/neighbours.ts";
import {
  constantFeatures,
  laplacianScores,
  randomFeatures,
  varianceScores,
} from "../methods/structure/feature-scores.ts";
import {
  denoisingAutoencoder,
  denoisingSource,
  QUICK_SELECTION,
  type QuickSelectionOptions,
  quickSelection,
  reconstructionLoss,
  type Selection,
  shrink,
  sparseMethod,
  sparsityFor,
  strongest,
} from "../methods/training/quickselection.ts";
import { disposeNet } from "../nn/net.ts";
import { Sgd } from "../nn/optimiser.ts";
import { interleave } from "../runtime/timing.ts";
import { sitesOf } from "../sparsity/site.ts";
import type { Cell, CellContext, Experiment, Figures } from "./contract.ts";

const K = 50;
const DRAWS = 5;
/** epochs of the dense autoencoder, whose step costs many times more */
const DENSE_EPOCHS = 3;

interface Judged {
  readonly train: Examples;
  readonly held: Examples;
}

const part = ({ quick, split }: CellContext, s: Splits): Judged => ({
  train: quick ? first(s.train, 300) : s.train,
  held: quick ? first(s.validation, 100) : s[split],
});

/** Read once a process. */
let digits: Promise<Splits> | undefined;

async function mnist(c: CellContext): Promise<Judged> {
  digits ??= loadMnist();
  return part(c, await digits);
}

const judged = ({ train, held }: Judged, features: Int32Array): number =>
  nearestAccuracy(selectFeatures(train, features), selectFeatures(held, features));

/** The paper's judge: 50 extremely randomised trees, grown on the first 10,000 images here. */
function byTrees({ train, held }: Judged, features: Int32Array, seed: number): number {
  const some = selectFeatures(first(train, Math.min(train.count, 10_000)), features);
  const shares = treeShares(extraTrees(some, { seed }), selectFeatures(held, features));
  return argmax(shares, held.count).reduce((n, c, i) => n + (c === held.y[i] ? 1 : 0), 0) / held.count;
}

function select(c: CellContext, e: Examples, options: Omit<QuickSelectionOptions, "seed">): Promise<Selection> {
  const { quick, seed, progress, signal } = c;
  const small = quick ? { epochs: 2, hidden: 50 } : {};
  return quickSelection(e, { ...options, ...small, seed, signal, onStep: (done) => progress(0.9 * done) });
}

const cell = (key: string, seed: number, gflop: number, body: (c: CellContext) => Promise<Figures>): Cell => ({
  key,
  seed,
  gflop,
  run: body,
});

/** FLOP of training: 4 a connection of the first layer and example, 6 of the second. */
const work = (connections: number, samples: number): number => (5 * connections * samples) / 1e9;

const selector = (seed: number): Cell =>
  cell("mnist", seed, work(46_384, 500_000), async (c) => {
    const data = await mnist(c);
    const r = await select(c, data.train, {});
    const chosen = strongest(r.strength, K);
    const constant = constantFeatures(data.train);
    return {
      strength: judged(data, chosen),
      degree: judged(data, strongest(r.degree, K)),
      out: judged(data, strongest(r.outStrength, K)),
      initial: judged(data, strongest(r.initial, K)),
      trees: byTrees(data, chosen, seed),
      constant: chosen.reduce((n, f) => n + constant[f], 0),
      connections: r.connections / r.denseConnections,
      bytes: r.bytes / (8 * r.denseConnections),
      each: r.bytes / r.connections,
      exchanged: r.meter.fromFirst,
      loss: r.losses[r.losses.length - 1],
    };
  });

const fixed = (seed: number): Cell =>
  cell("fixed", seed, work(46_384, 500_000), async (c) => {
    const data = await mnist(c);
    const r = await select(c, data.train, { zeta: 0 });
    return { strength: judged(data, strongest(r.strength, K)), loss: r.losses[r.losses.length - 1] };
  });

const baselines = (seed: number): Cell =>
  cell("baselines", seed, 60, async (c) => {
    const data = await mnist(c);
    let random = 0;
    for (let draw = 0; draw < DRAWS; draw++) {
      random += judged(data, randomFeatures(widthOf(data.train), K, seed, draw)) / DRAWS;
      c.progress((draw + 1) / (DRAWS + 3));
    }
    return { random };
  });

/** These do not depend on a seed. */
const rankings = (): Cell =>
  cell("rankings", 0, 60, async (c) => {
    const data = await mnist(c);
    const some = first(data.train, Math.min(data.train.count, 2000));
    return {
      variance: judged(data, strongest(varianceScores(data.train), K)),
      laplacian: judged(data, strongest(laplacianScores(some), K)),
    };
  });

const dense = (): Cell =>
  cell("dense", 1, work(1_568_000, DENSE_EPOCHS * 50_000), async (c) => {
    const data = await mnist(c);
    const r = await select(c, data.train, { epsilon: Number.POSITIVE_INFINITY, epochs: DENSE_EPOCHS });
    return { strength: judged(data, strongest(r.strength, K)), loss: r.losses[r.losses.length - 1] };
  });

const isolet = (seed: number): Cell =>
  cell("isolet", seed, work(2 * 13 * 1617, 100 * 936), async (c) => {
    const data = part(c, await loadIsolet({ seed }));
    const r = await select(c, data.train, { epochs: 100 });
    let random = 0;
    for (let d = 0; d < DRAWS; d++) random += judged(data, randomFeatures(widthOf(data.train), K, seed, d)) / DRAWS;
    return {
      strength: judged(data, strongest(r.strength, K)),
      variance: judged(data, strongest(varianceScores(data.train), K)),
      random,
    };
  });

const planted = (seed: number): Cell =>
  cell("planted", seed, work(2 * 13 * 1200, 100 * 2000), async (c) => {
    const p = plantedFeatures({ seed, rows: c.quick ? 200 : 2000 });
    const y = new Uint8Array(p.rows);
    const table = examples({ name: "planted", shape: [p.columns], classes: 1, x: p.x, y });
    const r = await select(c, table, { epochs: 100 });
    const found = (scores: Float64Array): number =>
      strongest(scores, p.planted.length).filter((f) => p.planted.includes(f)).length;
    return { found: found(r.strength), initial: found(r.initial) };
  });

/** One training step with the same batch from CSR and over masked dense weights, in turns. */
const timed = (): Cell => ({
  key: "time",
  seed: 1,
  gflop: 30,
  alone: true,
  async run(c) {
    const { train } = await mnist(c);
    const { dropout, noise, decay, momentum, rate, epsilon, zeta, batch } = QUICK_SELECTION;
    const hidden = c.quick ? 50 : QUICK_SELECTION.hidden;
    const width = widthOf(train);
    const source = denoisingSource(first(train, Math.min(train.count, 4 * batch)), noise, 1);
    const seed = 1;
    const mode = { train: true, t: { step: 0, steps: 1 }, seed };
    const variants = (["csr", "masked"] as const).map((storage) => {
      const net = denoisingAutoencoder(width, hidden, { seed, dropout });
      const method = sparseMethod(sparsityFor(epsilon, width, hidden), zeta, storage);
      method.begin?.({ net, sites: sitesOf(net), seed, inputShape: [batch, width], loss: () => net.params[0].value });
      const optimiser = new Sgd(net.params, { momentum });
      let at = 0;
      const run = (): void =>
        scope(() => {
          const places = Int32Array.from({ length: batch }, (_, i) => (at + i) % source.count);
          at += batch;
          const { x, clean } = source.make(places, 0);
          const { gradients } = valueAndGrad(
            () => reconstructionLoss(net.forward(x, mode), clean),
            optimiser.parameters.map((p) => p.value),
          );
          for (const p of optimiser.parameters) shrink(p, decay);
          optimiser.step(gradients, rate);
        });
      return { net, optimiser, name: storage, run };
    });
    const timing = await interleave(variants, c.quick ? { rounds: 1, fewest: 1, warmUp: 1, slice: 1 } : { slice: 60 });
    for (const { net, optimiser } of variants) {
      optimiser.dispose();
      disposeNet(net);
    }
    return {
      share: 1 / timing.ratio("csr", "masked").median,
      csr: timing.variants[0].time.median,
      masked: timing.variants[1].time.median,
    };
  },
});

const experiment: Experiment = {
  paper: 39,
  method: "methods/training/quickselection.ts",
  uses: [
    "methods/structure/feature-scores.ts",
    "methods/training/set.ts",
    "sparsity/rewire.ts",
    "train/fit.ts",
    "evaluate/neighbours.ts",
  ],
  oracles: ["methods/training/quickselection.test.ts", "methods/structure/feature-scores.test.ts"],
  data: ["mnist", "isolet"],
  seeds: [1, 2, 3, 4, 5],
  quickSeeds: [1],
  minutes: 5,
  claims: [
    {
      id: "C1a",
      text: "50 pixels by strength classify at least 10 points better than 50 random ones (mean of 5 draws)",
      metric: "overRandom",
      op: ">=",
      threshold: 0.1,
      main: true,
      kind: "effect",
      needs: ["F1", "A1"],
      basis: "measured",
      replaced: {
        was: "accuracy >= 0.85 and >= random + 0.05",
        why: "0.85 was a coin flip: 85.4, 86.2, 83.2 after 10, 18, 26 epochs of 10,000 images",
        on: "validation images of MNIST's training file, a pilot in other code",
      },
    },
    {
      id: "C1b",
      text: "and at least 1 point better than the 50 pixels of largest variance",
      metric: "overVariance",
      op: ">=",
      threshold: 0.01,
      main: true,
      kind: "effect",
      needs: ["F2", "A1"],
      basis: "measured",
      replaced: {
        was: "no comparison with variance",
        why: "variance was at 81.6 where random was at 68.7, so random alone is too easy a baseline",
        on: "validation images of MNIST's training file, a pilot in other code",
      },
    },
    {
      id: "C2",
      text: "the ranking is learned: at least 5 points better than by strength before training",
      metric: "overInitial",
      op: ">=",
      threshold: 0.05,
      main: true,
      kind: "effect",
      needs: ["F1", "A1"],
      basis: "reasoned",
    },
    {
      id: "C3a",
      text: "at most 3 % of the connections of the dense autoencoder",
      metric: "connections",
      op: "<=",
      threshold: 0.03,
      main: true,
      kind: "cost",
      basis: "reasoned",
    },
    {
      id: "C3b",
      text: "values, momentum and all indices of both weights take at most 10 % of the dense values and momentum (8 bytes a weight)",
      metric: "bytes",
      op: "<=",
      threshold: 0.1,
      main: true,
      kind: "cost",
      basis: "reasoned",
    },
    {
      id: "C3c",
      text: "a training step takes at most 0.2 of the time of the masked dense step of the same engine, in turns on one thread",
      metric: "time",
      op: "<=",
      threshold: 0.2,
      main: true,
      kind: "cost",
      basis: "reasoned",
      replaced: {
        was: 0.5,
        why: "at 3 % density half of the time would show little",
        on: "arithmetic, no data",
      },
    },
    {
      id: "C4",
      text: "at most 2 of the 50 pixels are constant on the training set",
      metric: "constant",
      op: "<=",
      threshold: 2,
      main: true,
      kind: "effect",
      basis: "reasoned",
    },
    {
      id: "C5",
      text: "of 50 planted columns among 200 (10 signals copied 5 times, noise 0.3) at least 30 are found; chance finds 12.5",
      metric: "planted",
      op: ">=",
      threshold: 30,
      main: true,
      kind: "effect",
      basis: "measured",
      replaced: {
        was: "30, hidden size open",
        why: "the hidden size decides: 1000 neurons found 43, 200 found 23; fixed at the paper's 1000",
        on: "generated tables, a pilot in other code",
      },
    },
    {
      id: "C6",
      text: "at most 1 point worse than the strength of a dense autoencoder after 3 epochs (seed 1), at many times the cost a step",
      metric: "overDense",
      op: ">=",
      threshold: -0.01,
      main: false,
      kind: "no-worse",
      needs: ["F3"],
      basis: "estimated",
    },
    {
      id: "C7",
      text: "rewiring does not hurt: no worse than fixed random connections",
      metric: "overFixed",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "no-worse",
      needs: ["A1"],
      basis: "estimated",
    },
    {
      id: "C8",
      text: "better than the Laplacian score (5 neighbours, first 2,000 images)",
      metric: "overLaplacian",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "effect",
      basis: "estimated",
    },
    {
      id: "C9",
      text: "strength ranks at least as well as degree, the number of connections",
      metric: "overDegree",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "effect",
      needs: ["F4"],
      basis: "estimated",
    },
    {
      id: "C10",
      text: "ISOLET: 50 features by strength (100 epochs) classify at least as well as 50 random ones; speakers occur on both sides",
      metric: "isoletOverRandom",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "effect",
      basis: "estimated",
    },
    {
      id: "C11",
      text: "with the paper's judge, 50 extremely randomised trees (grown on 10,000 images): at least 90 %, where the paper has about 93",
      metric: "trees",
      op: ">=",
      threshold: 0.9,
      main: false,
      kind: "effect",
      basis: "estimated",
    },
    {
      id: "F1",
      text: "the judge works: random pixels classify at least 55 %",
      metric: "random",
      op: ">=",
      threshold: 0.55,
      main: false,
      kind: "floor",
      basis: "measured",
    },
    {
      id: "F2",
      text: "pixels of largest variance classify at least 75 %",
      metric: "variance",
      op: ">=",
      threshold: 0.75,
      main: false,
      kind: "floor",
      basis: "measured",
    },
    // F3 and F4 came after a first recorded run, in which both baselines chose worse than at random; they can only take
    // claims away.
    {
      id: "F3",
      text: "pixels by strength of the dense autoencoder are no worse than random ones",
      metric: "denseOverRandom",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "floor",
      basis: "reasoned",
    },
    {
      id: "F4",
      text: "pixels by degree are no worse than random ones",
      metric: "degreeOverRandom",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "floor",
      basis: "reasoned",
    },
    {
      id: "A1",
      text: "connections moved: at least 20 % of the last ones were not among the first",
      metric: "exchanged",
      op: ">=",
      threshold: 0.2,
      main: false,
      kind: "activity",
      basis: "reasoned",
    },
  ],
  cells: (seed) => [
    selector(seed),
    fixed(seed),
    baselines(seed),
    isolet(seed),
    planted(seed),
    rankings(),
    dense(),
    timed(),
  ],
  metrics: (_, get) => {
    const own = get("mnist");
    const { random } = get("baselines");
    const { variance, laplacian } = get("rankings");
    const letters = get("isolet");
    return {
      strength: own.strength,
      overRandom: own.strength - random,
      overVariance: own.strength - variance,
      overInitial: own.strength - own.initial,
      overDense: own.strength - get("dense").strength,
      overFixed: own.strength - get("fixed").strength,
      overLaplacian: own.strength - laplacian,
      overDegree: own.strength - own.degree,
      denseOverRandom: get("dense").strength - random,
      degreeOverRandom: own.degree - random,
      isoletOverRandom: letters.strength - letters.random,
      isoletOverVariance: letters.strength - letters.variance,
      connections: own.connections,
      bytes: own.bytes,
      time: get("time").share,
      constant: own.constant,
      planted: get("planted").found,
      trees: own.trees,
      exchanged: own.exchanged,
      random,
      variance,
    };
  },
};
export default experiment;
