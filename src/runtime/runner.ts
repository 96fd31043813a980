/**
 * A model that runs: all blocks in engine memory, each linear in the form that suits it, a key and value cache, and
 * the two ways forward: `prefill` for many tokens, `step` for one.
 *
 * A model that does not fit is refused before anything is read; `eval` and `prune` take such models block by block.
 * Threads are the engine's (`init({ threads })`): a product uses them from the floors of `core/compute/split.ts`
 * on, so that all but the head of a small model's decode runs on one thread, which is faster. Kernels may fuse multiply-add where the machine can.
 */
import { fusion, memory } from "../core/engine.ts";
import { demand } from "../core/errors.ts";
import { checkTokenIds } from "../data/tokenizer.ts";
import { disposeBlock, LINEARS, type LinearName } from "../models/llama/block.ts";
import { type LlamaConfig, llamaTensorShapes } from "../models/llama/config.ts";
import { disposeEnds, loadBlock, loadEnds, weightName } from "../models/llama/load.ts";
import { ropeTables } from "../models/llama/model.ts";
import type { Model } from "../models/model.ts";
import { DenseLinear } from "../nn/linear.ts";
import { cacheBytes, KvCache } from "./cache.ts";
import { type ChooseOptions, chooseLayer, type LayerFacts, layerFacts, type Purse, type Speeds } from "./choose.ts";
import { type LayerBytes, type LayerChoice, RunLayer } from "./layer.ts";
import { PREFILL_CHUNK, prefillChunk, type RunBlock, type RunModel } from "./prefill.ts";
import { Stepper } from "./step.ts";

export interface RunnerOptions {
  /** `auto` (default): what is faster; `dense`: the best dense forms; `sparse`: sparse wherever there are zeros */
  readonly kernels?: ChooseOptions["kernels"];
  /** how fast forms are: default rules unless given, e.g. the machine profile of `measuredSpeeds` */
  readonly speeds?: Speeds | ((layers: readonly LayerFacts[]) => Promise<Speeds>);
  /** overrides the choice of a layer */
  readonly choose?: (layer: LayerFacts, choice: LayerChoice) => LayerChoice;
  /** tokens the cache holds; default the model's own, at most 4,096 */
  readonly contextLength?: number;
  /** most bytes for f32 copies of weights that run dense; default 256 MiB, or a quarter of what is free if less */
  readonly budget?: number;
  readonly signal?: AbortSignal | undefined;
  /** share of the layers that are loaded, in [0, 1] */
  readonly onProgress?: (done: number) => void;
}

export interface LayerReport {
  readonly name: string;
  readonly out: number;
  readonly in: number;
  readonly sparsity: number;
  readonly pattern: string | null;
  readonly choice: LayerChoice;
  readonly bytes: LayerBytes;
}

export interface RunnerBytes {
  /** of the whole model in its file */
  readonly file: number;
  /** of weights, cache and buffers in engine memory */
  readonly resident: number;
  /** weights read for one token */
  readonly perToken: number;
}

const DEFAULT_CONTEXT = 4096;
const MEBI = 2 ** 20;

const mib = (bytes: number): string => `${Math.ceil(bytes / MEBI)} MiB`;

function contextOf(config: LlamaConfig, asked: number | undefined): number {
  const context = asked ?? Math.min(config.maxPositions, DEFAULT_CONTEXT);
  demand(Number.isInteger(context) && context >= 1 && context <= config.maxPositions, () => ({
    about: "context length",
    expected: `a whole number from 1 to ${config.maxPositions}, the model's own`,
    got: String(asked),
    hint: "Leave it out for the default.",
  }));
  return context;
}

/** Bytes the model needs at least: weights as stored, cache, activations of a prefill chunk. */
function needed(model: Model, context: number): number {
  const { config, weights } = model;
  let bytes = cacheBytes(config, context);
  for (const name of llamaTensorShapes(config).keys()) bytes += weights.info(name).bytes;
  return bytes + 4 * PREFILL_CHUNK * (4 * config.width + 3 * config.feedForward + 2 * config.heads * config.headWidth);
}

/** Bytes a tensor takes in the file. */
const fileBytes = (model: Model, name: string): number => {
  const info = model.weights.info(name);
  return info.packing?.storedBytes ?? info.bytes;
};

