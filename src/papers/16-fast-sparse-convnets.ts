/**
 * Fast Sparse ConvNets (Elsen et al. 2020): a small MobileNet for CIFAR-10 at 16 x 16 pixels, 1x1 layers 90 % sparse by
 * gradual magnitude pruning, against dense ones of several widths, all run by this package's own inference, one image on
 * one thread. Six separable blocks; the sparse network keeps the first convolution of a narrower one, which stays dense.
 *
 * Every network is trained, folded and run: its logits must be those of its evaluation. Speed at equal accuracy is read
 * off the dense widths: between two neighbours it is interpolated, and beyond the last one it counts as that one's. A wider
 * network never counts as worse than a narrower one: violations are pooled. Times are those of seed 1's sparse networks,
 * trained again beside the clock; dense networks run as fast whatever their weights, so their weights are initial ones.
 */
import { flip } from "../data/augment.ts";
import { batchMaker } from "../data/example-batches.ts";
import { type Examples, first, mapSplits, poolImages, type Splits } from "../data/examples.ts";
import { loadCifar10Subset } from "../data/load.node.ts";
import { type Normaliser, standardiser } from "../data/normalise.ts";
import { classify } from "../evaluate/classify.ts";
import { readOff, rising } from "../evaluate/curve.ts";
import { gmp } from "../methods/training/gmp.ts";
import type { ConvNet } from "../models/convnets/net.ts";
import { trainedMobilenet } from "../models/convnets/trained.ts";
import { mobilenet } from "../models/mobilenet.ts";
import { disposeNet, type Net } from "../nn/net.ts";
import { Adam } from "../nn/optimiser.ts";
import { ConvRunner } from "../runtime/convnet.ts";
import { interleave, rotate, type Variant } from "../runtime/timing.ts";
import { blocks } from "../sparsity/pattern.ts";
import { cosine } from "../sparsity/schedule.ts";
import { type Site, sitesOf } from "../sparsity/site.ts";
import { fit, sourceOf } from "../train/fit.ts";
import type { Cell, CellContext, Experiment, Figures } from "./contract.ts";

const SPARSITY = 0.9;
/** of the sparse networks, and of their dense twin */
const WIDTH = 0.75;
/** of the dense networks, rising */
const WIDTHS = [0.375, 0.5, 0.625, WIDTH] as const;
/** outputs that are kept or pruned together */
const GROUPS = [1, 4] as const;
type Group = (typeof GROUPS)[number];
const EPOCHS = 12;
const BATCH = 64;
const SIZE = 16;
/** Channels of the first convolution: of dense networks at width 1, and of sparse ones as they are. */
const STEM = 16;
const SPARSE_STEM = 8;
/** Channels at width 1. */
const BLOCKS = [
  { channels: 64, stride: 1 },
  { channels: 128, stride: 2 },
  { channels: 128, stride: 1 },
  { channels: 256, stride: 2 },
  { channels: 256, stride: 1 },
  { channels: 256, stride: 1 },
];

/** Which network: dense of a width, or sparse by single weights or blocks. */
interface Kind {
  readonly width: number;
  readonly group?: Group;
}

/** The sparse network run dense. */
const TWIN = "twin";
const denseKey = (width: number): string => `dense ${width}`;
const sparseKey = (group: Group): string => (group === 1 ? "sparse" : `sparse ${group}x1`);

const make = ({ width, group }: Kind, seed: number): Net =>
  mobilenet({ seed, width, size: SIZE, stem: group ? SPARSE_STEM / width : STEM, blocks: BLOCKS });
const folded = (net: Net): ConvNet => trainedMobilenet(net, { size: SIZE, blocks: BLOCKS });

let loaded: Promise<Splits> | undefined;
/** 8,000 images to train on, and 2,000 of the training file for validation. */
async function load(quick: boolean): Promise<Splits> {
  loaded ??= loadCifar10Subset({ validationPerClass: 200 }).then((s) => mapSplits(s, (part) => poolImages(part, 2)));
  return quick ? mapSplits(await loaded, (part) => first(part, 64)) : loaded;
}

interface Trained {
  readonly net: Net;
  readonly data: Splits;
  readonly normaliser: Normaliser;
  readonly sites: readonly Site[];
}

