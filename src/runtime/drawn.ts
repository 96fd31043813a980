/**
 * Drawn layers to measure on: weights with a pattern and a density, in any form, as many copies at different addresses
 * as are needed to fill a memory. Values do not matter to speed, masks do, so two different masks alternate. Everything
 * is written before it is read.
 */
import { type SparseMatrix, sparseMatrix } from "../core/compute/sparse.ts";
import { memory } from "../core/engine.ts";
import { outside } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import { LAYOUTS } from "../kernels/sparse/layouts.ts";
import { nmSupported } from "../kernels/sparse/streams.ts";
import type { WeightShape } from "./choose.ts";
import {
  buildForm,
  type DenseForm,
  isQuotaForm,
  type Product,
  type Quota,
  type SparseForm,
  sparseProduct,
} from "./layer.ts";

/** Steps of the grid: below `under`, densities are rounded to multiples of `step`, which moves them by 6 % at most. */
const GRID = [
  { under: 0.05, step: 0.0025 },
  { under: 0.1, step: 0.005 },
  { under: 0.2, step: 0.01 },
  { under: 0.5, step: 0.025 },
  { under: 2, step: 0.05 },
] as const;

/**
 * The density that is measured in place of this one, so that layers with nearly the same share a measurement. Time is
 * about linear in density, so the grid is as fine as the density is small.
 */
export function gridDensity(density: number): number {
  const { step } = GRID.find((g) => density < g.under) ?? GRID[GRID.length - 1];
  return Math.min(0.95, Math.max(0.02, Number((Math.round(density / step) * step).toFixed(4))));
}

export interface Want {
  readonly form: SparseForm;
  readonly density: number;
}

/** The N:M of a density, for the patterns with a kernel; undefined when none has it. */
export function quotaOfDensity(density: number, width: number): Quota | undefined {
  const known: readonly Quota[] = [
    { n: 2, m: 4 },
    { n: 1, m: 4 },
    { n: 1, m: 8 },
    { n: 1, m: 2 },
  ];
  return known.find((q) => Math.abs(q.n / q.m - density) < 0.026 && nmSupported(q.n, q.m, width));
}

// A small fast generator: which numbers it gives is of no consequence, only that masks have no pattern.
function draws(seed: number): () => number {
  let s = seed >>> 0 || 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) / 4294967296;
  };
}

/** bf16 values of size 0.5 to 1, never 0. */
const someValue = (u: number): number => (u < 0.5 ? -1 : 1) * (0.5 + Math.floor(u * 64) / 128);

/** A drawn weight with the pattern of `form` at `density`. */
export function drawnWeight(s: WeightShape, form: SparseForm | "dense", density: number, seed: number): Float32Array {
  const next = draws(seed);
  const { out, in: width } = s;
  const w = new Float32Array(out * width);
  if (form === "dense") {
    for (let i = 0; i < w.length; i++) w[i] = someValue(next());
    return w;
  }
  const { rows, columns } = LAYOUTS[form];
  const quota = isQuotaForm(form) ? quotaOfDensity(density, width) : undefined;
  let place = 0;
  for (let top = 0; top < out; top += rows) {
    const bottom = Math.min(out, top + rows);
    for (let left = 0; left < width; left += columns) {
      const right = Math.min(width, left + columns);
      let kept = next() < density;
      if (quota) {
        // n neighbours at a drawn place of each run.
        if (left % quota.m === 0) place = Math.floor(next() * (quota.m - quota.n + 1));
        kept = left % quota.m >= place && left % quota.m < place + quota.n;
      }
      if (!kept) continue;
      for (let r = top; r < bottom; r++) for (let c = left; c < right; c++) w[r * width + c] = someValue(next());
    }
  }
  return w;
}