export class Runner {
  readonly model: Model;
  /** what each linear of the blocks runs as, and why; the head comes last */
  readonly layers: readonly LayerReport[];
  readonly bytes: RunnerBytes;
  /** most tokens the cache holds */
  readonly contextLength: number;
  readonly #run: RunModel;
  readonly #cache: KvCache;
  readonly #stepper: Stepper;
  #position = 0;

  /** Use `createRunner`. */
  constructor(model: Model, run: RunModel, layers: readonly LayerReport[], contextLength: number) {
    this.model = model;
    this.layers = layers;
    this.contextLength = contextLength;
    this.#run = run;
    this.#cache = new KvCache(run.config, contextLength);
    this.#stepper = fusion(true, () => new Stepper(run, this.#cache));
    const sum = (of: (b: LayerBytes) => number): number => layers.reduce((s, l) => s + of(l.bytes), 0);
    const norms = run.blocks.reduce((s, b) => s + b.inputNorm.bytes + b.postNorm.bytes, run.norm.bytes);
    const rope = run.tables.cos.bytes + run.tables.sin.bytes;
    let file = 0;
    for (const name of llamaTensorShapes(run.config).keys()) file += fileBytes(model, name);
    this.bytes = {
      file,
      resident:
        sum((b) => b.resident) +
        run.embed.bytes +
        norms +
        rope +
        cacheBytes(run.config, contextLength) +
        this.#stepper.bytes,
      perToken: sum((b) => b.perToken) + norms,
    };
  }

  /** tokens seen so far */
  get position(): number {
    return this.#position;
  }

  /** Forgets everything. */
  reset(): void {
    this.#position = 0;
  }

