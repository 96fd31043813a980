/**
 * Whole convolutional networks, 224 x 224, one image at a time, 1x1 layers 90 % sparse: over their own dense twins, and
 * over peers that run the same weights, zeros included, dense. Logits are compared before anything is timed.
 *
 * Each peer sits in an isolate of its own with one thread; runs in which Lacuna has one, too, are kept on one core. The forecast of v1's layers is made from layers measured
 * alone, with drawn weights, before the passes in which they are timed.
 */
import { drawImage, drawNet } from "../../../src/models/convnets/drawn.ts";
import type { ConvNet, NetShape } from "../../../src/models/convnets/net.ts";
import { efficientNetLite0, mobileNetV1, mobileNetV2 } from "../../../src/models/convnets/shapes.ts";
import { sparsifyPointwise } from "../../../src/runtime/convnet-sparsify.ts";
import { interleave, pairedRatio, type Spread, type Timing, type Variant } from "../../../src/runtime/timing.ts";
import { denseId, type LacunaContest, type LayerTimes } from "../convnets/lacuna.ts";
import { merge, type Outcome, type Rate, type Row, rateOf, ratioRow, rowOf } from "../outcome.ts";
import { ORT_PACKAGES } from "../peers/ort.ts";
import { TFJS_PACKAGES } from "../peers/tfjs.ts";
import { onOneCore } from "../pin.ts";
import { Seat, seatClock } from "../seat.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

const SPARSITY = 0.9;
const BLOCKS = [1, 2, 4] as const;
type Block = (typeof BLOCKS)[number];
const PATTERN: Readonly<Record<Block, string>> = { 1: "single weights", 2: "2x1", 4: "4x1" };

interface Target {
  readonly atLeast: number;
  readonly aim: number;
}

interface Entry {
  readonly id: "v1" | "v2" | "lite0";
  readonly make: (options: { readonly resolution: number }) => NetShape;
  readonly overDense: Target;
}

const ENTRIES: readonly Entry[] = [
  { id: "v1", make: mobileNetV1, overDense: { atLeast: 2, aim: 3 } },
  { id: "v2", make: mobileNetV2, overDense: { atLeast: 1.5, aim: 2.2 } },
  { id: "lite0", make: efficientNetLite0, overDense: { atLeast: 1.5, aim: 2.1 } },
];
/** of v1 over onnxruntime-web and tfjs-wasm */
const OVER_PEERS: Target = { atLeast: 2.4, aim: 4 };

interface Peer {
  readonly name: string;
  readonly short: string;
  readonly module: string;
  readonly setup: Readonly<Record<string, unknown>>;
  readonly target?: Target;
}

const PEERS: readonly Peer[] = [
  { name: "onnxruntime-web", short: "ort-web", module: "ort", setup: { kind: "web" }, target: OVER_PEERS },
  { name: "onnxruntime-node", short: "ort-node", module: "ort", setup: { kind: "node" } },
  { name: "tfjs-wasm", short: "tfjs", module: "tfjs", setup: {}, target: OVER_PEERS },
];

const netId = (block: Block): string => `block${block}`;

/** Largest difference of two logits, relative to the largest logit. */
export function apart(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let [most, size] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i] - want[i]);
    if (!(difference <= most)) most = difference;
    size = Math.max(size, Math.abs(want[i]));
  }
  return most / size;
}

/** Logits of different orders of summation; f32 networks of these depths agree within about 1e-6. */
const AGREED = 1e-4;