/** A copy of a sparse matrix at another address; its parts lie in one block that starts with the values. */
function duplicate(matrix: SparseMatrix): SparseMatrix {
  const ptr = memory.alloc(matrix.bytes);
  const base = matrix.stream.values;
  memory.u8(ptr, matrix.bytes).set(memory.u8(base, matrix.bytes));
  const s = matrix.stream;
  const moved = (at: number): number => at - base + ptr;
  return {
    ...matrix,
    stream: {
      ...s,
      values: moved(s.values),
      index: moved(s.index),
      starts: moved(s.starts),
      ends: moved(s.ends),
      cuts: moved(s.cuts),
    },
    free: () => memory.free(ptr),
  };
}

/** Drawn values as a tensor of the shape's stored type. */
function storedTensor(s: WeightShape, values: Float32Array): Tensor {
  return outside(() => {
    const t = new Tensor([s.out, s.in], s.type);
    if (s.type === "f32") t.f32.set(values);
    else {
      const words = new Uint32Array(values.buffer);
      const halves = t.u16;
      if (s.type === "bf16") for (let i = 0; i < words.length; i++) halves[i] = words[i] >>> 16;
      // f16 of a value of size 0.5 to 1: sign, exponent 14, ten bits of fraction.
      else for (let i = 0; i < words.length; i++) halves[i] = halfOf(words[i]);
    }
    return t;
  });
}

const halfOf = (word: number): number =>
  (word & 0x7fffffff) === 0
    ? 0
    : ((word >>> 16) & 0x8000) | ((((word >>> 23) & 0xff) - 112) << 10) | ((word >>> 13) & 0x3ff);

/** A dense drawn weight of about the size of a trained one's. */
export function drawnTensor(s: WeightShape, seed: number): Tensor {
  const values = drawnWeight(s, "dense", 1, seed);
  for (let i = 0; i < values.length; i++) values[i] /= 32;
  return storedTensor(s, values);
}

/** Copies of one layer in one form, spread over memory, and how to free them. */
export interface Stack {
  readonly products: readonly Product[];
  free(): void;
}

export function denseStack(s: WeightShape, form: DenseForm, copies: number): Stack {
  const values = drawnWeight(s, "dense", 1, 7);
  const freed: (() => void)[] = [];
  const products: Product[] = [];
  for (let i = 0; i < copies; i++) {
    const weight = storedTensor(s, values);
    const product = buildForm(weight, form);
    products.push(product);
    freed.push(() => product.free());
    if (form === "stored" || (form === "expanded" && s.type === "f32")) freed.push(() => weight.dispose());
    else weight.dispose();
  }
  return {
    products,
    free: () => {
      for (const f of freed) f();
    },
  };
}

/** Masks that alternate, so that no branch predictor learns one. */
const MASKS = 2;

/** Masks of the profile; others, to hold it against, are drawn from other seeds. */
const PROFILE_SEED = 11;

/** Copies of a layer whose density is exactly the wanted one. */
export function sparseStack(s: WeightShape, want: Want, copies: number, seed = PROFILE_SEED): Stack {
  const { density } = want;
  const matrices: SparseMatrix[] = [];
  const quota = isQuotaForm(want.form) ? quotaOfDensity(density, s.in) : undefined;
  for (let i = 0; i < Math.min(MASKS, copies); i++) {
    const values = drawnWeight(s, want.form, density, seed + i);
    matrices.push(sparseMatrix(values, s.out, s.in, want.form, { ...quota, values: s.type }));
  }
  while (matrices.length < copies) matrices.push(duplicate(matrices[matrices.length % MASKS]));
  const products = matrices.map(sparseProduct);
  return {
    products,
    free: () => {
      for (const p of products) p.free();
    },
  };
}

/** Activations that were written, and room for results. */
export function activations(s: WeightShape, tokens: number): { x: number; y: number; free(): void } {
  const x = memory.alloc(4 * tokens * s.in);
  const y = memory.alloc(4 * tokens * s.out);
  const next = draws(3);
  const view = memory.f32(x, tokens * s.in);
  for (let i = 0; i < view.length; i++) view[i] = 2 * next() - 1;
  memory.f32(y, tokens * s.out).fill(0);
  return {
    x,
    y,
    free: () => {
      memory.free(x);
      memory.free(y);
    },
  };
}
