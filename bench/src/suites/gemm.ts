/**
 * Dense Y[T, N] = X[T, K] W^T, one thread, f32, row-major in and out, against tfjs-wasm, onnxruntime-web and the native
 * onnxruntime-node.
 *
 * The weight is constant, and every engine packs it when it is loaded: Lacuna as its form `packed`, tfjs (XNNPACK) once
 * per tensor, onnxruntime as an initializer. Lacuna is timed a second time with both factors packed in every call, which
 * the peers are not. Outputs are compared with an f64 product before anything is timed.
 */

import { merge, type Outcome, rateOf, ratioRow } from "../outcome.ts";
import type { ProductCase } from "../products/case.ts";
import {
  contest,
  fastest,
  type Line,
  openLacuna,
  openPeer,
  PEERS,
  type PeerId,
  PRODUCT_PEERS,
  pace,
} from "../products/contest.ts";
import type { Seat } from "../seat.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

interface Target {
  readonly atLeast: number;
  readonly aim: number;
}

interface Product {
  /** tokens, inputs, outputs */
  readonly t: number;
  readonly k: number;
  readonly n: number;
  readonly over?: Partial<Record<PeerId, Target>>;
}

const SQUARE = { tfjs: { atLeast: 1.15, aim: 1.4 }, "ort-web": { atLeast: 1.4, aim: 1.7 } } as const;
const SKINNY = { tfjs: { atLeast: 2, aim: 2.5 }, "ort-web": { atLeast: 1.5, aim: 1.8 } } as const;

const PRODUCTS: readonly Product[] = [
  { t: 256, k: 256, n: 256 },
  { t: 512, k: 512, n: 512, over: SQUARE },
  { t: 1024, k: 1024, n: 1024, over: SQUARE },
  { t: 2048, k: 192, n: 512 },
  { t: 196, k: 1024, n: 1024 },
  { t: 8, k: 2048, n: 2048, over: SKINNY },
  { t: 1, k: 2048, n: 2048 },
];

const OWN = "lacuna";
const IN_CALL = "lacuna, both factors packed in the call";

/** Lacuna's ways to compute a product. */
const waysOf = ({ t }: Product): readonly { readonly name: string; readonly form: ProductCase["form"] }[] =>
  t === 1
    ? [
        { name: `${OWN}, weight as stored`, form: "stored" },
        { name: `${OWN}, panels for one token`, form: "panel" },
      ]
    : [
        { name: OWN, form: "packed" },
        { name: IN_CALL, form: "calls" },
      ];

async function one(p: Product, own: Seat, peers: ReadonlyMap<PeerId, Seat>, quick: boolean): Promise<Outcome> {
  const base = { tokens: p.t, in: p.k, out: p.n, density: 1 } as const;
  const lines: Line[] = [
    ...waysOf(p).map(({ name, form }): Line => ({ name, seat: own, product: { id: form, form, ...base } })),
    ...[...peers].map(([id, seat]): Line => ({ name: PEERS[id].name, seat, product: { id, form: "packed", ...base } })),
  ];
  const timing = await contest(lines, pace(quick));
  const best = fastest(
    timing,
    waysOf(p).flatMap(({ name }) => (name === IN_CALL ? [] : [name])),
  );
  const shape = `${p.t} x ${p.k} x ${p.n}`;
  const id = `gemm/${p.t}x${p.k}x${p.n}`;
  const rows = [...peers.keys()].flatMap((peer) => {
    const { name } = PEERS[peer];
    const common = { shape, threads: 1, over: name };
    const main = ratioRow(timing, best, name, {
      id: `${id}/over-${peer}`,
      what: best === OWN ? "dense product" : `dense product, ${best.slice(OWN.length + 2)}`,
      ...common,
      ...p.over?.[peer],
    });
    if (p.t === 1) return [main];
    return [
      main,
      ratioRow(timing, IN_CALL, name, {
        id: `${id}/in-call-over-${peer}`,
        what: "dense product, both factors packed in the call",
        ...common,
      }),
    ];
  });
  const gflop = (2 * p.t * p.k * p.n) / 1e9;
  return {
    rows,
    rates: timing.variants.map((v) =>
      rateOf(timing, v.name, gflop, { id: `${id}/${v.name}`, what: v.name, shape, threads: 1, unit: "GFLOP/s" }),
    ),
    counts: [],
    notes: [],
  };
}

export const gemmSuite: Suite = {
  name: "gemm",
  shows: "dense products T x K x N over tfjs-wasm, onnxruntime-web and -node, one thread",
  peers: PRODUCT_PEERS,
  oneCore: true,
  async run({ quick, say }: SuiteOptions) {
    const own = await openLacuna({ threads: 1 });
    const peers = new Map<PeerId, Seat>();
    try {
      for (const id of Object.keys(PEERS) as PeerId[]) peers.set(id, await openPeer(id));
      const outcomes: Outcome[] = [];
      for (const p of quick ? PRODUCTS.filter((p) => p.over) : PRODUCTS) {
        say(`${p.t} x ${p.k} x ${p.n}`);
        outcomes.push(await one(p, own, peers, quick));
      }
      return merge(outcomes);
    } finally {
      for (const seat of [own, ...peers.values()]) await seat.close();
    }
  },
};
