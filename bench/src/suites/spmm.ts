/**
 * Sparse weights x dense activations, one thread: over Lacuna's own dense product (constant weight, packed when loaded)
 * and over the dense products of tfjs-wasm, onnxruntime-web and the native onnxruntime-node on the same shapes. What is
 * timed is the whole call, packing of activations included. Masks are drawn, values are f32.
 *
 * Four parts: 90 % at 1024 x 1024 x 196 over every peer; 50 % at 32, 64 and 196 columns over own dense; where each layout
 * breaks even; and one column. Every layout with a kernel runs, whether something was promised for it or not.
 */
import { LAYOUTS, type LayoutName, layouts } from "../../../src/kernels/sparse/layouts.ts";
import { quotaOfDensity } from "../../../src/runtime/drawn.ts";
import { breakEven } from "../../../src/runtime/forecast.ts";
import { cleanRounds, spread, type Timing } from "../../../src/runtime/timing.ts";
import { merge, type Outcome, type Row, rateOf, ratioRow, rowOf } from "../outcome.ts";
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
type Targets = Readonly<Partial<Record<LayoutName, Target>>>;

const SIZE = 1024;
const OWN = "own dense";

/** 90 % at 196 columns, by what it is over. */
const HEADLINE: Readonly<Record<PeerId | typeof OWN, Targets>> = {
  tfjs: { csr: { atLeast: 6, aim: 8 }, block4x1: { atLeast: 9, aim: 11 } },
  "ort-web": { csr: { atLeast: 7, aim: 9.5 }, block4x1: { atLeast: 10, aim: 13 } },
  [OWN]: { csr: { atLeast: 5, aim: 6.5 }, block4x1: { atLeast: 7, aim: 8.3 } },
  "ort-node": { block4x1: { atLeast: 2.5, aim: 5 } },
};
const HALF: Targets = {
  csr: { atLeast: 1.1, aim: 1.3 },
  block4x1: { atLeast: 1.6, aim: 1.8 },
  nm4x1: { atLeast: 1.55, aim: 1.8 },
};
/** Most sparsity at which a layout breaks even, and what it should be. */
const EVEN: Targets = {
  csr: { atLeast: 0.5, aim: 0.4 },
  block2x1: { atLeast: 0.3, aim: 0.2 },
  block4x1: { atLeast: 0.25, aim: 0.15 },
};
const EVEN_GRID = [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5] as const;
const VECTOR: Targets = { block4x1: { atLeast: 6, aim: 7 } };

const percent = (sparsity: number): string => `${Math.round(100 * sparsity)} %`;
/** "2:4" for N:M, the pattern itself for blocks. */
function patternOf(name: LayoutName, sparsity: number): string {
  const quota = LAYOUTS[name].index === "steps" ? quotaOfDensity(1 - sparsity, SIZE) : undefined;
  return quota ? LAYOUTS[name].pattern.replace("N:M", `${quota.n}:${quota.m}`) : LAYOUTS[name].pattern;
}
const fits = (name: LayoutName, sparsity: number): boolean =>
  LAYOUTS[name].index === "columns" || quotaOfDensity(1 - sparsity, SIZE) !== undefined;

const productOf = (form: ProductCase["form"], tokens: number, density: number): ProductCase => ({
  id: `${form} ${density}`,
  tokens,
  in: SIZE,
  out: SIZE,
  form,
  density,
});
const sparseLine = (own: Seat, name: LayoutName, tokens: number, sparsity: number): Line => ({
  name: `${name} ${percent(sparsity)}`,
  seat: own,
  product: productOf(name, tokens, Number((1 - sparsity).toFixed(4))),
});
/** Dense forms that may be the fastest. */
const denseLines = (own: Seat, tokens: number): Line[] =>
  (tokens === 1 ? (["stored", "panel"] as const) : (["packed"] as const)).map((form) => ({
    name: `${OWN}, ${form}`,
    seat: own,
    product: productOf(form, tokens, 1),
  }));
const bestDense = (timing: Timing): string =>
  fastest(
    timing,
    timing.variants.map((v) => v.name).filter((name) => name.startsWith(OWN)),
  );

interface RowOf {
  readonly id: string;
  readonly over: string;
  readonly tokens: number;
  readonly sparsity: number;
  readonly target?: Partial<Target> | undefined;
}

function layoutRow(timing: Timing, name: LayoutName, { id, over, tokens, sparsity, target }: RowOf): Row {
  const quota = LAYOUTS[name].index === "steps" ? quotaOfDensity(1 - sparsity, SIZE) : undefined;
  return ratioRow(timing, `${name} ${percent(sparsity)}`, over === OWN ? bestDense(timing) : over, {
    id,
    what: `SpM${tokens === 1 ? "V" : "M"} ${name}, ${patternOf(name, sparsity)}`,
    shape: `${SIZE} x ${SIZE} x ${tokens}`,
    // N:M has the sparsity next to the one asked for
    sparsity: quota ? 1 - quota.n / quota.m : sparsity,
    threads: 1,
    over,
    ...target,
  });
}

/** Own dense and every layout at one sparsity and number of columns. */
async function ownLines(own: Seat, tokens: number, sparsity: number, quick: boolean, targets: Targets) {
  const names = layouts.map((l) => l.name).filter((name) => fits(name, sparsity) && (!quick || targets[name]));
  const timing = await contest(
    [...denseLines(own, tokens), ...names.map((name) => sparseLine(own, name, tokens, sparsity))],
    pace(quick),
  );
  const rows = names.map((name) =>
    layoutRow(timing, name, {
      id: `spmm/${name}-${100 * sparsity}/n${tokens}/over-own`,
      over: OWN,
      tokens,
      sparsity,
      target: targets[name],
    }),
  );
  return { timing, names, rows };
}

