/**
 * How fast each form of a 1x1 layer is on this machine, measured on drawn weights: the forecast for the layers of a
 * network, and what `convnet-choose.ts` decides by.
 *
 * A layer is measured alone, but as a network meets it: its pixels have just been written, its weights have been out of
 * the near caches for a pass. So copies of its weights take turns over the same pixels, as many as fill what a network's
 * weights fill. All forms of a shape are timed in one interleaved run, and only ratios taken inside of a round are kept.
 */
import { stream } from "../core/random.ts";
import type { ConvNet } from "../models/convnets/net.ts";
import { ConvRunner } from "./convnet.ts";
import { BLOCKS, type ConvSpeeds, convRules, type PointwiseFacts, type SparsePointwise } from "./convnet-choose.ts";
import { interleave, rotate, type Spread, type TimingOptions } from "./timing.ts";

export interface ProfileOptions extends TimingOptions {
  /** forms of a layer that are measured, the most promising by the rules first; default 2 */
  readonly forms?: number;
  /** bytes that the copies of a dense layer fill; default 4 MiB */
  readonly footprint?: number;
  readonly onShape?: (done: number, shapes: number) => void;
}

/** Densities are measured on a grid of this many steps a factor of two, so that like layers share a measurement. */
const STEPS = 16;
const gridDensity = (density: number): number => Math.min(1, 2 ** (Math.round(Math.log2(density) * STEPS) / STEPS));

const shapeKey = (f: PointwiseFacts): string => `${f.out}x${f.in}x${f.pixels}`;
const cellKey = (f: PointwiseFacts, form: SparsePointwise): string =>
  `${shapeKey(f)} ${form} ${gridDensity(f.density[form])}`;

/** A network of one layer, its weights drawn, blocks of `block` outputs kept with probability `density`. */
function oneLayer(f: PointwiseFacts, block: number, density: number, seed: number): ConvNet {
  const [draws, lots] = [stream(seed, "weights"), stream(seed, "lots")];
  const weight = Float32Array.from({ length: f.out * f.in }, (_, i) => {
    const [o, k] = [Math.floor(i / f.in), i % f.in];
    return lots.uniform((o - (o % block)) * f.in + k) < density ? 2 * draws.uniform(i) - 1 : 0;
  });
  const layer = { kind: "pointwise", name: f.name, in: f.in, out: f.out, activation: "relu" } as const;
  const input = { channels: f.in, height: 1, width: f.pixels };
  return { shape: { name: f.name, input, layers: [layer] }, weights: [{ weight, bias: new Float32Array(f.out) }] };
}

/** Copies of a layer's weights that take turns, as one thing to time, over the pixels of `pixels` or their own. */
function copies(
  f: PointwiseFacts,
  form: SparsePointwise | "dense",
  density: number,
  count: number,
  pixels: ConvRunner | undefined,
) {
  const runners: ConvRunner[] = [];
  for (let seed = 0; seed < count; seed++) {
    const activationsOf = pixels ?? runners[0];
    const net = oneLayer(f, form === "dense" ? 1 : BLOCKS[form], density, seed);
    runners.push(new ConvRunner(net, { choose: () => ({ form, reason: "measured" }), activationsOf }));
  }
  if (!pixels) runners[0].load(Float32Array.from({ length: f.in * f.pixels }, (_, i) => (i % 17) / 17));
  const free = (): void => {
    for (const r of runners.reverse()) r.dispose();
  };
  return { first: runners[0], run: rotate(count, (i) => runners[i].step(0)), free };
}

/** Measures what the layers need, each shape and density once: some tens of milliseconds a shape. */
export async function measurePointwise(
  layers: readonly PointwiseFacts[],
  options: ProfileOptions = {},
): Promise<ConvSpeeds & { readonly cells: ReadonlyMap<string, Spread> }> {
  const { forms = 2, footprint = 4 * 2 ** 20, onShape, ...timing } = options;
  const shapes = new Map<string, { facts: PointwiseFacts; wants: Map<string, SparsePointwise> }>();
  for (const facts of layers) {
    if (facts.sparsity === 0) continue;
    const entry = shapes.get(shapeKey(facts)) ?? { facts, wants: new Map() };
    shapes.set(shapeKey(facts), entry);
    const rated = (Object.keys(BLOCKS) as SparsePointwise[])
      .map((form) => ({ form, ratio: convRules.ratio(facts, form) ?? 0 }))
      .sort((a, b) => b.ratio - a.ratio);
    for (const { form } of rated.slice(0, forms)) entry.wants.set(cellKey(facts, form), form);
  }
  const cells = new Map<string, Spread>();
  let done = 0;
  for (const { facts, wants } of shapes.values()) {
    const count = Math.max(2, Math.min(16, Math.ceil(footprint / (4 * facts.out * facts.in))));
    const dense = copies(facts, "dense", 1, count, undefined);
    const made = [dense];
    const variants = [{ name: "dense", run: dense.run }];
    for (const [name, form] of wants) {
      const density = Number(name.split(" ")[2]);
      made.push(copies(facts, form, density, count, dense.first));
      variants.push({ name, run: made[made.length - 1].run });
    }
    try {
      const measured = await interleave(variants, { rounds: 9, slice: 4, warmUp: 8, ...timing });
      for (const name of wants.keys()) cells.set(name, measured.ratio(name, "dense"));
    } finally {
      for (const m of made.reverse()) m.free();
    }
    onShape?.(++done, shapes.size);
  }
  return {
    where: "on this machine",
    cells,
    ratio: (facts, form) => cells.get(cellKey(facts, form))?.median,
  };
}
