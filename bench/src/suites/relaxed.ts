/**
 * What relaxed multiply-add brings, on an engine that has it without flags: Node 22 and later. One thread; the fused
 * kernels of inference over tfjs-wasm, and over the same kernels with two roundings.
 *
 * An engine without it hands the whole suite to Node 24 (`other-node.ts`); where that is not installed nothing is measured
 * and the run says so.
 */
import { hasRelaxedSimd } from "../../../src/kernels/probe.ts";
import { NODE_24_HINT, node24, runUnder } from "../other-node.ts";
import { merge, type Outcome, rateOf, ratioRow } from "../outcome.ts";
import { TFJS_PACKAGES } from "../peers/tfjs.ts";
import { contest, type Line, openLacuna, openPeer, PEERS, pace } from "../products/contest.ts";
import type { Seat } from "../seat.ts";
import { ceilingSuite } from "./ceiling.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

interface Shape {
  readonly tokens: number;
  readonly in: number;
  readonly out: number;
  readonly forms: readonly ("packed" | "csr" | "block2x1" | "block4x1")[];
  readonly density: number;
}

const SHAPES: readonly Shape[] = [
  { tokens: 512, in: 512, out: 512, forms: ["packed"], density: 1 },
  { tokens: 1024, in: 1024, out: 1024, forms: ["packed"], density: 1 },
  { tokens: 8, in: 2048, out: 2048, forms: ["packed"], density: 1 },
  { tokens: 64, in: 1024, out: 1024, forms: ["csr", "block2x1", "block4x1"], density: 0.1 },
  { tokens: 196, in: 1024, out: 1024, forms: ["csr", "block2x1", "block4x1"], density: 0.1 },
];
/** SpMM 4x1 90 %, 64 columns, over tfjs-wasm. */
const PROMISED = { atLeast: 14, aim: 18 };

async function one(s: Shape, fused: Seat, plain: Seat, tfjs: Seat, quick: boolean): Promise<Outcome> {
  const { tokens, out, density } = s;
  const base = { tokens, in: s.in, out };
  const peer = PEERS.tfjs.name;
  const lines: Line[] = [
    { name: peer, seat: tfjs, product: { id: "peer", form: "packed", density: 1, ...base } },
    ...s.forms.flatMap((form): Line[] => [
      { name: `${form}, fused`, seat: fused, product: { id: form, form, density, ...base } },
      { name: `${form}, two roundings`, seat: plain, product: { id: form, form, density, ...base } },
    ]),
  ];
  const timing = await contest(lines, pace(quick));
  const shape = `${out} x ${s.in} x ${tokens}`;
  const id = `relaxed/${out}x${s.in}x${tokens}`;
  const gflop = (2 * tokens * s.in * out) / 1e9;
  return {
    rows: s.forms.flatMap((form) => {
      const product = form === "packed" ? "dense product" : `SpMM ${form}`;
      const node = `Node ${process.versions.node.split(".")[0]}`;
      const common = { what: `${product}, fused multiply-add, ${node}`, shape, threads: 1, sparsity: 1 - density };
      const promised = form === "block4x1" && tokens === 64 ? PROMISED : {};
      return [
        ratioRow(timing, `${form}, fused`, peer, { id: `${id}/${form}/over-tfjs`, over: peer, ...common, ...promised }),
        ratioRow(timing, `${form}, fused`, `${form}, two roundings`, {
          id: `${id}/${form}/over-plain`,
          over: "two roundings",
          ...common,
        }),
      ];
    }),
    rates: timing.variants.map((v) =>
      rateOf(timing, v.name, gflop, {
        id: `${id}/${v.name}`,
        what: `${v.name}, as if dense`,
        shape,
        threads: 1,
        unit: "GFLOP/s",
      }),
    ),
    counts: [],
    notes: [],
  };
}

export const relaxedSuite: Suite = {
  name: "relaxed",
  shows: "relaxed multiply-add over tfjs-wasm and over two roundings; needs Node 22 or later",
  peers: TFJS_PACKAGES,
  oneCore: true,
  async run(options: SuiteOptions) {
    const { quick, say } = options;
    if (!hasRelaxedSimd()) {
      const other = node24();
      if (other) return await runUnder(other, "relaxed", options);
      const note = `relaxed SIMD is not in Node ${process.versions.node} without a flag: nothing was measured; ${NODE_24_HINT}`;
      return { rows: [], rates: [], counts: [], notes: [note] };
    }
    const seats: Seat[] = [];
    const opened = async (seat: Promise<Seat>): Promise<Seat> => {
      seats.push(await seat);
      return seats[seats.length - 1];
    };
    try {
      const fused = await opened(openLacuna({ threads: 1 }, "fused"));
      const plain = await opened(openLacuna({ threads: 1, fused: false }, "two roundings"));
      const tfjs = await opened(openPeer("tfjs"));
      const outcomes: Outcome[] = [await ceilingSuite.run(options)];
      for (const s of quick ? SHAPES.filter((s) => s.tokens === 64) : SHAPES) {
        say(`${s.out} x ${s.in} x ${s.tokens}`);
        outcomes.push(await one(s, fused, plain, tfjs, quick));
      }
      return merge(outcomes);
    } finally {
      for (const seat of seats) await seat.close();
    }
  },
};