async function headline(own: Seat, peers: ReadonlyMap<PeerId, Seat>, quick: boolean): Promise<Outcome> {
  const [tokens, sparsity] = [196, 0.9];
  const names = layouts.map((l) => l.name).filter((name) => fits(name, sparsity) && (!quick || HEADLINE[OWN][name]));
  const timing = await contest(
    [
      ...denseLines(own, tokens),
      ...names.map((name) => sparseLine(own, name, tokens, sparsity)),
      ...[...peers].map(
        ([id, seat]): Line => ({ name: PEERS[id].name, seat, product: productOf("packed", tokens, 1) }),
      ),
    ],
    pace(quick),
  );
  const rows = names.flatMap((name) => {
    const row = (over: PeerId | typeof OWN): Row =>
      layoutRow(timing, name, {
        id: `spmm/${name}-90/n${tokens}/over-${over === OWN ? "own" : over}`,
        over: over === OWN ? OWN : PEERS[over].name,
        tokens,
        sparsity,
        target: HEADLINE[over][name],
      });
    return [row(OWN), ...[...peers.keys()].map(row)];
  });
  const gflop = (2 * SIZE * SIZE * tokens) / 1e9;
  const rates = timing.variants.map((v) =>
    rateOf(timing, v.name, gflop, {
      id: `spmm/n${tokens}/${v.name}`,
      what: `${v.name}, as if dense`,
      shape: `${SIZE} x ${SIZE} x ${tokens}`,
      threads: 1,
      unit: "GFLOP/s",
    }),
  );
  return { rows, rates, counts: [], notes: [] };
}

/** Sparsity at which a layout breaks even in one round; 1 where it never does. The grid's first point counts as "below". */
function evenOf(timing: Timing, name: LayoutName, round: number): number {
  const of = (variant: string): number => timing.variants.find((v) => v.name === variant)!.times[round];
  const dense = of(bestDense(timing));
  const points = EVEN_GRID.map((s) => ({ sparsity: s, ratio: dense / of(`${name} ${percent(s)}`) }));
  return breakEven(points)?.sparsity ?? 1;
}

/** Ratios over a grid of sparsities, and where they cross 1, round by round. */
async function evens(own: Seat, tokens: number, quick: boolean): Promise<Outcome> {
  const rows: Row[] = [];
  for (const name of Object.keys(EVEN) as LayoutName[]) {
    const timing = await contest(
      [...denseLines(own, tokens), ...EVEN_GRID.map((s) => sparseLine(own, name, tokens, s))],
      pace(quick),
    );
    const clean = cleanRounds(...timing.variants.map((v) => v.times));
    rows.push(
      rowOf(spread(clean.map((round) => evenOf(timing, name, round))), {
        id: `spmm/even/${name}/n${tokens}`,
        what: `SpMM ${name}, ${LAYOUTS[name].pattern}: sparsity at which it breaks even, less is better`,
        shape: `${SIZE} x ${SIZE} x ${tokens}`,
        threads: 1,
        over: OWN,
        ...EVEN[name],
      }),
      ...EVEN_GRID.map((sparsity) =>
        layoutRow(timing, name, {
          id: `spmm/even/${name}-${Math.round(100 * sparsity)}/n${tokens}`,
          over: OWN,
          tokens,
          sparsity,
        }),
      ),
    );
  }
  return { rows, rates: [], counts: [], notes: [] };
}

export const spmmSuite: Suite = {
  name: "spmm",
  shows: "sparse x dense products over own dense, tfjs-wasm, onnxruntime-web and -node, one thread",
  peers: PRODUCT_PEERS,
  oneCore: true,
  async run({ quick, say }: SuiteOptions) {
    const own = await openLacuna({ threads: 1 });
    const peers = new Map<PeerId, Seat>();
    const outcomes: Outcome[] = [];
    const plain = (rows: readonly Row[]): Outcome => ({ rows, rates: [], counts: [], notes: [] });
    try {
      for (const id of Object.keys(PEERS) as PeerId[]) peers.set(id, await openPeer(id));
      say(`90 %, ${SIZE} x ${SIZE} x 196, every peer`);
      outcomes.push(await headline(own, peers, quick));
      for (const tokens of quick ? [64] : [32, 64, 196]) {
        say(`50 %, ${tokens} columns`);
        outcomes.push(plain((await ownLines(own, tokens, 0.5, quick, HALF)).rows));
      }
      for (const tokens of quick ? [] : [4, 8, 12, 20, 64]) {
        say(`90 %, ${tokens} columns`);
        outcomes.push(plain((await ownLines(own, tokens, 0.9, quick, {})).rows));
      }
      for (const tokens of quick ? [64] : [32, 64, 196]) {
        say(`break-even, ${tokens} columns`);
        outcomes.push(await evens(own, tokens, quick));
      }
      say("90 %, one column");
      outcomes.push(plain((await ownLines(own, 1, 0.9, quick, VECTOR)).rows));
      return merge(outcomes);
    } finally {
      for (const seat of [own, ...peers.values()]) await seat.close();
    }
  },
};
