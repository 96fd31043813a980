/**
 * Sparse iso-FLOP transformations (Thangarasa et al. 2024, arXiv 2303.11525): a dense layer is replaced by a larger sparse
 * one of the same cost, and RigL trains its mask. The only choice is the sparsity s; nothing else of the training changes.
 *
 * - wide: all widths times sqrt(k), k = round(1 / (1 - s)). Stem and classifier stay dense and grow with it, so the density
 *   of the others is solved for the whole network;
 * - parallel: k branches of the layer, each with a norm of its own, added up before the ReLU;
 * - factorised: U into d channels, norm, ReLU, then V of 1x1, both sparse;
 * - doped: the layer at s, and beside it a dense V U of rank r without anything in between.
 *
 * Different from the released code: ranks are whole numbers first, and then the sparse weights take what the budget
 * leaves, which keeps every layer at its cost; and weights start from He's normal by the fan in, as everywhere here.
 * Left out: masks on U alone, ERK, residual shortcuts, transformers.
 */
import { demand } from "../../core/errors.ts";
import type { PlainCnnOptions } from "../../models/plain-cnn.ts";
import { convLayer, convSize } from "../../nn/layers/conv.ts";
import { linearLayer } from "../../nn/layers/linear.ts";
import { batchNormLayer } from "../../nn/layers/norm.ts";
import { type Step, sequential } from "../../nn/layers/sequential.ts";
import type { Net } from "../../nn/net.ts";
import { relu } from "../../nn/ops/activation.ts";
import { add, mul, reshape, scale } from "../../nn/ops/elementwise.ts";
import { linear } from "../../nn/ops/linear.ts";
import { globalAvgPool } from "../../nn/ops/pool.ts";
import { sum } from "../../nn/ops/reduce.ts";
import { swapRows } from "../../nn/ops/rows.ts";
import type { Param } from "../../nn/param.ts";
import { atMacs, type MacGroup } from "../../sparsity/budget-macs.ts";
import { random } from "../../sparsity/criteria.ts";
import type { Hook, SparseTraining } from "../../sparsity/hook.ts";
import type { RewireMeter } from "../../sparsity/rewire.ts";
import { type Site, sitesOf } from "../../sparsity/site.ts";
import { rigl } from "./rigl.ts";
import { staticRandom } from "./static.ts";

export type Member = "wide" | "parallel" | "factorised" | "doped";

/** A layer's size; kernel 1 is a linear layer. */
export interface LayerSize {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
}

/** Against roundings in quotients that are whole numbers. */
const EPS = 1e-6;

/** k: how many dense layers' weights a sparse one of sparsity s can choose from. */
export const copies = (sparsity: number): number => Math.round(1 / (1 - sparsity));

/** Channels of a wide layer. */
export const widened = (channels: number, sparsity: number): number =>
  Math.floor(channels * Math.sqrt(copies(sparsity)) + EPS);

const weightsOf = ({ inputs, outputs, kernel }: LayerSize): number => kernel ** 2 * inputs * outputs;
/** Weights of U and V together for each channel between them. */
const factorWeights = ({ inputs, outputs, kernel }: LayerSize): number => kernel ** 2 * inputs + outputs;

/** Channels between sparse factors. As released, 1 - 0.9 counts as a little less than 0.1, and one channel comes on top. */
export const factorChannels = (layer: LayerSize, sparsity: number): number =>
  Math.ceil(weightsOf(layer) / ((1 - sparsity) * factorWeights(layer)));

/** Rank of the dense factors beside a sparse layer. */
export const dopedRank = (layer: LayerSize, sparsity: number): number =>
  Math.floor((sparsity * weightsOf(layer)) / factorWeights(layer) + EPS);

/** What stands between the parts: parallel has "norm", factorised "norm, relu"; with "nothing" both are one dense layer. */
export type Between = "norm" | "norm, relu" | "nothing";

export interface IsoCnnOptions extends PlainCnnOptions {
  readonly member: Member;
  readonly sparsity: number;
  /** default: the member's */
  readonly between?: Between;
  /** decay acts on V U (`foldedDecay`) and not on U and V; for doped, and for factorised with nothing between */
  readonly folded?: boolean;
}

export interface IsoNet extends Net {
  /** what the masked weights may cost */
  readonly groups: readonly MacGroup[];
  /** factors without anything between them */
  readonly factors: readonly { readonly u: Param; readonly v: Param }[];
}