async function oneNet(entry: Entry, options: SuiteOptions): Promise<Outcome> {
  const { quick, say } = options;
  const threads = quick ? [1] : options.threads;
  const shape = entry.make({ resolution: quick ? 128 : 224 });
  say(`${shape.name}: drawing weights`);
  const drawn = drawNet(shape, 1);
  const nets: Record<string, ConvNet> = {};
  for (const block of BLOCKS) nets[netId(block)] = sparsifyPointwise(drawn, { sparsity: SPARSITY, block });
  const images = [0, 1, 2].map((i) => drawImage(shape, i));
  const seats: Seat[] = [];
  const open = async (name: string, module: string, setup: object): Promise<Seat> => {
    const seat = await Seat.open(name, new URL(`../convnets/${module}.ts`, import.meta.url), setup);
    seats.push(seat);
    return seat;
  };
  const notes: string[] = [];
  try {
    say(`${shape.name}: opening contestants`);
    const own: { seat: Seat; threads: number }[] = [];
    for (const n of threads) {
      const setup: LacunaContest = { nets, images, threads: n };
      own.push({ seat: await open(`lacuna, ${n} thread${n > 1 ? "s" : ""}`, "lacuna", setup), threads: n });
    }
    const peers: { peer: Peer; seat: Seat }[] = [];
    const first = { [netId(1)]: nets[netId(1)] };
    for (const peer of PEERS) {
      peers.push({ peer, seat: await open(peer.name, peer.module, { nets: first, images, ...peer.setup }) });
    }
    const want = own[0].seat.call<Float32Array>("logits", denseId(netId(1)));
    const check = (seat: Seat, id: string, reference: Float32Array): void => {
      const far = apart(seat.call<Float32Array>("logits", id), reference);
      if (!(far < AGREED)) throw new Error(`bench: ${seat.name}'s logits of ${shape.name} are off by ${far}`);
      notes.push(`${shape.name}, ${seat.name}, ${id}: logits within ${far.toExponential(1)} of the dense twin's`);
    };
    for (const { seat } of own) {
      for (const block of BLOCKS) {
        check(seat, netId(block), own[0].seat.call<Float32Array>("logits", denseId(netId(block))));
      }
    }
    for (const { seat } of peers) check(seat, netId(1), want);

    const nameOf = (n: number, what: string): string => `lacuna ${what}, ${n} thread${n > 1 ? "s" : ""}`;
    const pace = quick ? { rounds: 5, slice: 20, warmUp: 20 } : { rounds: 15, slice: 60, warmUp: 120 };
    const parts: Outcome[] = [];
    for (const { seat, threads: n } of own) {
      say(`${shape.name}: timing, ${n} thread${n > 1 ? "s" : ""}`);
      const variants: Variant[] = [
        seat.variant("run", denseId(netId(1)), nameOf(n, "dense")),
        ...BLOCKS.map((block) => seat.variant("run", netId(block), nameOf(n, PATTERN[block]))),
        ...peers.map(({ peer, seat }) => seat.variant("run", netId(1), peer.name)),
      ];
      const time = (): Promise<Timing> => interleave(variants, { ...pace, clock: seatClock });
      const timing = n === 1 ? (await onOneCore(time)).value : await time();
      parts.push(rowsOf(entry, shape, timing, n, nameOf));
    }
    const outcome = { ...merge(parts), notes };
    if (entry.id !== "v1") return outcome;
    say(`${shape.name}: layers, forecast and measured`);
    const layers = await onOneCore(async () =>
      own[0].seat.call<LayerTimes[]>("layers", { id: netId(1), passes: quick ? 15 : 61 }),
    );
    return withLayers(outcome, shape, layers.value);
  } finally {
    for (const seat of seats) await seat.close();
  }
}

/** Rows and rates of one run, in which Lacuna had `n` threads and every peer one. */
function rowsOf(
  entry: Entry,
  shape: NetShape,
  timing: Timing,
  n: number,
  nameOf: (threads: number, what: string) => string,
): Outcome {
  const rows: Row[] = [];
  const rates: Rate[] = [];
  const text = `${shape.name}, ${shape.input.height} x ${shape.input.width}`;
  const base = { shape: text, threads: n, sparsity: SPARSITY };
  const dense = nameOf(n, "dense");
  const rate = (id: string, name: string, threads: number): void => {
    rates.push(rateOf(timing, name, 1, { id, what: name, shape: text, threads, unit: "images/s" }));
  };
  rate(`convnets/${entry.id}/dense/${n}`, dense, n);
  for (const block of BLOCKS) {
    const name = nameOf(n, PATTERN[block]);
    const id = `convnets/${entry.id}/block${block}/${n}`;
    rate(id, name, n);
    // what was promised holds for single weights on one thread, the hardest case
    const promised = n === 1 && block === 1;
    const what = `network, ${PATTERN[block]}`;
    const own = promised ? entry.overDense : {};
    rows.push(ratioRow(timing, name, dense, { ...base, id: `${id}/over-dense`, what, over: "own dense", ...own }));
    for (const peer of PEERS) {
      const target = promised && entry.id === "v1" ? peer.target : undefined;
      const over = `${peer.name}, dense, 1 thread`;
      rows.push(ratioRow(timing, name, peer.name, { ...base, id: `${id}/over-${peer.short}`, what, over, ...target }));
    }
  }
  for (const peer of PEERS) {
    const id = `convnets/${entry.id}/dense/${n}/over-${peer.short}`;
    const over = `${peer.name}, 1 thread`;
    rows.push(ratioRow(timing, dense, peer.name, { ...base, id, what: "network, dense", over, sparsity: 0 }));
    rate(`convnets/${entry.id}/${peer.short}/beside-${n}`, peer.name, 1);
  }
  return { rows, rates, counts: [], notes: [] };
}

