/**
 * Dense C = A·B against tfjs-wasm, one thread, f32, row-major in and out.
 *
 * Lacuna packs both factors within every call. tfjs (XNNPACK) packs B when it first sees a tensor and keeps it, so with
 * the few factors that take turns here its packing is outside of the time: the ratio errs in its favour. Both allocate
 * and free their result. Outputs are compared with an f64 product before anything is timed.
 */
import { gemm } from "../../../src/core/compute/gemm.ts";
import { fusion, initSync, memory, scratch, shutdown } from "../../../src/core/engine.ts";
import { stream } from "../../../src/core/random.ts";
import { interleave, rotate, type Variant } from "../../../src/runtime/timing.ts";
import { merge, type Outcome, rateOf, ratioRow } from "../outcome.ts";
import { TFJS_PACKAGES, tfjs } from "../peers/tfjs.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

export interface Product {
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly atLeast?: number;
  readonly aim?: number;
}

const PRODUCTS: readonly Product[] = [
  { m: 256, k: 256, n: 256 },
  { m: 512, k: 512, n: 512, atLeast: 1.15, aim: 1.4 },
  { m: 1024, k: 1024, n: 1024, atLeast: 1.15, aim: 1.4 },
  { m: 2048, k: 192, n: 512 },
];

/** Pairs of factors that take turns: more than the second-level cache holds, so that none stays there. */
const pairsOf = ({ m, k, n }: Product): number => Math.min(8, Math.max(3, Math.ceil(2 ** 22 / (4 * (m * k + k * n)))));

const drawn = (size: number, seed: number): Float32Array => {
  const draws = stream(seed, "gemm");
  return Float32Array.from({ length: size }, (_, i) => 2 * draws.uniform(i) - 1);
};

/** Largest error over a sample of C, relative to the bound of a sum of k products, sqrt(k): 1e-7 times a small factor. */
export function worstError(p: Product, a: Float32Array, b: Float32Array, c: ArrayLike<number>): number {
  let worst = 0;
  const stride = Math.max(1, Math.floor((p.m * p.n) / 997));
  for (let at = 0; at < p.m * p.n; at += stride) {
    const [i, j] = [Math.floor(at / p.n), at % p.n];
    let sum = 0;
    for (let q = 0; q < p.k; q++) sum += a[i * p.k + q] * b[q * p.n + j];
    worst = Math.max(worst, Math.abs(sum - c[at]));
  }
  return worst / Math.sqrt(p.k);
}

interface Contestant extends Variant {
  /** the product of pair `i` */
  result(i: number): Float32Array;
  free(): void;
}

/** Lacuna's product over factors in engine memory. */
export function lacunaProducts(p: Product, a: readonly Float32Array[], b: readonly Float32Array[]): Contestant {
  const place = (values: Float32Array): number => {
    const ptr = memory.alloc(4 * values.length);
    memory.f32(ptr, values.length).set(values);
    return ptr;
  };
  const [as, bs] = [a.map(place), b.map(place)];
  const product = <R>(i: number, use: (c: number) => R): R =>
    scratch(4 * p.m * p.n, (c) => {
      gemm({
        m: p.m,
        n: p.n,
        k: p.k,
        a: { ptr: as[i], type: "f32", rowStride: p.k, colStride: 1 },
        b: { ptr: bs[i], type: "f32", rowStride: p.n, colStride: 1 },
        c,
      });
      return use(c);
    });
  return {
    name: "lacuna",
    // What users get for generation: fused where the machine has relaxed SIMD (not Node 20).
    run: rotate(as.length, (i) => fusion(true, () => product(i, () => undefined))),
    result: (i) => fusion(true, () => product(i, (c) => memory.f32(c, p.m * p.n).slice())),
    free() {
      for (const ptr of [...as, ...bs]) memory.free(ptr);
    },
  };
}

export async function tfjsProducts(
  p: Product,
  a: readonly Float32Array[],
  b: readonly Float32Array[],
): Promise<Contestant> {
  const tf = await tfjs();
  const as = a.map((values) => tf.tensor2d(values, [p.m, p.k]));
  const bs = b.map((values) => tf.tensor2d(values, [p.k, p.n]));
  return {
    name: "tfjs-wasm",
    run: rotate(as.length, (i) => tf.matMul(as[i], bs[i]).dispose()),
    result: (i) => {
      const c = tf.matMul(as[i], bs[i]);
      const values = c.dataSync() as Float32Array;
      c.dispose();
      return values;
    },
    free() {
      for (const t of [...as, ...bs]) t.dispose();
    },
  };
}

/** Both contestants on the same factors, checked. */
export async function contest(p: Product): Promise<readonly [Contestant, Contestant]> {
  const pairs = pairsOf(p);
  const a = Array.from({ length: pairs }, (_, i) => drawn(p.m * p.k, 2 * i));
  const b = Array.from({ length: pairs }, (_, i) => drawn(p.k * p.n, 2 * i + 1));
  const both = [lacunaProducts(p, a, b), await tfjsProducts(p, a, b)] as const;
  for (const c of both) {
    const error = worstError(p, a[1], b[1], c.result(1));
    // Factors are below 1, so a sum of k products has an f32 rounding error of about 6e-8 sqrt(k) times a few.
    if (!(error < 1e-6)) throw new Error(`bench: ${c.name}'s product is wrong by ${error} sqrt(k)`);
  }
  return both;
}

async function one(p: Product, quick: boolean): Promise<Outcome> {
  const both = await contest(p);
  const timing = await interleave(both, quick ? { rounds: 5, slice: 10 } : { rounds: 21, slice: 20, warmUp: 60 });
  for (const c of both) c.free();
  const shape = `${p.m} x ${p.k} x ${p.n}`;
  const id = `gemm/${p.m}x${p.k}x${p.n}`;
  const gflop = (2 * p.m * p.k * p.n) / 1e9;
  return {
    rows: [
      ratioRow(timing, "lacuna", "tfjs-wasm", {
        id: `${id}/over-tfjs`,
        what: "dense GEMM",
        shape,
        threads: 1,
        over: "tfjs-wasm",
        atLeast: p.atLeast,
        aim: p.aim,
      }),
    ],
    rates: timing.variants.map((v) =>
      rateOf(timing, v.name, gflop, { id: `${id}/${v.name}`, what: v.name, shape, threads: 1, unit: "GFLOP/s" }),
    ),
    counts: [],
    notes: [],
  };
}

export const gemmSuite: Suite = {
  name: "gemm",
  shows: "dense matrix products M x K x N over tfjs-wasm, one thread",
  peers: TFJS_PACKAGES,
  async run({ quick, say }: SuiteOptions) {
    initSync({ threads: 1 });
    const outcomes: Outcome[] = [];
    for (const p of PRODUCTS) {
      say(`${p.m} x ${p.k} x ${p.n}`);
      outcomes.push(await one(p, quick));
    }
    shutdown();
    return merge(outcomes);
  },
};