interface Block {
  readonly step: Net;
  readonly masked: readonly Param[];
  /** multiply-adds that its dense parts take */
  readonly apart: number;
  readonly factors?: { readonly u: Param; readonly v: Param };
}

interface ConvPlace extends LayerSize {
  readonly stride: number;
  /** side of the images that come in */
  readonly size: number;
}

const join = (nets: readonly Net[], forward: Net["forward"]): Net => ({ ...sequential(...nets), forward });

/** The block of a member in place of a convolution with norm and ReLU. */
function block(name: string, norm: string, place: ConvPlace, options: IsoCnnOptions): Block {
  const { inputs, outputs, kernel, stride, size } = place;
  const { seed, sparsity, member, folded = false } = options;
  const between = options.between ?? (member === "parallel" ? "norm" : "norm, relu");
  const conv = (part: string, from: number, to: number, decay = true): Net =>
    convLayer(part, from, to, kernel, { seed, stride, padding: Math.floor(kernel / 2), size, decay });
  const batchNorm = (part: string, channels: number, relu: boolean): Net =>
    batchNormLayer(part, channels, { seed, relu });
  const out = batchNorm(norm, outputs, true);
  const side = convSize(size, kernel, { stride, padding: Math.floor(kernel / 2) });
  const factors = (channels: number, free: boolean): readonly [Net, Net] => [
    conv(`${name}.u`, inputs, channels, !free),
    convLayer(`${name}.v`, channels, outputs, 1, { seed, size: side, decay: !free }),
  ];

  if (member === "factorised") {
    const channels = factorChannels(place, sparsity);
    const [u, v] = factors(channels, folded);
    const middle: readonly Net[] =
      between === "nothing" ? [] : [batchNorm(`${norm}.u`, channels, between === "norm, relu")];
    const [first, second] = [u.params[0], v.params[0]];
    return {
      step: sequential(u, ...middle, v, out),
      masked: [first, second],
      apart: 0,
      ...(between === "nothing" && { factors: { u: first, v: second } }),
    };
  }
  if (member === "doped") {
    const own = conv(name, inputs, outputs);
    const rank = dopedRank(place, sparsity);
    if (rank === 0) return { step: sequential(own, out), masked: own.params, apart: 0 };
    const [u, v] = factors(rank, folded);
    const step = join([own, u, v, out], (x, mode) =>
      out.forward(add(own.forward(x, mode), v.forward(u.forward(x, mode), mode)), mode),
    );
    const apart = rank * factorWeights(place) * side ** 2;
    return { step, masked: own.params, apart, factors: { u: u.params[0], v: v.params[0] } };
  }
  const count = member === "parallel" ? copies(sparsity) : 1;
  const convs = Array.from({ length: count }, (_, j) => conv(j === 0 ? name : `${name}.${j}`, inputs, outputs));
  const masked = convs.flatMap((c) => c.params);
  if (count === 1) return { step: sequential(...convs, out), masked, apart: 0 };
  if (between === "nothing") {
    const step = join([...convs, out], (x, mode) =>
      out.forward(
        convs.map((c) => c.forward(x, mode)).reduce((a, b) => add(a, b)),
        mode,
      ),
    );
    return { step, masked, apart: 0 };
  }
  const branches = convs.map((c, j) =>
    sequential(c, batchNorm(j === 0 ? norm : `${norm}.${j}`, outputs, between === "norm, relu")),
  );
  const step = join(branches, (x, mode) => relu(branches.map((b) => b.forward(x, mode)).reduce((a, b) => add(a, b))));
  return { step, masked, apart: 0 };
}

/**
 * The network of `models/plain-cnn.ts` with every layer but the stem and the classifier transformed, and the budget of its
 * masked weights: that of the dense layers, or for wide that of the whole dense network. At sparsity 0 wide, parallel and
 * doped are the plain network, weight for weight.
 */
