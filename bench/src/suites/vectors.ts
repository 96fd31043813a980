/**
 * Products with one token, one thread, weights from beyond the caches: what each form of a weight is worth over the best
 * own dense one in f32 (rows in place, or panels of outputs, whichever was faster in the same run).
 *
 * Three parts: sparse weights at 90 %; vectors with zeros (finding the active inputs is inside of the time); weights of
 * 16, 8 and 4 bits. Copies of each weight take turns, as many as fill 64 MiB dense in f32 and three at least, with sixteen
 * vectors: what is left of a sparse or narrow weight may then stay in the last-level cache, as it would in a model of that
 * size. Every variant is compared with an f64 product first; quantised ones with that of the rounded weight.
 */

import { linearForward } from "../../../src/core/compute/gemm.ts";
import {
  quantActiveForward,
  quantForward,
  quantMatrix,
  sparseQuantForward,
  sparseQuantMatrix,
} from "../../../src/core/compute/quant.ts";
import { sparseForward, sparseMatrix } from "../../../src/core/compute/sparse.ts";
import { activeForward, panelForward, vectorMatrix, withActive } from "../../../src/core/compute/vector.ts";
import { fusion, initSync, memory, shutdown } from "../../../src/core/engine.ts";
import { type ElementType, encode } from "../../../src/kernels/dense/element.ts";
import { dequantisePlain, quantisePlain } from "../../../src/kernels/quant/format.ts";
import { drawnWeight } from "../../../src/runtime/drawn.ts";
import { interleave, rotate, type Timing, type Variant } from "../../../src/runtime/timing.ts";
import { merge, type Outcome, type Row, rateOf, ratioRow } from "../outcome.ts";
import type { Suite, SuiteOptions } from "./suite.ts";

interface Shape {
  readonly out: number;
  readonly in: number;
}

/** A weight in one form: y = W x, by address. */
interface Form {
  forward(x: number, y: number): void;
  free(): void;
}

const VECTORS = 16;
/** Bytes of dense f32 copies that take turns: more than a last-level cache. */
const COLD = 64 * 2 ** 20;
const FEWEST = 3;
const GROUP = 128;
const DENSE = ["rows in place, f32", "panels, f32"] as const;
const OWN = "best own dense";

/** Fast draws in (-1, 1): the weights are large and their quality does not matter. */
function draws(seed: number): () => number {
  let s = seed | 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) / 2 ** 31 - 1;
  };
}

/** `count` vectors of which each has exactly the share `zeros` of entries 0; none of the others is below 0.1. */
function drawnVectors(width: number, zeros: number, count: number): Float32Array {
  const next = draws(77);
  const x = new Float32Array(count * width);
  for (let v = 0; v < count; v++) {
    const order = Array.from({ length: width }, (_, k) => [next(), k] as const).sort((a, b) => a[0] - b[0]);
    for (const [, k] of order.slice(Math.round(zeros * width))) {
      const u = next();
      x[v * width + k] = Math.sign(u) * (0.1 + 0.9 * Math.abs(u));
    }
  }
  return x;
}

