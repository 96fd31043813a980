/**
 * Will sparsity pay on this machine? For a model's own layer shapes, dense (the best of the engine's dense forms)
 * against every pattern with a kernel over a grid of sparsities, for one token (decode) and for many (prefill); then
 * the whole model, which is the layers plus a measured remainder that no sparsity shortens.
 *
 * Only ratios from interleaved runs are used: T_sparse / T_dense of the model = 1 - f + f * sum_i p_i / r_i, where f is
 * the layers' share of a dense run, p_i the part of shape i in it, r_i how many times faster the shape became. It needs
 * a configuration, no weights. Nothing is said about quality.
 */
import { cacheFolder } from "../formats/cache.node.ts";
import type { ElementType } from "../kernels/dense/element.ts";
import { LAYOUTS } from "../kernels/sparse/layouts.ts";
import { blocksFit } from "../kernels/sparse/streams.ts";
import { LINEARS } from "../models/llama/block.ts";
import type { LlamaConfig } from "../models/llama/config.ts";
import { MANY, type Use, type WeightShape } from "./choose.ts";
import { quotaOfDensity } from "./drawn.ts";
import { linearShapes, measureShares, shapeName, sharesName } from "./forecast-run.ts";
import { recommend } from "./forecast-words.ts";
import { isQuotaForm, type SparseForm } from "./layer.ts";
import { type Provenance, profileKey, provenance } from "./machine.node.ts";
import {
  cellName,
  emptyProfile,
  footprintOf,
  measureCell,
  type Profile,
  profileSpeeds,
  type Shares,
  sparseName,
  storedBytes,
} from "./profile.ts";
import { readProfile, writeProfile } from "./profile-cache.node.ts";
import type { Spread } from "./timing.ts";

/** Text of a pattern that has a kernel, as in `kernels/sparse/layouts.ts`; N:M stands for any. */
export type ForecastPattern = string;

interface Plan {
  readonly sparsities: readonly number[];
  /** the grid when time is short */
  readonly coarse: readonly number[];
}

/** Where on the scale of sparsity each layout is looked at; the patterns that lead come first, and in more detail. */
const PLANS: Readonly<Record<SparseForm, Plan>> = {
  block4x1: { sparsities: [0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], coarse: [0.3, 0.5, 0.7, 0.9] },
  nm4x1: { sparsities: [0.5, 0.75], coarse: [0.5, 0.75] },
  csr: { sparsities: [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], coarse: [0.5, 0.7, 0.9] },
  block2x1: { sparsities: [0.3, 0.5, 0.7, 0.9], coarse: [0.5, 0.9] },
  block1x16: { sparsities: [0.3, 0.5, 0.7, 0.9], coarse: [0.5, 0.9] },
  nm1x1: { sparsities: [0.5, 0.75], coarse: [0.5, 0.75] },
};

interface Planned extends Plan {
  readonly form: SparseForm;
  readonly pattern: ForecastPattern;
}

const PLANNED: readonly Planned[] = Object.entries(PLANS).map(([form, plan]) => ({
  ...plan,
  form: form as SparseForm,
  pattern: LAYOUTS[form as SparseForm].pattern,
}));
/** Patterns that have a kernel. */
export const PATTERNS: readonly ForecastPattern[] = PLANNED.map((p) => p.pattern);

export interface Point {
  readonly sparsity: number;
  /** the pattern in full, e.g. `2:4@4x1` */
  readonly pattern: string;
  /** times faster than the best dense form */
  readonly ratio: Spread;
}

/** Where a curve crosses 1: `at` a sparsity between grid points, or already `below` the first; null: nowhere. */
export type BreakEven = { readonly kind: "at" | "below"; readonly sparsity: number } | null;

export interface Curve {
  readonly pattern: ForecastPattern;
  readonly kernel: SparseForm;
  readonly points: readonly Point[];
  readonly breakEven: BreakEven;
}

export interface ShapeForecast {
  readonly out: number;
  readonly in: number;
  /** layers of this shape in the model */
  readonly count: number;
  /** part of the layers' time in a dense run */
  readonly part: number;
  /** the fastest dense form */
  readonly dense: string;
  readonly curves: readonly Curve[];
}