export function isoCnn(options: IsoCnnOptions): IsoNet {
  const { seed, stages, channels = 1, size = 28, classes = 10, member, sparsity } = options;
  demand(sparsity >= 0 && sparsity < 1, () => ({
    about: `${member} transformation`,
    expected: "a sparsity in [0, 1)",
    got: String(sparsity),
    hint: "It is that of the layers that are replaced.",
  }));
  const grown = (n: number): number => (member === "wide" ? widened(n, sparsity) : n);
  const steps: Step[] = [];
  const groups: MacGroup[] = [];
  const factors: { u: Param; v: Param }[] = [];
  let [inputs, side] = [channels, size];
  /** of the dense network, and of what stays dense in this one */
  let [dense, rest] = [0, 0];
  const wide: string[] = [];
  stages.forEach(({ channels: outputs, stride = 1, kernel = 3 }, i) => {
    const padding = Math.floor(kernel / 2);
    const places = convSize(side, kernel, { stride, padding }) ** 2;
    const macs = kernel ** 2 * inputs * outputs * places;
    dense += macs;
    if (i === 0) {
      const width = grown(outputs);
      rest += kernel ** 2 * inputs * width * places;
      steps.push(
        convLayer("conv0", inputs, width, kernel, { seed, stride, padding, size: side, role: "stem" }),
        batchNormLayer("norm0", width, { seed, relu: true }),
      );
    } else {
      const place = { inputs: grown(inputs), outputs: grown(outputs), kernel, stride, size: side };
      const made = block(`conv${i}`, `norm${i}`, place, options);
      const names = made.masked.map((p) => p.name);
      steps.push(made.step);
      if (made.factors) factors.push(made.factors);
      if (member === "wide") wide.push(...names);
      else groups.push({ names, macs: macs - made.apart });
    }
    inputs = outputs;
    side = Math.sqrt(places);
  });
  const head = linearLayer("head", grown(inputs), classes, { seed, role: "head" });
  dense += inputs * classes;
  rest += grown(inputs) * classes;
  if (member === "wide") groups.push({ names: wide, macs: dense - rest });
  return { ...sequential(...steps, globalAvgPool, head), groups, factors };
}

/** The masked weights. */
export function isoSites(net: IsoNet): readonly Site[] {
  const names = net.groups.flatMap((g) => g.names);
  return sitesOf(net, { except: net.params.map((p) => p.name).filter((name) => !names.includes(name)) });
}

export interface SparseIftOptions {
  /** "gradient" (RigL, default), "random" (SET's growth) or "none": the first mask stays */
  readonly growth?: "gradient" | "random" | "none";
  /** steps between updates; default 100 */
  readonly every?: number;
  /** first share that is exchanged, which falls to 0; default 0.3 */
  readonly fraction?: number;
  /** part of the run after which masks stay; default 0.8 */
  readonly until?: number;
}

export interface SparseIft extends SparseTraining {
  /** undefined where masks stay */
  readonly meter: RewireMeter | undefined;
}

/** Training of a transformed network: random masks at the dense network's cost, then the exchange. */
export function sparseIft(net: IsoNet, options: SparseIftOptions = {}): SparseIft {
  const { growth = "gradient", every = 100, fraction = 0.3, until = 0.8 } = options;
  const sites = isoSites(net);
  const budget = atMacs(net.groups);
  // The budget knows the counts; the number is only what a choice of masks asks for.
  const shared = { sparsity: 0, budget };
  const begun: SparseTraining & { readonly meter?: RewireMeter } =
    growth === "none"
      ? staticRandom(shared)
      : rigl({
          ...shared,
          every,
          until,
          fraction: [fraction, 0],
          ...(growth === "random" && { growth: random, regrow: false }),
        });
  return { ...begun, id: `sparse-ift, ${begun.id}`, sites: () => sites, meter: begun.meter };
}

/** The square of |V U|_F for U [r, ..] and V [out, r, 1, 1]: the sum of (V^T V) (U U^T), without the product itself. */
function foldedSquares(u: Param, v: Param): ReturnType<typeof sum> {
  const rank = u.shape[0];
  const outputs = v.shape[0];
  const rows = reshape(u.value, [rank, u.numel / rank]);
  const columns = reshape(swapRows(reshape(v.value, [outputs * rank, 1]), outputs, rank), [rank, outputs]);
  return sum(mul(linear(columns, columns), linear(rows, rows)));
}

/** decay / 2 |V U|_F^2 of every pair of linear factors, in place of decay on U and V (make the network with `folded`). */
export const foldedDecay = (net: IsoNet, decay: number): Hook => ({
  id: "folded decay",
  penalty: () =>
    scale(
      net.factors.map(({ u, v }) => foldedSquares(u, v)).reduce((a, b) => add(a, b)),
      decay / 2,
    ),
});
