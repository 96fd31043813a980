/**
 * The walk: all calibration sequences through a model, block by block, with memory for one block at a time.
 *
 * Each block is loaded, run once with taps on the inputs of its linears, shown to a visitor that may give linears new
 * weights, run again with those if there are any, and let go of: a block thus sees inputs made by the blocks before it
 * as they were left. Without a visitor it is a forward pass for models larger than memory. Order and batches depend on
 * the model and the sequences alone, so results are the same bits for any number of threads. Procedure: the common
 * calibration pass of SparseGPT (Frantar & Alistarh 2023) and Wanda (Sun et al. 2024).
 */
import { outside, scope } from "../core/scope.ts";
import { noGrad } from "../core/tape.ts";
import { fromBytes, type Tensor, tensor } from "../core/tensor.ts";
import type { WeightSource } from "../formats/weights.ts";
import { type Block, blockForward, disposeBlock, type LinearName, type Tap } from "../models/llama/block.ts";
import { type LlamaConfig, llamaTensorShapes } from "../models/llama/config.ts";
import { loadBlock, readTensor } from "../models/llama/load.ts";
import { ropeTables, sequenceContext } from "../models/llama/model.ts";
import { DenseLinear } from "../nn/linear.ts";
import type { RopeTables } from "../nn/ops/attention.ts";
import { embedding } from "../nn/ops/embedding.ts";
import { both, InputAccumulator, type InputStatistics, type Wanted, wantsAny } from "./taps.ts";

/** A linear's new weight [out, in], rounded already: little-endian bytes in the stored type. */
export interface Replacement {
  readonly linear: LinearName;
  readonly bytes: Uint8Array;
}

/** A block with its inputs' statistics, good until the visitor's promise settles. */
export interface BlockVisit {
  readonly layer: number;
  readonly block: Block;
  /** linears that share an input get the same object */
  statistics(linear: LinearName): InputStatistics;
}

export interface WalkProgress {
  /** blocks done */
  readonly done: number;
  readonly blocks: number;
}

export interface WalkOptions {
  /** most bytes of activations that one batch has alive inside a block; a single sequence may need more */
  readonly batchBytes?: number;
  /** token ids of the sequences, all of one length */
  readonly sequences: readonly Int32Array[];
  /** walk the first so many blocks only; default all */
  readonly blocks?: number;
  /** what is collected at a linear's input; nothing when left out or undefined */
  readonly wanted?: (layer: number, linear: LinearName) => Wanted | undefined;
  readonly visit?: (visit: BlockVisit) => Promise<readonly Replacement[]>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((p: WalkProgress) => void) | undefined;
}

/** Hidden states f32 [sequences * length, D] of a batch of consecutive sequences. */
export interface States {
  readonly x: Tensor;
  readonly sequences: number;
}

interface Walked {
  readonly config: LlamaConfig;
  readonly weights: WeightSource;
}

const BATCH_BYTES = 96 * 2 ** 20;

/** Linears by the input they share. */
const INPUTS: readonly (readonly LinearName[])[] = [
  ["q_proj", "k_proj", "v_proj"],
  ["o_proj"],
  ["gate_proj", "up_proj"],
  ["down_proj"],
];

/** Sequences that go through a block together: by the widths and the length only, never by threads or free memory. */
function sequencesAtOnce(config: LlamaConfig, length: number, bytes: number): number {
  const { width: D, feedForward: F, heads, kvHeads, headWidth: E } = config;
  const floats = 9 * D + 4 * heads * E + 5 * kvHeads * E + 5 * F;
  return Math.max(1, Math.floor(bytes / (4 * floats * length)));
}

/** Lets Ctrl-C, progress and timers in. */
export const breathe = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/** Embeds batch after batch; the table is read, used and let go of. */
async function embed(model: Walked, sequences: readonly Int32Array[], batchBytes: number): Promise<States[]> {
  const { config, weights } = model;
  const name = "model.embed_tokens.weight";
  const shape = llamaTensorShapes(config).get(name) as readonly number[];
  const length = sequences[0].length;
  const atOnce = sequencesAtOnce(config, length, batchBytes);
  const table = await readTensor(weights, name, shape);
  const batches: States[] = [];
  try {
    for (let first = 0; first < sequences.length; first += atOnce) {
      const part = sequences.slice(first, first + atOnce);
      const ids = new Int32Array(part.length * length);
      for (const [i, own] of part.entries()) ids.set(own, i * length);
      batches.push({ x: noGrad(() => scope(() => embedding(table, tensor(ids)))), sequences: part.length });
    }
  } catch (error) {
    dispose(batches);
    throw error;
  } finally {
    table.dispose();
  }
  return batches;
}

function dispose(batches: readonly States[]): void {
  for (const b of batches) b.x.dispose();
}

