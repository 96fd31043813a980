/**
 * What the contestants of `train` share: the network's configuration, one set of weights, the batches, the calls.
 *
 * Weights and tokens are plain arrays, so that they can be sent to any isolate. The weights are scaled so that every part
 * of the network moves the loss: a wrong rotation or a missing mask must not hide in it.
 */
import { stream } from "../../../src/core/random.ts";
import type { Batch } from "../../../src/data/batches.ts";
import { type LlamaConfig, llamaTensorShapes } from "../../../src/models/llama/config.ts";
import type { AdamWOptions } from "../../../src/nn/optimiser.ts";

export interface Weights {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

export interface TrainSetup {
  readonly config: LlamaConfig;
  readonly weights: readonly Weights[];
  /** taken in turns */
  readonly batches: readonly Pick<Batch, "inputs" | "targets">[];
  /** B, sequences per batch */
  readonly batch: number;
  /** T, tokens per sequence */
  readonly tokens: number;
  readonly rate: number;
  readonly optimiser: Partial<AdamWOptions>;
  /** threads, where the contestant can have several */
  readonly threads: number;
  /** tfjs: transposes of matrices as operations of their own instead of flags of matMul */
  readonly transposes?: boolean;
}

/** The calls of a seat. */
export interface Trainer {
  /**
   * Sets the weights back and takes so many steps of plain Adam (no clipping, no decay) at the setup's rate; the loss
   * before each step.
   */
  losses(steps: number): number[];
  /** one training step on the next batch, with the contestant's own optimiser; its loss */
  step(): number;
  /** most bytes of tensors held at once during a step, or null where that cannot be asked */
  peak(): number | null | Promise<number | null>;
}

/** Adam's constants that all contestants use. */
export const ADAM = { beta1: 0.9, beta2: 0.95, eps: 1e-8 } as const;

/** Linears of about unit gain, embeddings and norms whose spread shows in the logits; a function of name and shape. */
export function livelyWeights(config: LlamaConfig, seed = 1): Weights[] {
  return [...llamaTensorShapes(config)].map(([name, shape]) => {
    const draws = stream(seed, name);
    const matrix = shape.length === 2;
    const mean = matrix || name.endsWith("bias") ? 0 : 1;
    const std = !matrix ? 0.2 : name.endsWith("embed_tokens.weight") ? 0.15 : 1 / Math.sqrt(shape[1]);
    const size = shape.reduce((a, b) => a * b, 1);
    return { name, shape, values: Float32Array.from({ length: size }, (_, i) => mean + std * draws.normal(i)) };
  });
}

/** How often the next batch is asked for decides which it is. */
export function turns<T>(all: readonly T[]): { next(): T; restart(): void } {
  let at = 0;
  return {
    next: () => all[at++ % all.length],
    restart: () => {
      at = 0;
    },
  };
}

export const tokensPerStep = (s: TrainSetup): number => s.batch * s.tokens;

/** "L5 D192 F512 H6 K2 V2048, 8 x 256 tokens" */
export function shapeOf({ config: c, batch, tokens }: TrainSetup): string {
  return `L${c.layers} D${c.width} F${c.feedForward} H${c.heads} K${c.kvHeads} V${c.vocabSize}, ${batch} x ${tokens} tokens`;
}

/** The peers' networks are written for this shape of Llama only. */
export function mustBePlain(c: LlamaConfig): void {
  const plain =
    c.modelType === "llama" &&
    c.tied &&
    !c.attentionBias &&
    !c.outputBias &&
    !c.mlpBias &&
    c.ropeScaling.type === "default";
  if (!plain) throw new Error("bench: the peers' networks have a tied head, no biases and no rope scaling");
}