export interface ModelPoint {
  readonly sparsity: number;
  readonly pattern: string;
  /** all layers together, times faster than dense */
  readonly layers: number;
  /** the whole model; `low` and `high` from the quartiles of what was measured */
  readonly model: number;
  readonly low: number;
  readonly high: number;
}

export interface ModelCurve {
  readonly pattern: ForecastPattern;
  readonly kernel: SparseForm;
  readonly points: readonly ModelPoint[];
  readonly breakEven: BreakEven;
}

export interface UseForecast {
  readonly use: Use;
  /** tokens at a time */
  readonly tokens: number;
  /** tokens in the cache before */
  readonly context: number;
  /** the layers' share of a dense run; the rest is the remainder */
  readonly layersShare: Spread;
  readonly shapes: readonly ShapeForecast[];
  readonly model: readonly ModelCurve[];
}

export interface ForecastRecord {
  readonly kind: "forecast";
  readonly version: 1;
  readonly provenance: Provenance;
  /** what this call took */
  readonly seconds: number;
  /** nothing had to be measured: all of it was in the machine profile */
  readonly cached: boolean;
  /** ISO date and time of the oldest measurement used */
  readonly measured: string;
  readonly model: {
    readonly layers: number;
    readonly width: number;
    readonly feedForward: number;
    readonly vocabSize: number;
    readonly type: ElementType;
    /** weights in the linears of the blocks */
    readonly prunable: number;
  };
  readonly decode: UseForecast;
  readonly prefill: UseForecast;
  /** what follows, in a sentence or two */
  readonly recommendation: string;
}

export interface ForecastOptions {
  /** stored type of the weights; default bf16 */
  readonly type?: ElementType;
  /** most seconds; default 45. Short of time there are fewer repeats, then a coarser grid */
  readonly seconds?: number;
  /** measure again what the profile has */
  readonly fresh?: boolean;
  /** a profile in memory instead of the cache folder */
  readonly profile?: Profile;
  readonly folder?: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, label: string) => void;
}

const USES = ["decode", "prefill"] as const;

/** Sparsity at which times at two grid points, joined by a line, meet the dense time. Time is linear in density. */
export function breakEven(points: readonly { readonly sparsity: number; readonly ratio: number }[]): BreakEven {
  const first = points[0];
  if (!first) return null;
  // From the dense end: the last stretch that begins below 1, so that a lucky point in a losing stretch does not count.
  let at = points.length - 1;
  if (points[at].ratio <= 1) return null;
  while (at > 0 && points[at - 1].ratio > 1) at--;
  if (at === 0) return { kind: "below", sparsity: first.sparsity };
  const [a, b] = [points[at - 1], points[at]];
  const [ta, tb] = [1 / a.ratio, 1 / b.ratio];
  return { kind: "at", sparsity: a.sparsity + ((ta - 1) / (ta - tb)) * (b.sparsity - a.sparsity) };
}

/** The speed of a whole model whose shapes became `ratios` times faster; `share` and `parts` as in `Shares`. */
export function wholeModel(share: number, parts: readonly number[], ratios: readonly number[]): number {
  const layers = parts.reduce((s, p, i) => s + p / ratios[i], 0);
  return 1 / (1 - share + share * layers);
}

/** A pattern's text at a sparsity. */
function patternAt(pattern: ForecastPattern, sparsity: number, width: number): string {
  const quota = pattern.startsWith("N:M") ? quotaOfDensity(1 - sparsity, width) : undefined;
  return quota ? pattern.replace("N:M", `${quota.n}:${quota.m}`) : pattern;
}

interface Shaped extends WeightShape {
  readonly count: number;
}

function shapesOf(config: LlamaConfig, type: ElementType): Shaped[] {
  const found = new Map<string, Shaped>();
  const all = linearShapes(config);
  for (const name of LINEARS) {
    const [out, width] = all[name];
    const key = shapeName({ out, in: width });
    const count = (found.get(key)?.count ?? 0) + config.layers;
    found.set(key, { out, in: width, type, count });
  }
  return [...found.values()];
}

