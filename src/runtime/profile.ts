/**
 * The machine profile: for a layer shape, one token or many, and a sparse form and density, the measured speed against
 * the best dense form of that shape. Pure data and the measurement that fills it; the file is `profile-cache.node.ts`.
 *
 * A measurement walks through as many copies of the layer as fill the memory that a model's layers fill, because one
 * layer alone would stay in the first caches and a real one does not. All forms of a shape are timed in one interleaved
 * run, and only ratios taken inside of a round are kept. Weights are drawn: values do not matter to speed, masks do, so
 * two different masks alternate.
 */
import { type SparseMatrix, sparseMatrix } from "../core/compute/sparse.ts";
import { fusion, memory } from "../core/engine.ts";
import { outside } from "../core/scope.ts";
import { Tensor } from "../core/tensor.ts";
import type { ElementType } from "../kernels/dense/element.ts";
import { GROUP, nmSupported } from "../kernels/sparse/streams.ts";
import { type LayerFacts, MANY, type Speeds, type Use, type WeightShape } from "./choose.ts";
import { buildForm, type DenseForm, type Product, type Quota, type SparseForm, sparseProduct } from "./layer.ts";
import { interleave, rotate, type Spread, type Timing, type Variant } from "./timing.ts";

/** What a profile holds good for. */
export interface ProfileKey {
  readonly cpu: string;
  readonly node: string;
  readonly v8: string;
  readonly threads: number;
  readonly fused: boolean;
  /** package version: kernels change */
  readonly lacuna: string;
}

/** What was measured for one shape and use. */
export interface Cell {
  /** the fastest dense form */
  dense: DenseForm;
  /** milliseconds of one call of it when it was measured: for shares of a whole, not for claims */
  milliseconds: number;
  /** ISO date and time of the first measurement */
  date: string;
  /** speed of each dense form against it */
  denseRatios: Partial<Record<DenseForm, number>>;
  /** "form density" -> speed against the best dense form */
  sparse: Record<string, Spread>;
}

export interface Profile {
  readonly key: ProfileKey;
  /** by `cellName` */
  readonly cells: Record<string, Cell>;
  /** by model and use: what part of a dense run its layers take (`forecast-run.ts`) */
  readonly shares: Record<string, Shares>;
}

/** What a dense run of a model is made of, as shares of its time. */
export interface Shares {
  date: string;
  tokens: number;
  /** tokens in the cache before */
  context: number;
  /** all linears of the blocks together */
  layers: Spread;
  /** each shape's part of the layers' time, "out x in" -> share; they sum to 1 */
  shapes: Record<string, number>;
}

export const emptyProfile = (key: ProfileKey): Profile => ({ key, cells: {}, shares: {} });

const MEBI = 2 ** 20;
/** Sizes of memory that layers are spread over, in MiB: inside L2, inside L3, beyond. */
const FOOTPRINTS = [1, 4, 16, 64] as const;

/** The footprint, in MiB, that stands for layers of `bytes` bytes in all. */
export function footprintOf(bytes: number): number {
  return FOOTPRINTS.find((f) => bytes <= 1.5 * f * MEBI) ?? 64;
}

/** Densities are measured on a grid of 5 %. */
export const gridDensity = (density: number): number => Math.min(0.95, Math.max(0.05, Math.round(density * 20) / 20));

export const cellName = (s: WeightShape, use: Use, footprint: number): string =>
  `${s.out}x${s.in} ${s.type} ${use} ${footprint}MiB`;

export const sparseName = (form: SparseForm, density: number): string => `${form} ${gridDensity(density).toFixed(2)}`;

