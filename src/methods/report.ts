/** What pruning and recovery say of themselves: plain data for run records, and the counts in it. */
import { type LlamaConfig, llamaPrunable, llamaTensorShapes } from "../models/llama/config.ts";

export interface LayerReport {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** elements kept by the mask */
  readonly kept: number;
  /** values that are 0, kept or not */
  readonly zeros: number;
  /** zeros / elements */
  readonly sparsity: number;
  /** the method's figures: loss, damping and its retries, and the like */
  readonly notes: Readonly<Record<string, number>>;
}

export interface PruneReport {
  readonly method: string;
  readonly pattern: string;
  readonly budget: string;
  /** sparsity asked for, of the layers that were pruned */
  readonly requested: number;
  /** zeros over all prunable weights (linears of the blocks), skipped ones included */
  readonly achieved: number;
  /** the same zeros over all parameters */
  readonly achievedAll: number;
  readonly calibration: {
    readonly samples: number;
    readonly length: number;
    readonly tokens: number;
    readonly seed: number;
  } | null;
  readonly layers: readonly LayerReport[];
  /** prunable layers that were left alone */
  readonly skipped: readonly string[];
  readonly seconds: number;
}

/** What is trained: every parameter, or those of the blocks and the last norm, which leaves embedding and head alone. */
export type Trained = "all" | "blocks";

export interface RecoveryReport {
  readonly steps: number;
  readonly batch: number;
  readonly length: number;
  /** tokens seen */
  readonly tokens: number;
  readonly rate: { readonly peak: number; readonly floor: number; readonly warmup: number };
  readonly distill: { readonly weight: number; readonly temperature: number } | null;
  readonly train: Trained;
  readonly seed: number;
  /** mean loss of the first and of the last tenth of the steps */
  readonly loss: { readonly first: number; readonly last: number };
  readonly seconds: number;
}

/** Values that are 0 or -0 in stored bytes of 2 or 4 to a value. */
export function countZeros(bytes: Uint8Array, size: number): number {
  const at = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  let zeros = 0;
  if (size === 2) {
    const words = new Uint16Array(at.buffer, at.byteOffset, at.byteLength / 2);
    for (let i = 0; i < words.length; i++) if ((words[i] & 0x7fff) === 0) zeros++;
  } else {
    const words = new Uint32Array(at.buffer, at.byteOffset, at.byteLength / 4);
    for (let i = 0; i < words.length; i++) if ((words[i] & 0x7fffffff) === 0) zeros++;
  }
  return zeros;
}

/** Zeros as shares of the prunable weights and of all parameters. */
export function shares(
  config: LlamaConfig,
  zeros: number,
): { readonly achieved: number; readonly achievedAll: number } {
  const shapes = llamaTensorShapes(config);
  const count = (names: Iterable<string>): number => {
    let sum = 0;
    for (const name of names) sum += (shapes.get(name) as readonly number[]).reduce((a, b) => a * b, 1);
    return sum;
  };
  return { achieved: zeros / count(llamaPrunable(config)), achievedAll: zeros / count(shapes.keys()) };
}