/** A function of kind and seed: cells that train the same network get the same bits. */
async function train(kind: Kind, c: CellContext, progress: (done: number) => void): Promise<Trained> {
  const { quick, seed, signal } = c;
  const data = await load(quick);
  const normaliser = standardiser(data.train, "channel");
  const net = make(kind, seed);
  const sites = sitesOf(net, { roles: ["weight"] });
  const { group } = kind;
  await fit(net, {
    optimiser: new Adam(net.params),
    source: sourceOf(data.train, { normaliser, augment: [flip()], seed }),
    epochs: quick ? 1 : EPOCHS,
    batch: quick ? 16 : BATCH,
    rate: cosine(1e-2, 1e-4),
    seed,
    sites,
    ...(group && {
      method: gmp({
        sparsity: SPARSITY,
        begin: 0,
        end: 0.5,
        every: quick ? 1 : 20,
        store: true,
        pattern: blocks(group, 1),
      }),
    }),
    onStep: ({ step, steps }) => progress(step / steps),
    signal,
  });
  return { net, data, normaliser, sites };
}

/** One standardised image after another. */
function* imagesOf(e: Examples, normaliser: Normaliser): Generator<Float32Array> {
  const maker = batchMaker(e, { normaliser });
  for (let i = 0; i < e.count; i++) {
    const { x, y } = maker(Int32Array.of(i));
    const image = x.toArray();
    x.dispose();
    y.dispose();
    yield image;
  }
}

/** Accuracy of the inference network, image by image, and how far its logits are from the trained one's, relatively. */
function inference(net: ConvNet, e: Examples, normaliser: Normaliser, logits: Float32Array) {
  const runner = new ConvRunner(net, { kernels: "sparse" });
  let [right, apart, largest] = [0, 0, 0];
  let row = 0;
  for (const image of imagesOf(e, normaliser)) {
    const got = runner.run(image);
    const want = logits.subarray(row * got.length, (row + 1) * got.length);
    got.forEach((v, k) => {
      apart = Math.max(apart, Math.abs(v - want[k]));
      largest = Math.max(largest, Math.abs(want[k]));
    });
    if (got.indexOf(Math.max(...got)) === e.y[row++]) right++;
  }
  const sparseLayers = runner.layers.filter((l) => l.kind === "pointwise" && l.choice.form !== "dense").length;
  runner.dispose();
  return { accuracy: (100 * right) / e.count, apart: apart / largest, sparseLayers };
}

async function accuracies(kind: Kind, c: CellContext): Promise<Figures> {
  const { net, data, normaliser, sites } = await train(kind, c, c.progress);
  const on = classify(net, data.validation, { normaliser });
  const ran = inference(folded(net), data.validation, normaliser, on.logits);
  const figures = {
    validation: 100 * on.accuracy,
    accuracy: 100 * classify(net, data[c.split], { normaliser }).accuracy,
    inference: ran.accuracy,
    apart: ran.apart,
    sparseLayers: ran.sparseLayers,
    weights: sites.reduce((n, s) => n + s.numel, 0),
    nonZeros: sites.reduce((n, s) => n + s.param.kept, 0),
  };
  disposeNet(net);
  return figures;
}

/** Only the 1x1 layers of a network, in order. */
function pointwiseOf(runner: ConvRunner): () => void {
  const steps = runner.layers.flatMap((l, i) => (l.kind === "pointwise" ? [i] : []));
  return () => {
    for (const i of steps) runner.step(i);
  };
}

