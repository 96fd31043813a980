/**
 * The machine profile: for a layer shape, one token or many, and a sparse form and density, the measured speed against
 * the best dense form of that shape. Pure data and the measurement that fills it; the file is `profile-cache.node.ts`.
 *
 * A measurement walks through as many copies of the layer as fill the memory that a model's layers fill, because one
 * layer alone would stay in the first caches and a real one does not. All forms of a shape are timed in one interleaved
 * run, and only ratios taken inside of a round are kept.
 */
import { fusion } from "../core/engine.ts";
import type { ElementType } from "../kernels/dense/element.ts";
import { type LayerFacts, MANY, type Speeds, type Use, type WeightShape } from "./choose.ts";
import { activations, denseStack, gridDensity, quotaOfDensity, type Stack, sparseStack, type Want } from "./drawn.ts";
import { type DenseForm, isQuotaForm, type SparseForm } from "./layer.ts";
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

export const cellName = (s: WeightShape, use: Use, footprint: number): string =>
  `${s.out}x${s.in} ${s.type} ${use} ${footprint}MiB`;

export const sparseName = (form: SparseForm, density: number): string => `${form} ${gridDensity(density)}`;

/** Tokens of a call: `MANY`, but fewer for large layers, whose calls would take long and tell no more. */
export const tokensOf = (s: WeightShape, use: Use): number =>
  use === "decode" ? 1 : s.out * s.in > 4 * MEBI ? MANY / 4 : MANY;

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

const DENSE: Readonly<Record<Use, readonly DenseForm[]>> = {
  decode: ["stored", "expanded", "panel"],
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
    if (isQuotaForm(w.form) && !quotaOfDensity(gridDensity(w.density), s.in)) continue;
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
    for (const [variant, want] of missing) {
      add(variant, sparseStack(s, { form: want.form, density: gridDensity(want.density) }, copies));
    }
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