function useForecast(
  use: Use,
  shares: Shares,
  shapes: readonly Shaped[],
  profile: Profile,
  footprint: number,
): UseForecast {
  const made = shapes.map((s): ShapeForecast => {
    const cell = profile.cells[cellName(s, use, footprint)];
    const curves = PLANNED.flatMap(({ form, pattern, sparsities, coarse }): Curve[] => {
      const all = [...new Set([...sparsities, ...coarse])].sort((a, b) => a - b);
      const points = all.flatMap((sparsity): Point[] => {
        const ratio = cell?.sparse[sparseName(form, 1 - sparsity)];
        return ratio ? [{ sparsity, pattern: patternAt(pattern, sparsity, s.in), ratio }] : [];
      });
      if (points.length === 0) return [];
      const flat = points.map((p) => ({ sparsity: p.sparsity, ratio: p.ratio.median }));
      return [{ pattern, kernel: form, points, breakEven: breakEven(flat) }];
    });
    const part = shares.shapes[shapeName(s)] ?? 0;
    return { out: s.out, in: s.in, count: s.count, part, dense: cell?.dense ?? "stored", curves };
  });
  const model = PLANNED.flatMap(({ form, pattern }): ModelCurve[] => {
    const curves = made.map((s) => s.curves.find((c) => c.pattern === pattern));
    if (curves.some((c) => c === undefined)) return [];
    const parts = made.map((s) => s.part);
    const points = (curves[0] as Curve).points.flatMap((p): ModelPoint[] => {
      const same = curves.map((c) => c?.points.find((q) => q.sparsity === p.sparsity));
      if (same.some((q) => q === undefined)) return [];
      const at = (pick: (r: Spread) => number, share: number): number =>
        wholeModel(
          share,
          parts,
          same.map((q) => pick((q as Point).ratio)),
        );
      const { median, low, high } = shares.layers;
      // A gain is least when the layers gain least and are the smaller share; a loss is the other way round.
      const corners = [low, high].flatMap((share) => [at((r) => r.low, share), at((r) => r.high, share)]);
      return [
        {
          sparsity: p.sparsity,
          pattern: p.pattern,
          layers: at((r) => r.median, 1),
          model: at((r) => r.median, median),
          low: Math.min(...corners),
          high: Math.max(...corners),
        },
      ];
    });
    const flat = points.map((p) => ({ sparsity: p.sparsity, ratio: p.model }));
    return [{ pattern, kernel: form, points, breakEven: breakEven(flat) }];
  });
  const { tokens, context, layers } = shares;
  return { use, tokens, context, layersShare: layers, shapes: made, model };
}