async function latencies(c: CellContext): Promise<Figures> {
  const { quick, signal } = c;
  const runners: ConvRunner[] = [];
  const variants: Variant[] = [];
  const figures: Record<string, number> = {};
  const data = await load(quick);
  const images = [...imagesOf(first(data.validation, 8), standardiser(data.train, "channel"))];
  const add = (name: string, net: ConvNet, kernels: "dense" | "sparse"): void => {
    const runner = new ConvRunner(net, { kernels });
    runners.push(runner);
    variants.push({ name, run: rotate(images.length, (i) => runner.run(images[i])) });
    variants.push({ name: `${name}, 1x1`, run: pointwiseOf(runner) });
  };
  for (const width of WIDTHS) {
    const net = make({ width }, c.seed);
    add(denseKey(width), folded(net), "dense");
    disposeNet(net);
  }
  let done = 0;
  for (const group of GROUPS) {
    const { net, normaliser } = await train({ width: WIDTH, group }, c, (d) => c.progress((done + d) / 2.1));
    const name = sparseKey(group);
    figures[`${name}, validation`] = 100 * classify(net, data.validation, { normaliser }).accuracy;
    add(name, folded(net), "sparse");
    if (group === 1) add(TWIN, folded(net), "dense");
    disposeNet(net);
    done++;
  }
  const pace = quick ? { rounds: 1, slice: 0.2, warmUp: 0.2 } : { rounds: 25, slice: 20, warmUp: 40 };
  const timing = await interleave(variants, { ...pace, signal });
  for (const v of timing.variants) figures[`${v.name}, ms`] = v.time.median;
  for (const group of GROUPS) {
    const name = sparseKey(group);
    for (const width of WIDTHS) {
      figures[`${denseKey(width)} over ${name}`] = timing.ratio(name, denseKey(width)).median;
    }
    figures[`${TWIN} over ${name}`] = timing.ratio(name, TWIN).median;
    figures[`1x1 of ${TWIN} over ${name}`] = timing.ratio(`${name}, 1x1`, `${TWIN}, 1x1`).median;
  }
  for (const r of runners) r.dispose();
  return figures;
}

/** Work of a training run: three products of 2 floating-point operations for each multiply-add, 8,000 images. */
const gflop = (width: number, share = 1): number => 48 * EPOCHS * share * (0.6 * width + 4.6 * width * width);

const SPARSE_GFLOP = gflop(WIDTH, 0.8);