function run(model: Walked, block: Block, tables: RopeTables, batch: States, length: number, tap?: Tap): Tensor {
  return noGrad(() =>
    scope(() => blockForward(block, batch.x, sequenceContext(model.config, tables, batch.sequences, length, tap))),
  );
}

class Taps {
  readonly #inputs = new Map<LinearName, InputAccumulator>();
  readonly #first = new Map<LinearName, LinearName>();

  constructor(block: Block, wantedAt: (linear: LinearName) => Wanted | undefined) {
    for (const group of INPUTS) {
      const wanted = group.reduce<Wanted>((w, name) => both(w, wantedAt(name) ?? {}), {});
      if (!wantsAny(wanted)) continue;
      this.#inputs.set(group[0], new InputAccumulator(block.linears[group[0]].in, wanted));
      for (const name of group) this.#first.set(name, group[0]);
    }
  }

  get any(): boolean {
    return this.#inputs.size > 0;
  }

  /** Linears with one input come one after the other; the first stands for them all. */
  tap(sequences: number): Tap {
    return (name, x) => this.#inputs.get(name)?.add(x, sequences);
  }

  statistics(linear: LinearName): InputStatistics {
    const input = this.#inputs.get(this.#first.get(linear) as LinearName);
    if (!input) throw new Error(`walk: nothing was collected at ${linear}`);
    return input.statistics();
  }

  dispose(): void {
    for (const input of this.#inputs.values()) input.dispose();
  }
}

/** The block with some linears replaced; the replaced weights are freed, biases go on. */
function replace(block: Block, replacements: readonly Replacement[]): Block {
  const linears = { ...block.linears };
  for (const { linear, bytes } of replacements) {
    const old = linears[linear];
    if (!(old instanceof DenseLinear)) throw new Error(`walk: ${linear} is not a dense layer`);
    const weight = outside(() => fromBytes(bytes, old.weight.shape, old.weight.dtype));
    linears[linear] = new DenseLinear(weight, old.bias);
    old.weight.dispose();
  }
  return { ...block, linears };
}

/** Takes the batches through one block, in place: each batch's input is freed as soon as its output is there. */
async function walkOne(
  model: Walked,
  layer: number,
  batches: States[],
  length: number,
  tables: RopeTables,
  options: WalkOptions & { readonly blocks: number },
): Promise<void> {
  const { visit, wanted, signal, blocks } = options;
  let block = await loadBlock(model.weights, model.config, layer);
  const taps = new Taps(block, (linear) => (visit ? wanted?.(layer, linear) : undefined));
  const forward = async (done: (i: number, output: Tensor) => void, tapped: boolean): Promise<void> => {
    for (const [i, batch] of batches.entries()) {
      signal?.throwIfAborted();
      done(i, run(model, block, tables, batch, length, tapped ? taps.tap(batch.sequences) : undefined));
      await breathe();
    }
  };
  try {
    if (taps.any) await forward((_, x) => x.dispose(), true);
    if (visit) {
      const statistics = (linear: LinearName): InputStatistics => taps.statistics(linear);
      block = replace(block, await visit({ layer, block, statistics }));
    }
    // Nobody reads what a visitor's last block gives.
    if (visit && layer === blocks - 1) return;
    await forward((i, x) => {
      batches[i].x.dispose();
      batches[i] = { x, sequences: batches[i].sequences };
    }, false);
  } finally {
    taps.dispose();
    disposeBlock(block);
  }
}

/**
 * Walks the blocks. Without a visitor it returns the hidden states after the last one, which the caller disposes of;
 * with one it returns [], since nobody reads them. Ids must be below the vocabulary (`checkTokenIds`).
 */
export async function walkBlocks(model: Walked, options: WalkOptions): Promise<States[]> {
  const { sequences, visit, signal, onProgress } = options;
  const length = sequences[0]?.length ?? 0;
  if (length === 0 || sequences.some((s) => s.length !== length)) {
    throw new Error("walk: sequences must be there, not empty, and of one length");
  }
  const blocks = options.blocks ?? model.config.layers;
  signal?.throwIfAborted();
  const batches = await embed(model, sequences, options.batchBytes ?? BATCH_BYTES);
  const tables = ropeTables(model.config, length);
  try {
    for (let layer = 0; layer < blocks; layer++) {
      signal?.throwIfAborted();
      await walkOne(model, layer, batches, length, tables, { ...options, blocks });
      onProgress?.({ done: layer + 1, blocks });
      await breathe();
    }
    if (!visit) return batches;
    dispose(batches);
    return [];
  } catch (error) {
    dispose(batches);
    throw error;
  } finally {
    tables.cos.dispose();
    tables.sin.dispose();
  }
}