/** Forecast for a model of this configuration on this machine, with the engine's threads. */
export async function forecast(config: LlamaConfig, options: ForecastOptions = {}): Promise<ForecastRecord> {
  const { type = "bf16", seconds = 45, fresh = false, signal, onProgress } = options;
  const begin = performance.now();
  const made = provenance();
  const folder = options.folder ?? cacheFolder();
  const stored = options.profile ?? (await readProfile(profileKey(made), folder));
  const profile = fresh ? emptyProfile(stored.key) : stored;
  const shapes = shapesOf(config, type);
  const footprint = footprintOf(storedBytes(shapes.flatMap((s) => Array.from({ length: s.count }, () => s))));
  const left = (): number => 1000 * seconds - (performance.now() - begin);
  let measured = 0;

  // Dense forms first: the shares are measured on a model made of the best of them.
  const tasks: { readonly label: string; readonly weight: number; run(budget: number): Promise<void> }[] = [];
  const need = (label: string, known: () => boolean, run: (budget: number) => Promise<unknown>, weight = 1): void => {
    if (known()) return;
    tasks.push({
      label,
      weight,
      run: async (budget) => {
        measured++;
        await run(budget);
      },
    });
  };
  const missing = (s: Shaped, use: Use, form: SparseForm, grid: readonly number[]) =>
    grid.filter((x) => {
      if (isQuotaForm(form) && !quotaOfDensity(1 - x, s.in)) return false;
      if (!blocksFit(LAYOUTS[form].columns, s.in)) return false;
      return !profile.cells[cellName(s, use, footprint)]?.sparse[sparseName(form, 1 - x)];
    });
  for (const use of USES) {
    for (const s of shapes) {
      need(
        `dense ${shapeName(s)}, ${use}`,
        () => profile.cells[cellName(s, use, footprint)] !== undefined,
        (budget) => measureCell(profile, s, use, footprint, [], { budget, signal }),
      );
    }
  }
  for (const use of USES) {
    const name = sharesName(config, type, use);
    const tokens = use === "decode" ? 1 : Math.min(MANY, config.maxPositions);
    need(
      `whole model, ${use}`,
      () => profile.shares[name] !== undefined,
      async (budget) => {
        const speeds = profileSpeeds(profile, footprint);
        profile.shares[name] = await measureShares(config, type, use, tokens, speeds, { budget, signal });
      },
      // One figure that all others of its use hang on.
      SHARES_WEIGHT,
    );
  }
  for (const { form, pattern, sparsities, coarse } of PLANNED) {
    for (const use of USES) {
      for (const s of shapes) {
        need(
          `${pattern} ${shapeName(s)}, ${use}`,
          () => missing(s, use, form, sparsities).length === 0,
          async (budget) => {
            const full = missing(s, use, form, sparsities);
            const grid = budget < FULL_GRID_MS ? missing(s, use, form, coarse) : full;
            const wants = grid.map((x) => ({ form, density: 1 - x }));
            await measureCell(profile, s, use, footprint, wants, { budget, signal });
          },
        );
      }
    }
  }
  try {
    const all = tasks.reduce((sum, t) => sum + t.weight, 0);
    let ahead = all;
    for (const task of tasks) {
      signal?.throwIfAborted();
      onProgress?.(1 - ahead / all, task.label);
      await task.run(Math.max(1, (left() * task.weight) / ahead));
      ahead -= task.weight;
    }
  } finally {
    // What was measured before an abort is good for the next time.
    if (fresh) {
      Object.assign(stored.cells, profile.cells);
      Object.assign(stored.shares, profile.shares);
    }
    if (measured > 0 && !options.profile) await writeProfile(stored, folder);
  }
  onProgress?.(1, "done");
  const of = (use: Use): UseForecast =>
    useForecast(use, profile.shares[sharesName(config, type, use)], shapes, profile, footprint);
  const [decode, prefill] = [of("decode"), of("prefill")];
  const dates = USES.flatMap((use) => [
    profile.shares[sharesName(config, type, use)].date,
    ...shapes.map((s) => profile.cells[cellName(s, use, footprint)].date),
  ]);
  return {
    kind: "forecast",
    version: 1,
    provenance: made,
    seconds: (performance.now() - begin) / 1000,
    cached: measured === 0,
    measured: dates.sort()[0],
    model: {
      layers: config.layers,
      width: config.width,
      feedForward: config.feedForward,
      vocabSize: config.vocabSize,
      type,
      prunable: shapes.reduce((sum, s) => sum + s.count * s.out * s.in, 0),
    },
    decode,
    prefill,
    recommendation: recommend(decode, prefill),
  };
}

/** With less time than this for one shape, pattern and use, the coarse grid is measured. */
const FULL_GRID_MS = 150;
/** How much more time the shares get than one shape's cell. */
const SHARES_WEIGHT = 4;

/** The whole model's forecast ratio at a pattern and sparsity, interpolated in time; undefined outside of the grid. */
export function forecastRatio(f: UseForecast, pattern: string, sparsity: number): number | undefined {
  const nm = /^\d+:\d+/.test(pattern);
  const curve = f.model.find((c) => c.pattern === pattern.replace(/^\d+:\d+/, "N:M"));
  const points = curve?.points ?? [];
  // Achieved sparsities lie a little beside the asked ones, since counts are whole.
  const near = points.find((p) => Math.abs(p.sparsity - sparsity) < 0.005);
  if (near || nm) return near?.model;
  const after = points.findIndex((p) => p.sparsity >= sparsity);
  const [a, b] = [points[after - 1], points[after]];
  if (!a || !b) return undefined;
  const w = (sparsity - a.sparsity) / (b.sparsity - a.sparsity);
  return 1 / ((1 - w) / a.model + w / b.model);
}
