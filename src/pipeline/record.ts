/**
 * The record of one run of the main job: plain data, from which terminal table, JSON, pictures and the HTML report are
 * made. Every number in it was measured in that run; nothing is filled in later.
 */
import type { PerplexityResult } from "../evaluate/protocol.ts";
import type { ForecastRecord } from "../runtime/forecast.ts";
import type { Provenance } from "../runtime/machine.node.ts";
import type { Spread } from "../runtime/timing.ts";

export type { Provenance, Spread };

/** Bytes of the prunable weights, and of the whole weights file. */
export interface Bytes {
  readonly prunable: number;
  /** the same weights in BF16 */
  readonly prunableBf16: number;
  /** prunable / prunableBf16 */
  readonly share: number;
  readonly file: number;
}

/** How a variant was made, in words that `lacuna prune` takes. */
export interface VariantSpec {
  readonly method: string;
  readonly pattern: string;
  readonly sparsity: number;
  /** steps of masked fine-tuning; 0 = none */
  readonly recoverSteps: number;
}

/** One point of quality against sparsity, on the short text. */
export interface CurvePoint extends VariantSpec {
  /** zeros / elements over the prunable weights, counted after pruning */
  readonly achieved: number;
  readonly perplexity: number;
  readonly bytes: Bytes;
  readonly seconds: number;
}

export interface LayerRow {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly sparsity: number;
  readonly packedBytes: number;
  readonly bf16Bytes: number;
  /** what computes it for one token and for many, and why */
  readonly decode: { readonly kernel: string; readonly reason: string };
  readonly prefill: { readonly kernel: string; readonly reason: string };
}

export interface SpeedRow {
  /** tokens per second */
  readonly tokensPerSecond: Spread;
  /** paired with the dense model, over the rounds of one interleaved run; 1 for the dense model itself */
  readonly ratio: Spread;
  /** the medians of `ratio`, seed by seed, when there are several; `ratio` is then their median with the outermost quartiles */
  readonly perSeed?: readonly number[];
  /** what the forecast said for the whole model, if it covers this pattern and sparsity */
  readonly forecast?: number;
}

/** A variant that was evaluated on the long text, packed, reloaded and timed. */
export interface VariantResult {
  readonly label: string;
  /** null: the dense model */
  readonly spec: VariantSpec | null;
  readonly achieved: number;
  readonly achievedAll: number;
  readonly quality: PerplexityResult;
  /** perplexity over the dense model's, mean over the seeds */
  readonly ratio: number;
  /** the same, seed by seed */
  readonly ratios: readonly number[];
  readonly bytes: Bytes;
  readonly residentBytes: number;
  readonly bytesPerToken: number;
  readonly decode: SpeedRow;
  readonly prefill: SpeedRow;
  readonly layers: readonly LayerRow[];
  /** a continuation of the prompt with a fixed seed */
  readonly sample: string;
  /** the packed folder, if it was kept */
  readonly folder?: string;
}

/** What was promised and what came: each line names its bound and the measured value. */
export interface PromiseLine {
  readonly what: string;
  readonly bound: number;
  readonly atMost: boolean;
  readonly value: number;
  /** seed by seed, when there are several */
  readonly perSeed?: readonly number[];
  readonly kept: boolean;
}

export interface CompressRecord {
  readonly kind: "compress";
  readonly version: 1;
  readonly provenance: Provenance;
  readonly seconds: number;
  /** seconds of each stage, in order */
  readonly stages: readonly { readonly name: string; readonly seconds: number }[];
  readonly recipe: unknown;
  readonly model: {
    readonly folder: string;
    readonly parameters: number;
    readonly prunable: number;
    readonly layers: number;
  };
  readonly prompt: string;
  readonly forecast: ForecastRecord;
  readonly denseCurve: PerplexityResult;
  readonly curve: readonly CurvePoint[];
  /** the dense model first */
  readonly variants: readonly VariantResult[];
  /** label of the recommended variant */
  readonly recommended: string;
  readonly promise: readonly PromiseLine[];
}
