/**
 * Two threads over one: what they bring to products large enough, and from what size on they bring anything.
 *
 * For the second, products of growing size are split whatever their size (`threadFloor(0)`) and compared with one thread,
 * hot (call after call, as layers follow one another in a pass) and after 300 us of idling, in which workers go to sleep.
 * The sizes where the hot ratios cross 1 are the floors of `src/core/compute/split.ts`.
 */
import { THREAD_FLOORS, type Work } from "../../../src/core/compute/split.ts";
import { type Count, type Outcome, type Row, ratioRow } from "../outcome.ts";
import type { ProductCase } from "../products/case.ts";
import { contest, type Line, openLacuna, pace } from "../products/contest.ts";
import type { Seat } from "../seat.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

const GEMM = { atLeast: 1.6, aim: 1.9 };
const SPMM = { atLeast: 1.7, aim: 2 };

interface Large {
  readonly what: string;
  readonly form: ProductCase["form"];
  readonly density: number;
  readonly size: number;
  readonly tokens: number;
  readonly target?: { readonly atLeast: number; readonly aim: number };
}

const LARGE: readonly Large[] = [
  { what: "dense product", form: "packed", density: 1, size: 256, tokens: 256 },
  { what: "dense product", form: "packed", density: 1, size: 512, tokens: 512, target: GEMM },
  { what: "dense product", form: "packed", density: 1, size: 1024, tokens: 1024, target: GEMM },
  { what: "dense product, both factors packed in the call", form: "calls", density: 1, size: 1024, tokens: 1024 },
  ...(["csr", "block4x1"] as const).flatMap((form) => [
    { what: `SpMM ${form}`, form, density: 0.1, size: 1024, tokens: 32 },
    { what: `SpMM ${form}`, form, density: 0.1, size: 1024, tokens: 64, target: SPMM },
    { what: `SpMM ${form}`, form, density: 0.1, size: 1024, tokens: 196, target: SPMM },
    { what: `SpMM ${form}`, form, density: 0.1, size: 1024, tokens: 784, target: SPMM },
  ]),
];

/** Products of one kind, smallest first. */
interface Ladder {
  readonly work: Work;
  readonly what: string;
  readonly steps: readonly ProductCase[];
}

const step = (form: ProductCase["form"], density: number, size: number, tokens: number): ProductCase => ({
  id: `${form} ${size} ${tokens}`,
  form,
  density,
  in: size,
  out: size,
  tokens,
});

const operations = (c: ProductCase): number => 2 * c.in * c.out * c.density * c.tokens;

const LADDERS: readonly Ladder[] = [
  {
    work: "gemm",
    what: "dense product",
    steps: [32, 48, 64, 80, 96, 128, 160, 192].map((n) => step("packed", 1, n, n)),
  },
  {
    work: "gemv",
    what: "dense vector product",
    steps: [128, 192, 256, 384, 512, 768, 1024].map((n) => step("stored", 1, n, 1)),
  },
  {
    work: "spmm",
    what: "SpMM block4x1",
    steps: [64, 96, 128, 192, 256, 384, 512].map((n) => step("block4x1", 0.2, n, 32)),
  },
  {
    work: "spmm",
    what: "SpMM csr",
    steps: [64, 96, 128, 192, 256, 384, 512].map((n) => step("csr", 0.2, n, 32)),
  },
  {
    work: "spmv",
    what: "SpMV block4x1",
    steps: [256, 384, 512, 768, 1024, 1536].map((n) => step("block4x1", 0.2, n, 1)),
  },
];

/** Operations at which ratios over rising operations cross 1 for good, on a line over their logarithm. */
export function crossing(points: readonly { readonly operations: number; readonly ratio: number }[]): number | null {
  let at = points.length;
  while (at > 0 && points[at - 1].ratio > 1) at--;
  if (at === points.length) return null;
  if (at === 0) return points[0].operations;
  const [a, b] = [points[at - 1], points[at]];
  const part = (1 - a.ratio) / (b.ratio - a.ratio);
  return Math.exp(Math.log(a.operations) + part * Math.log(b.operations / a.operations));
}

const ONE = "1 thread";
const TWO = "2 threads";

/** Operations of a call after idling: workers sleep before each product, so that few of them make a call. */
const IDLE_CALL = 4e6;