const experiment: Experiment = {
  paper: 16,
  method: "runtime/convnet.ts",
  uses: [
    "evaluate/curve.ts",
    "kernels/convnet/sparse.ts",
    "kernels/convnet/dense.ts",
    "kernels/convnet/stream.ts",
    "methods/training/gmp.ts",
    "models/convnets/fold.ts",
    "models/convnets/trained.ts",
    "models/mobilenet.ts",
    "runtime/convnet-choose.ts",
    "runtime/timing.ts",
  ],
  oracles: ["runtime/convnet.test.ts", "runtime/convnet-trained.test.ts", "methods/training/gmp.test.ts"],
  data: ["cifar-10-subset"],
  seeds: [1, 2, 3],
  quickSeeds: [1],
  minutes: 15,
  claims: [
    {
      id: "C1",
      text: "at equal validation accuracy the sparse network is at least 1.2 times faster than a dense one (aim: 1.5)",
      metric: "speedAtEqual",
      op: ">=",
      threshold: 1.2,
      main: true,
      kind: "effect",
      needs: ["F1", "F2", "X1", "X2"],
      basis: "reasoned",
    },
    {
      id: "C1b",
      text: "the same where accuracy is measured on test images",
      metric: "speedAtEqualMeasured",
      op: ">=",
      threshold: 1.2,
      main: false,
      kind: "effect",
      needs: ["F1", "X1", "X2"],
      basis: "reasoned",
    },
    {
      id: "C2",
      text: "its 1x1 layers take at most 0.4 of the time that they take when they are run dense",
      metric: "pointwise",
      op: "<=",
      threshold: 0.4,
      main: true,
      kind: "cost",
      needs: ["X1", "X2"],
      basis: "estimated",
    },
    {
      id: "C3",
      text: "it is at least 1 point better than a dense network that is as fast",
      metric: "overAsFast",
      op: ">=",
      threshold: 1,
      main: true,
      kind: "effect",
      needs: ["F1", "X1", "X2"],
      basis: "estimated",
    },
    {
      id: "C4",
      text: "pruned by blocks of 4 outputs it loses at most 2 points against single weights",
      metric: "blockLoss",
      op: "<=",
      threshold: 2,
      main: true,
      kind: "no-worse",
      needs: ["F1", "X1"],
      basis: "estimated",
    },
    {
      id: "C4b",
      text: "with blocks of 4 outputs it is at least 1.2 times faster than a dense network of its validation accuracy",
      metric: "blockSpeedAtEqual",
      op: ">=",
      threshold: 1.2,
      main: false,
      kind: "effect",
      needs: ["F1", "X1", "X2"],
      basis: "reasoned",
    },
    {
      id: "C5",
      text: "the whole sparse network is at least twice as fast as when it is run dense",
      metric: "overTwin",
      op: ">=",
      threshold: 2,
      main: false,
      kind: "cost",
      needs: ["X1", "X2"],
      basis: "measured",
    },
    {
      id: "C6",
      text: "points that the sparse network is behind a dense one of its width",
      metric: "behindWidest",
      op: "<=",
      threshold: 2,
      main: false,
      kind: "no-worse",
      needs: ["F1"],
      basis: "estimated",
    },
    {
      id: "F1",
      text: "accuracy of the widest dense network: it has learned what such a network learns from 8,000 images",
      metric: "widest",
      op: ">=",
      threshold: 50,
      main: false,
      kind: "floor",
      basis: "measured",
    },
    {
      id: "F2",
      text: "dense widths enclose it: points of validation accuracy that the narrowest one is behind it",
      metric: "narrowestBehind",
      op: ">=",
      threshold: 0,
      main: false,
      kind: "floor",
      basis: "reasoned",
    },
    {
      id: "X1",
      text: "networks that run give the logits of those that were trained: the largest difference over the largest logit",
      metric: "apart",
      op: "<=",
      threshold: 1e-4,
      main: false,
      kind: "exact",
      basis: "reasoned",
    },
    {
      id: "X2",
      text: "a tenth of the weights of the 1x1 layers is left, and all of these layers run sparse",
      metric: "density",
      op: "==",
      threshold: 1 - SPARSITY,
      tolerance: 1e-3,
      main: false,
      kind: "exact",
      basis: "reasoned",
    },
    {
      id: "X3",
      text: "seed 1 trained again beside the clock is the same network: difference of its accuracies",
      metric: "again",
      op: "==",
      threshold: 0,
      main: false,
      kind: "exact",
      basis: "reasoned",
    },
  ],
  cells: (seed): readonly Cell[] => [
    ...GROUPS.map((group) => ({
      key: sparseKey(group),
      seed,
      gflop: SPARSE_GFLOP,
      run: (c: CellContext) => accuracies({ width: WIDTH, group }, c),
    })),
    ...WIDTHS.map((width) => ({
      key: denseKey(width),
      seed,
      gflop: gflop(width),
      run: (c: CellContext) => accuracies({ width }, c),
    })),
    { key: "latency", seed: 1, gflop: GROUPS.length * SPARSE_GFLOP, alone: true, run: latencies },
  ],
  metrics(seed, get) {
    const time = get("latency");
    const dense = WIDTHS.map((width) => get(denseKey(width)));
    const [sparse, block] = GROUPS.map((group) => get(sparseKey(group)));
    const slower = (group: Group): number[] =>
      WIDTHS.map((width) => time[`${denseKey(width)} over ${sparseKey(group)}`]);
    const curve = (figure: "validation" | "accuracy"): number[] => rising(dense.map((d) => d[figure]));
    const widest = dense[WIDTHS.length - 1];
    const ranSparse = [sparse, block].every((s) => s.sparseLayers === BLOCKS.length);
    return {
      speedAtEqual: readOff(curve("validation"), slower(1), sparse.validation),
      speedAtEqualMeasured: readOff(curve("accuracy"), slower(1), sparse.accuracy),
      pointwise: 1 / time[`1x1 of ${TWIN} over ${sparseKey(1)}`],
      overAsFast: sparse.accuracy - readOff(slower(1), curve("accuracy"), 1),
      blockLoss: sparse.accuracy - block.accuracy,
      blockSpeedAtEqual: readOff(curve("validation"), slower(4), block.validation),
      overTwin: time[`${TWIN} over ${sparseKey(1)}`],
      behindWidest: widest.accuracy - sparse.accuracy,
      widest: widest.accuracy,
      narrowestBehind: sparse.validation - dense[0].validation,
      apart: Math.max(...[...dense, sparse, block].map((f) => f.apart)),
      density: ranSparse ? sparse.nonZeros / sparse.weights : 1,
      again: seed === 1 ? time[`${sparseKey(1)}, validation`] - sparse.validation : 0,
    };
  },
};
export default experiment;
