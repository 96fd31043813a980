/**
 * Products of several engines in one interleaved run: each engine in a seat of its own, loaded, compared with an f64
 * product, timed in turns, unloaded.
 */
import { interleave, spread, type Timing, type TimingOptions } from "../../../src/runtime/timing.ts";
import { ORT_PACKAGES } from "../peers/ort.ts";
import { TFJS_PACKAGES } from "../peers/tfjs.ts";
import { Seat, seatClock } from "../seat.ts";
import { checkProduct, type ProductCase } from "./case.ts";
import type { LacunaSetup } from "./lacuna.ts";

/** npm names of the engines that products are compared with. */
export const PRODUCT_PEERS = [...TFJS_PACKAGES, ...ORT_PACKAGES] as const;

/** Peers by the short names that ids have. */
export const PEERS = {
  tfjs: { name: "tfjs-wasm", module: "./tfjs.ts", setup: {} },
  "ort-web": { name: "onnxruntime-web", module: "./ort.ts", setup: { kind: "web" } },
  "ort-node": { name: "onnxruntime-node (native)", module: "./ort.ts", setup: { kind: "node" } },
} as const;
export type PeerId = keyof typeof PEERS;

export const openPeer = (id: PeerId): Promise<Seat> =>
  Seat.open(PEERS[id].name, new URL(PEERS[id].module, import.meta.url), PEERS[id].setup);

export const openLacuna = (setup: LacunaSetup, name = "lacuna"): Promise<Seat> =>
  Seat.open(name, new URL("./lacuna.ts", import.meta.url), setup);

/** One contestant of a run. */
export interface Line {
  /** unique within the run */
  readonly name: string;
  readonly seat: Seat;
  readonly product: ProductCase;
}

/**
 * Operations of one call at least, some milliseconds: between calls workers go to sleep and caches are used by others.
 */
const CALL = 2e8;

/** How often one call computes its product; the same for all lines of a run. */
const repeatOf = (lines: readonly Line[], call: number): number =>
  Math.max(...lines.map(({ product: p }) => Math.ceil(call / (2 * p.tokens * p.in * p.out * p.density))));

/** The same timing with times of one product. */
function perProduct(timing: Timing, repeat: number): Timing {
  const variants = timing.variants.map((v) => {
    const times = v.times.map((t) => t / repeat);
    return { ...v, times, time: spread(times) };
  });
  return { ...timing, variants };
}

/** Loads, checks and times all lines in turns, `call` operations a call at least; times are those of one product. */
export async function contest(lines: readonly Line[], options: TimingOptions, call = CALL): Promise<Timing> {
  const repeat = repeatOf(lines, call);
  const loaded: Line[] = [];
  try {
    for (const line of lines) {
      line.seat.call("load", { ...line.product, repeat });
      loaded.push(line);
      checkProduct(line.name, line.product, line.seat.call<Float32Array>("sample", line.product.id));
    }
    const timing = await interleave(
      lines.map((l) => l.seat.variant("run", l.product.id, l.name)),
      { ...options, clock: seatClock },
    );
    return perProduct(timing, repeat);
  } finally {
    for (const line of loaded) line.seat.call("unload", line.product.id);
  }
}

/** The fastest of some contestants by their median times. */
export function fastest(timing: Timing, names: readonly string[]): string {
  const of = (name: string): number => timing.variants.find((v) => v.name === name)?.time.median ?? Infinity;
  return names.reduce((best, name) => (of(name) < of(best) ? name : best));
}

/** Slices and rounds of a full and of a quick run. */
export const pace = (quick: boolean): TimingOptions =>
  quick ? { rounds: 7, slice: 10, warmUp: 60 } : { rounds: 21, slice: 20, warmUp: 80 };
