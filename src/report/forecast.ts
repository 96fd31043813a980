/** The forecast as charts and tables want it: curves of speed against sparsity, and where each begins to pay. */
import type { CompressRecord } from "../pipeline/record.ts";
import type { BreakEven, UseForecast } from "../runtime/forecast.ts";
import * as figures from "./figures.ts";

export type Use = "decode" | "prefill";
export const USES: readonly Use[] = ["decode", "prefill"];

export interface ForecastPoint {
  readonly sparsity: number;
  /** the pattern in full, e.g. `2:4@4x1` */
  readonly pattern: string;
  /** times as fast as dense: the layers alone, the whole model, the latter's low and high */
  readonly layers: number;
  readonly model: number;
  readonly low: number;
  readonly high: number;
}

export interface ForecastCurve {
  readonly use: Use;
  readonly pattern: string;
  readonly points: readonly ForecastPoint[];
  readonly breakEven: BreakEven;
}

/** All curves of the whole model that have a point. */
export const forecastCurves = (record: CompressRecord): ForecastCurve[] =>
  USES.flatMap((use) => record.forecast[use].model.filter((c) => c.points.length > 0).map((c) => ({ use, ...c })));

/** "from 55 %", in steps of 5 % rounded up as in the forecast's own sentence; undefined where it never pays. */
export function paysFrom(b: BreakEven): string | undefined {
  if (!b) return undefined;
  return b.kind === "below"
    ? `from ${figures.percent(b.sparsity, 0)} or less`
    : `from ${figures.percent(Math.ceil(20 * b.sparsity - 1e-9) / 20, 0)}`;
}

export interface ForecastRow {
  readonly pattern: string;
  readonly sparsity: number;
  readonly decode?: ForecastPoint;
  readonly prefill?: ForecastPoint;
}

/** Decode and prefill side by side, a row for each pattern and sparsity. */
export function forecastRows(record: CompressRecord): ForecastRow[] {
  const found = new Map<string, ForecastRow>();
  for (const curve of forecastCurves(record)) {
    for (const p of curve.points) {
      const key = `${p.pattern} ${p.sparsity}`;
      found.set(key, { ...(found.get(key) ?? { pattern: p.pattern, sparsity: p.sparsity }), [curve.use]: p });
    }
  }
  return [...found.values()];
}

export interface ShapeRow {
  readonly use: Use;
  readonly shape: UseForecast["shapes"][number];
}

export const shapeRows = (record: CompressRecord): ShapeRow[] =>
  USES.flatMap((use) => record.forecast[use].shapes.map((shape) => ({ use, shape })));