const place = (values: Float32Array | Uint16Array): number => {
  const ptr = memory.alloc(values.byteLength);
  memory.u8(ptr, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return ptr;
};

/** Builds a form from a dense weight in f32, and says which weight it stands for. */
interface Recipe {
  readonly name: string;
  make(w: Float32Array, s: Shape): Form;
  /** default the weight itself */
  meant?(w: Float32Array, s: Shape): Float32Array;
  /** largest error beside f32's, for |x| <= 1 and weights of about unit size, per square root of an input; default 0 */
  readonly slack?: number;
}

const stored = (type: ElementType, layout: "rows" | "panel" | "byinput", name: string): Recipe => ({
  name,
  make(w, { out, in: width }) {
    const ptr = place(encode(type, w));
    if (layout === "rows") {
      return {
        forward: (x, y) => linearForward(x, 1, { ptr, type }, out, width, y),
        free: () => memory.free(ptr),
      };
    }
    const m = vectorMatrix({ ptr, type }, out, width, layout);
    memory.free(ptr);
    const forward = (x: number, y: number): void =>
      layout === "panel" ? panelForward(x, 1, m, y) : withActive(x, width, 0, (active) => activeForward(active, m, y));
    return { forward, free: m.free };
  },
});

const quantised = (type: "int8" | "int4" | "uint4", layout: "panel" | "byinput", name: string): Recipe => ({
  name,
  meant: (w, { out, in: width }) => dequantisePlain(quantisePlain(w, out, width, type, GROUP)),
  // half a step of 4095 steps of the inputs
  slack: 1e-3,
  make(w, { out, in: width }) {
    const ptr = place(w);
    const m = quantMatrix({ ptr, type: "f32" }, out, width, { type, group: GROUP, layout });
    memory.free(ptr);
    const forward = (x: number, y: number): void =>
      layout === "panel"
        ? quantForward(x, 1, m, y)
        : withActive(x, width, 0, (active) => quantActiveForward(active, m, y));
    return { forward, free: m.free };
  },
});

const sparse = (format: "csr" | "block4x1", type: ElementType | "int8" | "int4", name: string): Recipe => ({
  name,
  // drawn weights are multiples of 1/128: exact in 16 bits, and in 8 and 4 bits within half a step of each
  slack: type === "int8" ? 5e-3 : type === "int4" ? 0.08 : 0,
  make(w, { out, in: width }) {
    if (type === "int8" || type === "int4") {
      const m = sparseQuantMatrix(w, out, width, format, type);
      return { forward: (x, y) => sparseQuantForward(x, 1, m, y), free: m.free };
    }
    const m = sparseMatrix(w, out, width, format, { values: type });
    return { forward: (x, y) => sparseForward(x, 1, m, y), free: m.free };
  },
});

/** Throws unless y = W x, to f32's accuracy and the recipe's slack. */
function check(recipe: Recipe, s: Shape, w: Float32Array, x: Float32Array, y: Float32Array): void {
  const meant = recipe.meant?.(w, s) ?? w;
  // a sum that wanders to 16 is rounded by 1e-6 a term, some hundred outputs are looked at; a missing term is over 1e-3
  const allowed = Math.sqrt(s.in) * (4e-6 + (recipe.slack ?? 0));
  for (let o = 0; o < s.out; o += 1 + Math.floor(s.out / 199)) {
    let sum = 0;
    for (let k = 0; k < s.in; k++) sum += meant[o * s.in + k] * x[k];
    if (!(Math.abs(sum - y[o]) <= allowed)) throw new Error(`bench: ${recipe.name} gives ${y[o]} for ${sum}`);
  }
}

/** All recipes on one shape in one interleaved run, each over as many copies as make its weights cold. */
async function contest(
  s: Shape,
  zeros: number,
  recipes: readonly { readonly recipe: Recipe; readonly weight: Float32Array }[],
  quick: boolean,
): Promise<Timing> {
  const x = drawnVectors(s.in, zeros, VECTORS);
  const xs = place(x);
  const ys = memory.alloc(4 * s.out);
  const forms: Form[] = [];
  const variants: Variant[] = recipes.map(({ recipe, weight }) => {
    const first = recipe.make(weight, s);
    fusion(true, () => first.forward(xs + 4 * s.in, ys));
    check(recipe, s, weight, x.subarray(s.in, 2 * s.in), memory.f32(ys, s.out));
    const copies = [first];
    while (copies.length < Math.max(FEWEST, COLD / (4 * s.out * s.in))) copies.push(recipe.make(weight, s));
    forms.push(...copies);
    const next = rotate(VECTORS * copies.length, (i) =>
      copies[i % copies.length].forward(xs + 4 * s.in * (i % VECTORS), ys),
    );
    return { name: recipe.name, run: () => fusion(true, next) };
  });
  const timing = await interleave(
    variants,
    quick ? { rounds: 7, slice: 8, warmUp: 60 } : { rounds: 21, slice: 10, warmUp: 40 },
  );
  for (const f of forms) f.free();
  memory.free(xs);
  memory.free(ys);
  return timing;
}

/** The faster of the dense variants, by its median. */
function bestDense(timing: Timing): string {
  const median = (name: string): number => timing.variants.find((v) => v.name === name)!.time.median;
  return [...DENSE].sort((a, b) => median(a) - median(b))[0];
}

interface Target {
  readonly atLeast: number;
  readonly aim: number;
}

const digits = (zeros: number): string => `${Math.round(100 * zeros)}`;

/** Ratios over the best dense variant, and weights a second as if all of them had been read. */
function outcomeOf(
  timing: Timing,
  part: string,
  s: Shape,
  sparsity: number,
  what: (name: string) => string,
  promises: Readonly<Record<string, Target>>,
): Outcome {
  const shape = `${s.out} x ${s.in} x 1`;
  const base = bestDense(timing);
  const id = `vectors/${part}/${s.out}x${s.in}/${digits(sparsity)}`;
  const rows: Row[] = timing.variants
    .filter((v) => v.name !== base)
    .map((v) =>
      ratioRow(timing, v.name, base, {
        id: `${id}/${v.name.replace(/[ ,]+/g, "-")}`,
        what: what(v.name),
        shape,
        sparsity: (DENSE as readonly string[]).includes(v.name) ? 0 : sparsity,
        threads: 1,
        over: `${OWN} (${base})`,
        ...promises[v.name],
      }),
    );
  const rates = timing.variants.map((v) =>
    rateOf(timing, v.name, (s.out * s.in) / 1e9, {
      id: `${id}/rate/${v.name.replace(/[ ,]+/g, "-")}`,
      what: `${v.name}, ${digits(sparsity)} % zeros, as if dense`,
      shape,
      threads: 1,
      unit: "G weights/s",
    }),
  );
  return { rows, rates, counts: [], notes: [] };
}

const denseRecipes = [stored("f32", "rows", DENSE[0]), stored("f32", "panel", DENSE[1])];

async function sparseWeights(s: Shape, quick: boolean): Promise<Outcome> {
  const sparsity = 0.9;
  const shape = { ...s, type: "f32" as const };
  const drawn = {
    dense: drawnWeight(shape, "dense", 1, 3),
    block4x1: drawnWeight(shape, "block4x1", 1 - sparsity, 5),
    csr: drawnWeight(shape, "csr", 1 - sparsity, 7),
  };
  const recipes = [
    ...denseRecipes.map((recipe) => ({ recipe, weight: drawn.dense })),
    ...(["block4x1", "csr"] as const).flatMap((format) =>
      (quick ? (["f32"] as const) : (["f32", "bf16", "f16", "int8", "int4"] as const)).map((type) => ({
        recipe: sparse(format, type, `${format === "csr" ? "CSR" : "4x1"}, ${type}`),
        weight: drawn[format],
      })),
    ),
  ];
  const timing = await contest(s, 0, recipes, quick);
  const promised = { "4x1, f32": { atLeast: 6, aim: 7 } };
  return outcomeOf(timing, "sparse", s, sparsity, (name) => `sparse matrix-vector, ${name}`, promised);
}

const ACTIVE: Readonly<Record<number, Target>> = {
  0.5: { atLeast: 1.4, aim: 2 },
  0.7: { atLeast: 2.5, aim: 3.5 },
  0.9: { atLeast: 7, aim: 9 },
};

async function activeInputs(s: Shape, zeros: number, promised: Target | undefined, quick: boolean): Promise<Outcome> {
  const weight = drawnWeight({ ...s, type: "f32" }, "dense", 1, 3);
  const recipes = [
    ...denseRecipes,
    stored("f32", "byinput", "active inputs, f32"),
    ...(quick
      ? []
      : [
          stored("bf16", "byinput", "active inputs, bf16"),
          stored("f16", "byinput", "active inputs, f16"),
          quantised("int8", "byinput", "active inputs, int8"),
          quantised("int4", "byinput", "active inputs, int4"),
        ]),
  ].map((recipe) => ({ recipe, weight }));
  const timing = await contest(s, zeros, recipes, quick);
  const promises: Readonly<Record<string, Target>> = promised ? { "active inputs, f32": promised } : {};
  return outcomeOf(timing, "active", s, zeros, (name) => `activation-sparse, ${name}`, promises);
}

async function narrowWeights(s: Shape, quick: boolean): Promise<Outcome> {
  const weight = drawnWeight({ ...s, type: "f32" }, "dense", 1, 3);
  const recipes = [
    ...denseRecipes,
    stored("bf16", "rows", "rows in place, bf16"),
    stored("bf16", "panel", "panels, bf16"),
    stored("f16", "panel", "panels, f16"),
    quantised("int8", "panel", "panels, int8"),
    quantised("int4", "panel", "panels, int4"),
    quantised("uint4", "panel", "panels, uint4"),
  ].map((recipe) => ({ recipe, weight }));
  const timing = await contest(s, 0, recipes, quick);
  return outcomeOf(timing, "dense", s, 0, (name) => `dense matrix-vector, ${name}`, {});
}

/** 2048 inputs, 5504 outputs: 43 MiB in f32. */
const LARGE: Shape = { out: 5504, in: 2048 };

export const vectorsSuite: Suite = {
  name: "vectors",
  shows:
    "products with one token: sparse weights, active inputs and narrow weights over the best own dense, one thread",
  peers: [],
  oneCore: true,
  async run({ quick, say }: SuiteOptions) {
    initSync({ threads: 1 });
    const outcomes: Outcome[] = [];
    for (const size of quick ? [1024] : [1024, 2048]) {
      say(`sparse weights, 90 %, ${size} x ${size}`);
      outcomes.push(await sparseWeights({ out: size, in: size }, quick));
    }
    for (const zeros of [0.5, 0.7, 0.9]) {
      say(`active inputs, ${digits(zeros)} % zeros, ${LARGE.out} x ${LARGE.in}`);
      outcomes.push(await activeInputs(LARGE, zeros, ACTIVE[zeros], quick));
    }
    for (const s of quick ? [] : [{ out: 1024, in: 1024 }, LARGE]) {
      say(`weights of 16, 8 and 4 bits, ${s.out} x ${s.in}`);
      outcomes.push(await narrowWeights(s, quick));
    }
    shutdown();
    return merge(outcomes);
  },
};