async function pair(one: Seat, two: Seat, product: ProductCase, ...how: [Parameters<typeof contest>[1], number?]) {
  const lines: Line[] = [
    { name: ONE, seat: one, product },
    { name: TWO, seat: two, product },
  ];
  return await contest(lines, ...how);
}

async function large(one: Seat, two: Seat, quick: boolean, say: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const p of quick ? LARGE.filter((l) => l.target) : LARGE) {
    say(`${p.what}, ${p.size} x ${p.size} x ${p.tokens}`);
    const product: ProductCase = {
      id: "p",
      form: p.form,
      density: p.density,
      in: p.size,
      out: p.size,
      tokens: p.tokens,
    };
    const timing = await pair(one, two, product, pace(quick));
    rows.push(
      ratioRow(timing, TWO, ONE, {
        id: `threads/${p.form}/${p.size}x${p.size}x${p.tokens}`,
        what: p.what,
        shape: `${p.size} x ${p.size} x ${p.tokens}`,
        sparsity: 1 - p.density,
        threads: 2,
        over: ONE,
        ...p.target,
      }),
    );
  }
  return rows;
}

async function floors(
  one: Seat,
  two: Seat,
  state: "hot" | "idle",
  say: (text: string) => void,
): Promise<{ rows: Row[]; counts: Count[] }> {
  const rows: Row[] = [];
  const counts: Count[] = [];
  for (const ladder of LADDERS) {
    say(`${ladder.what}, ${state}`);
    const points: { operations: number; ratio: number }[] = [];
    for (const product of ladder.steps) {
      const pace = { rounds: 15, slice: 4, warmUp: 10 };
      const timing = await (state === "hot" ? pair(one, two, product, pace) : pair(one, two, product, pace, IDLE_CALL));
      const shape = `${product.out} x ${product.in} x ${product.tokens}`;
      const row = ratioRow(timing, TWO, ONE, {
        id: `threads/floor/${state}/${product.form}/${product.out}x${product.in}x${product.tokens}`,
        what: `${ladder.what}, ${(operations(product) / 1e6).toFixed(2)} MFLOP, ${state}`,
        shape,
        sparsity: 1 - product.density,
        threads: 2,
        over: ONE,
      });
      rows.push(row);
      points.push({ operations: operations(product), ratio: row.ratio });
    }
    const at = crossing(points);
    counts.push({
      id: `threads/floor/${state}/${ladder.work}/${ladder.steps[0].form}`,
      what:
        `${ladder.what}, ${state}: two threads are faster from ` +
        `${at === null ? "nowhere in the sizes measured" : "so many MFLOP"} (floor in use: ${THREAD_FLOORS[ladder.work] / 1e6})`,
      unit: "MFLOP",
      value:
        at === null
          ? Number((operations(ladder.steps[ladder.steps.length - 1]) / 1e6).toFixed(2))
          : Number((at / 1e6).toFixed(2)),
    });
  }
  return { rows, counts };
}

/** Microseconds of idling: longer than workers look for work before they sleep. */
const IDLE = 300;

export const threadsSuite: Suite = {
  name: "threads",
  shows: "two threads over one for dense and sparse products, and from what size on they pay",
  peers: [],
  async run({ quick, say }: SuiteOptions): Promise<Outcome> {
    const seats: Seat[] = [];
    const open = async (...setup: Parameters<typeof openLacuna>): Promise<Seat> => {
      const seat = await openLacuna(...setup);
      seats.push(seat);
      return seat;
    };
    const closeAll = async (): Promise<void> => {
      for (const seat of seats.splice(0)) await seat.close();
    };
    try {
      const one = await open({ threads: 1 }, ONE);
      const rows = await large(one, await open({ threads: 2 }, TWO), quick, say);
      if (quick) return { rows, rates: [], counts: [], notes: [] };
      const hot = await floors(one, await open({ threads: 2, floor: 0 }, TWO), "hot", say);
      await closeAll();
      // The idling is part of the time here: ratios say which side of 1, not how far.
      const idle = await floors(
        await open({ threads: 1, idle: IDLE }, ONE),
        await open({ threads: 2, floor: 0, idle: IDLE }, TWO),
        "idle",
        say,
      );
      return {
        rows: [...rows, ...hot.rows, ...idle.rows],
        rates: [],
        counts: [...hot.counts, ...idle.counts],
        notes: [`"idle": ${IDLE} us of looking at the clock before each product are part of both times`],
      };
    } finally {
      await closeAll();
    }
  },
};