/** Tokens of a call: `MANY`, but fewer for large layers, whose calls would take long and tell no more. */
export const tokensOf = (s: WeightShape, use: Use): number =>
  use === "decode" ? 1 : s.out * s.in > 4 * MEBI ? MANY / 4 : MANY;

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
  if (form === "dense" || form === "csr") {
    for (let i = 0; i < w.length; i++) if (form === "dense" || next() < density) w[i] = someValue(next());
    return w;
  }
  const quota = form === "nm" ? quotaOfDensity(density, width) : undefined;
  let place = 0;
  for (let top = 0; top < out; top += GROUP) {
    const end = Math.min(out, top + GROUP);
    for (let c = 0; c < width; c++) {
      let kept = next() < density;
      if (quota) {
        // n neighbours at a drawn place of each run.
        if (c % quota.m === 0) place = Math.floor(next() * (quota.m - quota.n + 1));
        kept = c % quota.m >= place && c % quota.m < place + quota.n;
      }
      if (kept) for (let r = top; r < end; r++) w[r * width + c] = someValue(next());
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

export function sparseStack(s: WeightShape, want: Want, copies: number): Stack {
  const density = gridDensity(want.density);
  const matrices: SparseMatrix[] = [];
  const quota = want.form === "nm" ? quotaOfDensity(density, s.in) : undefined;
  for (let i = 0; i < Math.min(MASKS, copies); i++) {
    const values = drawnWeight(s, want.form, density, 11 + i);
    matrices.push(
      sparseMatrix(values, s.out, s.in, want.form, { ...quota, ...(s.type !== "bf16" && { values: "f32" }) }),
    );
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

/** Copies that fill `footprint` MiB in the stored type; a prefill reads its weight many times, so two are enough. */
export const copiesOf = (s: WeightShape, use: Use, footprint: number): number =>
  use === "prefill"
    ? 2
    : Math.max(2, Math.min(256, Math.ceil((footprint * MEBI) / (s.out * s.in * (s.type === "f32" ? 4 : 2)))));

export interface MeasureOptions {
  /** rounds of the interleaved run; default 11 */
  readonly rounds?: number;
  /** milliseconds of a slice; default 3: shorter than a scheduler's turn, so that few are interrupted */
  readonly slice?: number;
  /** milliseconds for the whole cell */
  readonly budget?: number;
  readonly signal?: AbortSignal | undefined;
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

const DENSE: Readonly<Record<Use, readonly DenseForm[]>> = {
  decode: ["stored", "expanded"],
  prefill: ["stored", "packed"],
};

export const denseForms = (s: WeightShape, use: Use): readonly DenseForm[] =>
  DENSE[use].filter((f) => !(f === "expanded" && s.type === "f32"));

/** Slice and warm-up in milliseconds, shorter where the budget would not hold three rounds. */
function paceFor(budget: number | undefined, variants: number): { slice: number; warmUp: number } {
  const each = (budget ?? Number.POSITIVE_INFINITY) / variants;
  return { slice: Math.max(0.2, Math.min(3, each / 6)), warmUp: Math.max(0.5, Math.min(5, each / 4)) };
}

/** Measures what `wants` lacks in the cell of this shape and use, and adds it to the profile. */
export async function measureCell(
  profile: Profile,
  s: WeightShape,
  use: Use,
  footprint: number,
  wants: readonly Want[],
  options: MeasureOptions = {},
): Promise<Cell> {
  const name = cellName(s, use, footprint);
  const known = profile.cells[name];
  const missing = new Map<string, Want>();
  for (const w of wants) {
    if (w.form === "nm" && !quotaOfDensity(gridDensity(w.density), s.in)) continue;
    if (!known?.sparse[sparseName(w.form, w.density)]) missing.set(sparseName(w.form, w.density), w);
  }
  if (known && missing.size === 0) return known;
  const tokens = tokensOf(s, use);
  const copies = copiesOf(s, use, footprint);
  const forms = known ? [known.dense] : denseForms(s, use);
  const stacks: Stack[] = [];
  const room = activations(s, tokens);
  const variants: Variant[] = [];
  const add = (variant: string, stack: Stack): void => {
    stacks.push(stack);
    const next = rotate(copies, (i) => stack.products[i].forward(room.x, tokens, room.y));
    variants.push({ name: variant, run: () => fusion(true, next) });
  };
  let timing: Timing;
  try {
    for (const form of forms) add(form, denseStack(s, form, copies));
    for (const [variant, want] of missing) add(variant, sparseStack(s, want, copies));
    timing = await interleave(variants, { rounds: 11, ...paceFor(options.budget, variants.length), ...options });
  } finally {
    for (const stack of stacks) stack.free();
    room.free();
  }
  const against = forms.map((form) => timing.ratio(form, forms[0]).median);
  const best = forms[against.indexOf(Math.max(...against))];
  const milliseconds = timing.variants[forms.indexOf(best)].time.median;
  const cell: Cell = known ?? {
    dense: best,
    date: new Date().toISOString(),
    milliseconds,
    denseRatios: {},
    sparse: {},
  };
  if (!known) for (const form of forms) cell.denseRatios[form] = timing.ratio(form, best).median;
  for (const variant of missing.keys()) cell.sparse[variant] = timing.ratio(variant, best);
  profile.cells[name] = cell;
  return cell;
}

/** A profile as `Speeds`, for layers spread over `footprint` MiB. */
export function profileSpeeds(profile: Profile, footprint: number): Speeds {
  const cell = (s: WeightShape, use: Use): Cell | undefined => profile.cells[cellName(s, use, footprint)];
  return {
    where: "on this machine",
    dense: (s, use) => cell(s, use)?.dense,
    ratio: (s, use, form, density) => cell(s, use)?.sparse[sparseName(form, density)]?.median,
  };
}

/** Measures what the choice for these layers needs and the profile lacks: some tens of milliseconds a shape. */
export async function measureFor(
  profile: Profile,
  layers: readonly LayerFacts[],
  footprint: number,
  options: MeasureOptions = {},
): Promise<Speeds> {
  const shapes = new Map<string, { shape: WeightShape; wants: Want[] }>();
  for (const f of layers) {
    const shape: WeightShape = { out: f.out, in: f.in, type: f.type };
    const at = cellName(shape, "decode", footprint);
    const entry = shapes.get(at) ?? { shape, wants: [] };
    entry.wants.push(...f.candidates);
    shapes.set(at, entry);
  }
  for (const { shape, wants } of shapes.values()) {
    for (const use of ["decode", "prefill"] as const) {
      await measureCell(profile, shape, use, footprint, wants, options);
    }
  }
  return profileSpeeds(profile, footprint);
}

/** Stored bytes of the layers of a model, which decide the footprint. */
export const storedBytes = (layers: readonly { out: number; in: number; type: ElementType }[]): number =>
  layers.reduce((s, l) => s + l.out * l.in * (l.type === "f32" ? 4 : 2), 0);