  /** Forgets the tokens from `position` on. */
  rewind(position: number): void {
    if (!(Number.isInteger(position) && position >= 0 && position <= this.#position)) {
      throw new Error(`runner: rewind to ${position} of ${this.#position}`);
    }
    this.#position = position;
  }

  #makeRoom(tokens: number): void {
    demand(this.#position + tokens <= this.contextLength, () => ({
      about: "context",
      expected: `at most ${this.contextLength} tokens`,
      got: `${this.#position + tokens}`,
      hint:
        this.contextLength < this.#run.config.maxPositions
          ? "Shorten the text, or ask for a longer context."
          : "Shorten the text; the model was made for no more.",
    }));
  }

  /** Feeds tokens after those seen so far and returns a copy of the last one's logits [V]. */
  prefill(ids: ArrayLike<number>): Float32Array<ArrayBuffer> {
    demand(ids.length > 0, () => ({
      about: "prompt",
      expected: "at least one token",
      got: "none",
      hint: "Give some text to start from.",
    }));
    checkTokenIds(ids, this.#run.config.vocabSize, "prompt");
    this.#makeRoom(ids.length);
    let logits: Float32Array<ArrayBuffer> | undefined;
    for (let from = 0; from < ids.length; from += PREFILL_CHUNK) {
      const to = Math.min(ids.length, from + PREFILL_CHUNK);
      const chunk = Int32Array.from({ length: to - from }, (_, i) => ids[from + i]);
      const start = this.#position;
      logits = fusion(true, () => prefillChunk(this.#run, this.#cache, chunk, start, to === ids.length));
      this.#position += chunk.length;
    }
    return logits as Float32Array<ArrayBuffer>;
  }

  /** Feeds one token and returns a copy of its logits [V]. */
  step(id: number): Float32Array<ArrayBuffer> {
    return this.#one(id).slice() as Float32Array<ArrayBuffer>;
  }

  #one(id: number): Float32Array {
    checkTokenIds([id], this.#run.config.vocabSize, "step");
    this.#makeRoom(1);
    const logits = fusion(true, () => this.#stepper.run(id, this.#position));
    this.#position++;
    return logits;
  }

  dispose(): void {
    this.#stepper.dispose();
    this.#cache.dispose();
    disposeRun(this.#run);
  }
}

function disposeRun(run: Partial<RunModel>): void {
  run.blocks?.forEach(disposeBlock);
  run.tables?.cos.dispose();
  run.tables?.sin.dispose();
  if (run.embed && run.norm && run.head) disposeEnds({ embed: run.embed, norm: run.norm, head: run.head });
}

const linearName = (layer: number, name: LinearName): string => weightName(layer, name).replace(/\.weight$/, "");

interface Pending {
  readonly facts: LayerFacts;
  readonly dense: DenseLinear;
  readonly fileBytes: number;
  readonly keepWeight?: boolean;
}

/**
 * Loads a model to generate with. Throws a LacunaError when it does not fit into the engine's memory, or when a tensor
 * is missing, damaged or of the wrong shape; nothing stays allocated then.
 */
export async function createRunner(model: Model, options: RunnerOptions = {}): Promise<Runner> {
  const { config, weights } = model;
  const context = contextOf(config, options.contextLength);
  const need = needed(model, context);
  const free = memory.limit - memory.live;
  demand(need <= free, () => ({
    about: `${model.folder || "model"} with a context of ${context} tokens`,
    expected: `at most ${mib(free)} of engine memory`,
    got: `about ${mib(need)}`,
    hint:
      cacheBytes(config, context) > need / 4
        ? "Ask for a shorter context, or raise the memory limit."
        : "Use a smaller model or raise the memory limit; eval and prune work block by block and need less.",
  }));
  const purse: Purse = { left: options.budget ?? Math.min(256 * MEBI, (free - need) / 4) };
  const blocks: RunBlock[] = [];
  const layers: LayerReport[] = [];
  const open: (() => void)[] = [];

  const settle = (p: Pending, speeds: Speeds | undefined): RunLayer => {
    const chosen = chooseLayer(p.facts, { kernels: options.kernels, speeds, purse });
    const choice = options.choose?.(p.facts, chosen) ?? chosen;
    const { name, sparsity, pattern } = p.facts;
    const { weight, bias } = p.dense;
    const layer = new RunLayer({ name, weight, bias, choice, fileBytes: p.fileBytes, keepWeight: p.keepWeight });
    layers.push({ name, out: layer.out, in: layer.in, sparsity, pattern, choice, bytes: layer.bytes });
    return layer;
  };
  const pending = (name: string, linear: unknown, file: number, keepWeight = false): Pending => {
    if (!(linear instanceof DenseLinear)) throw new Error(`runner: ${name} is not a stored weight`);
    const named = weights.info(`${name}.weight`).packing?.pattern;
    return { facts: layerFacts(name, linear.weight, named), dense: linear, fileBytes: file, keepWeight };
  };

  try {
    const ends = await loadEnds(weights, config);
    open.push(() => disposeEnds(ends));
    // A model's blocks are alike: what is known of the speed of one block's layers is known for all.
    let speeds: Speeds | undefined = typeof options.speeds === "function" ? undefined : options.speeds;
    for (let i = 0; i < config.layers; i++) {
      options.signal?.throwIfAborted();
      const block = await loadBlock(weights, config, i);
      const undo = (): void => disposeBlock(block);
      open.push(undo);
      const waiting = LINEARS.map((name) => {
        const full = linearName(i, name);
        return [name, pending(full, block.linears[name], fileBytes(model, `${full}.weight`))] as const;
      });
      if (typeof options.speeds === "function") speeds = await options.speeds(waiting.map(([, p]) => p.facts));
      const linears = Object.fromEntries(
        waiting.map(([name, p]) => {
          const made = settle(p, speeds);
          open.push(() => made.dispose());
          return [name, made];
        }),
      ) as Record<LinearName, RunLayer>;
      open.splice(open.indexOf(undo), 1, () => {
        block.inputNorm.dispose();
        block.postNorm.dispose();
      });
      blocks.push({ inputNorm: block.inputNorm, postNorm: block.postNorm, linears });
      options.onProgress?.((i + 1) / config.layers);
    }
    const headName = config.tied ? "model.embed_tokens" : "lm_head";
    const facts: LayerFacts = {
      ...layerFacts(headName, (ends.head as DenseLinear).weight),
      candidates: [],
      name: config.tied ? "head (tied to the embedding)" : headName,
    };
    if (typeof options.speeds === "function") speeds = await options.speeds([facts]);
    const head = settle(
      {
        facts,
        dense: ends.head as DenseLinear,
        fileBytes: config.tied ? 0 : fileBytes(model, "lm_head.weight"),
        keepWeight: config.tied,
      },
      speeds,
    );
    open.push(() => head.dispose());
    const tables = ropeTables(config, context);
    open.push(() => {
      tables.cos.dispose();
      tables.sin.dispose();
    });
    return new Runner(model, { config, embed: ends.embed, norm: ends.norm, head, blocks, tables }, layers, context);
  } catch (error) {
    for (const close of open.reverse()) close();
    throw error;
  }
}