/** Layers whose measured ratio lies within a fifth of the forecast one, of all. */
export function withinFifth(layers: readonly { readonly forecast: number; readonly measured: number }[]): number {
  return layers.filter((l) => within(l.measured, l.forecast)).length;
}

const within = (measured: number, forecast: number): boolean => Math.abs(measured / forecast - 1) <= 0.2;

/** Layers of ten whose measured ratio has to lie within a fifth of the forecast one. */
const FORECAST = { atLeast: 0.9 };

function withLayers(outcome: Outcome, shape: NetShape, layers: readonly LayerTimes[]): Outcome {
  const rows = [...outcome.rows];
  const compared: { forecast: number; measured: Spread }[] = [];
  const notes = [...outcome.notes];
  for (const layer of layers) {
    const measured = pairedRatio(layer.sparse, layer.dense);
    rows.push(
      rowOf(measured, {
        id: `convnets/v1/layer/${layer.name}`,
        what: `1x1 layer as ${layer.form}`,
        shape: layer.shape,
        sparsity: SPARSITY,
        threads: 1,
        over: "own dense",
      }),
    );
    if (layer.forecast === null) continue;
    compared.push({ forecast: layer.forecast, measured });
    const off = (100 * (measured.median / layer.forecast - 1)).toFixed(0);
    notes.push(
      `${layer.name} ${layer.shape}: forecast ${layer.forecast.toFixed(2)}, measured ${measured.median.toFixed(2)} (${off} %)`,
    );
  }
  rows.push(
    rowOf(shareWithinFifth(compared), {
      id: "convnets/v1/forecast",
      what: "share of 1x1 layers whose measured ratio is within 20 % of the forecast one",
      shape: `${shape.name}, ${compared.length} layers`,
      sparsity: SPARSITY,
      threads: 1,
      over: "forecast",
      ...FORECAST,
    }),
  );
  return { ...outcome, rows, notes };
}

/**
 * Share of layers within a fifth of their forecast, by their medians. `low` counts those of which both quartiles are within
 * it, `high` those whose quartiles reach into it.
 */
export function shareWithinFifth(layers: readonly { readonly forecast: number; readonly measured: Spread }[]) {
  const share = (good: (r: Spread, f: number) => boolean): number =>
    layers.filter(({ measured, forecast }) => good(measured, forecast)).length / layers.length;
  return {
    median: share((r, f) => within(r.median, f)),
    low: share((r, f) => within(r.low, f) && within(r.high, f)),
    high: share((r, f) => r.low <= 1.2 * f && r.high >= 0.8 * f),
    repeats: Math.min(...layers.map((l) => l.measured.repeats)),
  };
}

export const convnetsSuite: Suite = {
  name: "convnets",
  shows: "MobileNet v1, v2 and EfficientNet-lite0, 1x1 layers 90 % sparse, over dense, onnxruntime and tfjs-wasm",
  peers: [...TFJS_PACKAGES, ...ORT_PACKAGES],
  async run(options) {
    const outcomes: Outcome[] = [];
    for (const entry of ENTRIES) outcomes.push(await oneNet(entry, options));
    return {
      rows: outcomes.flatMap((o) => o.rows),
      rates: outcomes.flatMap((o) => o.rates),
      counts: [],
      notes: [
        ...outcomes.flatMap((o) => o.notes),
        "Peers have one thread and run the network of single weights: the time of dense kernels does not depend on zeros",
      ],
    };
  },
};
