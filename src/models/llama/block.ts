/**
 * The forward pass of a Llama block, written once for training, evaluation, calibration and generation.
 *
 * Touvron et al. 2023: pre-norm, rotary grouped-query attention, gated feed-forward. What differs between the uses is
 * passed in: the linears (dense, trainable, sparse) and how attention sees the past.
 */
import type { Tensor } from "../../core/tensor.ts";
import type { Linear } from "../../nn/linear.ts";
import { type AttentionShape, attention, type RopeTables, rope } from "../../nn/ops/attention.ts";
import { add, siluGate } from "../../nn/ops/elementwise.ts";
import { rmsNorm } from "../../nn/ops/norm.ts";

/** The seven linears of a block, by the names Hugging Face gives them. */
export const LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type LinearName = (typeof LINEARS)[number];

/** Path of a linear inside its block, e.g. `self_attn.q_proj`. */
export const linearPath = (name: LinearName): string =>
  `${["q_proj", "k_proj", "v_proj", "o_proj"].includes(name) ? "self_attn" : "mlp"}.${name}`;

export interface Block {
  readonly inputNorm: Tensor;
  readonly postNorm: Tensor;
  readonly linears: Readonly<Record<LinearName, Linear>>;
}

/** Called with what goes into a linear, before it is applied. */
export type Tap = (name: LinearName, input: Tensor) => void;

/** How attention sees keys and values: a whole sequence, or a cache that grows. */
export type Attend = (q: Tensor, k: Tensor, v: Tensor) => Tensor;

export interface BlockContext {
  readonly heads: number;
  readonly kvHeads: number;
  readonly eps: number;
  readonly tables: RopeTables;
  /** i32, one a row of the activations */
  readonly positions: Tensor;
  readonly attend: Attend;
  readonly tap?: Tap;
}

/** Attention over whole sequences of one length. */
export const attendSequences =
  (shape: AttentionShape): Attend =>
  (q, k, v) =>
    attention(q, k, v, shape);

/** x [T, D] -> [T, D]. */
export function blockForward(block: Block, x: Tensor, c: BlockContext): Tensor {
  const lin = (name: LinearName, input: Tensor): Tensor => block.linears[name].apply(input);
  const tap = (input: Tensor, ...names: LinearName[]): void => {
    if (c.tap) for (const name of names) c.tap(name, input);
  };
  const h = rmsNorm(x, block.inputNorm, c.eps);
  tap(h, "q_proj", "k_proj", "v_proj");
  const q = rope(lin("q_proj", h), c.tables, c.positions, c.heads);
  const k = rope(lin("k_proj", h), c.tables, c.positions, c.kvHeads);
  const mixed = c.attend(q, k, lin("v_proj", h));
  tap(mixed, "o_proj");
  const x1 = add(x, lin("o_proj", mixed));
  const g = rmsNorm(x1, block.postNorm, c.eps);
  tap(g, "gate_proj", "up_proj");
  const inner = siluGate(lin("gate_proj", g), lin("up_proj", g));
  tap(inner, "down_proj");
  return add(x1, lin("down_proj", inner));
}

export function disposeBlock(block: Block): void {
  block.inputNorm.dispose();
  block.postNorm.dispose();
  for (const name of LINEARS) block.linears[name].dispose();
}
