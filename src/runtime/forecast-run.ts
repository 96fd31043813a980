/**
 * What a dense run of a model is made of: the part its linears take, and the rest (embedding, norms, rotation,
 * attention, gate, head, and the calls themselves), measured on a model of the same shape with drawn weights.
 *
 * Whole run, layers alone, each shape's layers, and a model without blocks take turns in one interleaved run. A model
 * too large for this is measured with fewer blocks: every block costs the same.
 */
import { fusion } from "../core/engine.ts";
import { outside } from "../core/scope.ts";
import { full, type Tensor } from "../core/tensor.ts";
import type { ElementType } from "../kernels/dense/element.ts";
import { LINEARS, type LinearName } from "../models/llama/block.ts";
import type { LlamaConfig } from "../models/llama/config.ts";
import { ropeTables } from "../models/llama/model.ts";
import { KvCache } from "./cache.ts";
import type { Speeds, Use, WeightShape } from "./choose.ts";
import { activations, drawnTensor } from "./drawn.ts";
import { type Form, RunLayer } from "./layer.ts";
import { prefillChunk, type RunBlock, type RunModel } from "./prefill.ts";
import type { Shares } from "./profile.ts";
import { Stepper } from "./step.ts";
import { cleanRounds, interleave, pairedRatio, spread, type TimingOptions, type Variant } from "./timing.ts";

const MEBI = 2 ** 20;
/** Blocks are left out beyond so many bytes of weights. */
const MOST_BYTES = 64 * MEBI;

/** The shapes of a block's linears, [out, in]. */
export function linearShapes(c: LlamaConfig): Readonly<Record<LinearName, readonly [number, number]>> {
  const { width: D, feedForward: F, heads: H, kvHeads: K, headWidth: E } = c;
  return {
    q_proj: [H * E, D],
    k_proj: [K * E, D],
    v_proj: [K * E, D],
    o_proj: [D, H * E],
    gate_proj: [F, D],
    up_proj: [F, D],
    down_proj: [D, F],
  };
}

export const shapeName = (s: { readonly out: number; readonly in: number }): string => `${s.out} x ${s.in}`;

interface DrawnModel {
  readonly run: RunModel;
  dispose(): void;
}

/** A dense model with drawn weights, its linears in the dense forms that `speeds` calls fastest. */
function drawnModel(
  config: LlamaConfig,
  blocks: number,
  type: ElementType,
  speeds: Speeds,
  context: number,
): DrawnModel {
  const close: (() => void)[] = [];
  const keep = <T extends { dispose(): void }>(t: T): T => {
    close.push(() => t.dispose());
    return t;
  };
  const form = (shape: WeightShape, use: Use): { form: Form; reason: string } => ({
    form: speeds.dense(shape, use) ?? "stored",
    reason: "",
  });
  const layer = (out: number, width: number, seed: number, weight?: Tensor): RunLayer => {
    const shape: WeightShape = { out, in: width, type };
    return keep(
      new RunLayer({
        name: "",
        weight: weight ?? drawnTensor(shape, seed),
        bias: null,
        choice: { decode: form(shape, "decode"), prefill: form(shape, "prefill") },
        fileBytes: 0,
        keepWeight: weight !== undefined,
      }),
    );
  };
  const ones = (): Tensor => keep(outside(() => full([config.width], 1)));
  const shapes = linearShapes(config);
  const embed = keep(drawnTensor({ out: config.vocabSize, in: config.width, type }, 5));
  const made = Array.from({ length: blocks }, (_, b): RunBlock => {
    const linears = LINEARS.map((name, i) => [name, layer(...shapes[name], 100 + 7 * b + i)] as const);
    return {
      inputNorm: ones(),
      postNorm: ones(),
      linears: Object.fromEntries(linears) as Record<LinearName, RunLayer>,
    };
  });
  const tables = ropeTables(config, context);
  keep(tables.cos);
  keep(tables.sin);
  const head = layer(config.vocabSize, config.width, 6, config.tied ? embed : undefined);
  return {
    run: { config: { ...config, layers: blocks }, embed, blocks: made, norm: ones(), head, tables },
    dispose: () => {
      for (const f of close.reverse()) f();
    },
  };
}

export const sharesName = (c: LlamaConfig, type: ElementType, use: Use): string =>
  `D${c.width} F${c.feedForward} L${c.layers} H${c.heads} K${c.kvHeads} E${c.headWidth} V${c.vocabSize} ${type} ${use}`;

/** Blocks of a drawn model that stay within the bytes. */
function blocksOf(c: LlamaConfig, type: ElementType): number {
  const weights = Object.values(linearShapes(c)).reduce((s, [out, width]) => s + out * width, 0);
  return Math.max(1, Math.min(c.layers, Math.floor(MOST_BYTES / (weights * (type === "f32" ? 4 : 2)))));
}

/** Measures the shares of one use: decode at half of the context, or the prefill of `tokens` tokens from none. */
export async function measureShares(
  config: LlamaConfig,
  type: ElementType,
  use: Use,
  tokens: number,
  speeds: Speeds,
  options: TimingOptions = {},
): Promise<Shares> {
  const context = use === "decode" ? Math.max(1, Math.min(128, config.maxPositions >> 1)) : 0;
  const blocks = blocksOf(config, type);
  const model = drawnModel(config, blocks, type, speeds, context + tokens);
  const { run } = model;
  const cache = new KvCache(run.config, context + tokens);
  const stepper = new Stepper(run, cache);
  // The same model without blocks: embedding, last norm and head.
  const bare = new Stepper({ ...run, blocks: [] }, cache);
  const widest = Math.max(...Object.values(linearShapes(config)).flat());
  const room = activations({ out: widest, in: widest, type }, tokens);
  const ids = Int32Array.from({ length: Math.max(tokens, context) }, (_, i) => (i * 7919 + 1) % config.vocabSize);
  const shapes = new Map<string, LinearName[]>();
  for (const [name, [out, width]] of Object.entries(linearShapes(config))) {
    const key = shapeName({ out, in: width });
    shapes.set(key, [...(shapes.get(key) ?? []), name as LinearName]);
  }
  const through = (names: readonly LinearName[]) => (): void => {
    for (const block of run.blocks) for (const n of names) block.linears[n].forward(room.x, tokens, room.y);
  };
  const whole = (m: RunModel, s: Stepper) => (): void => {
    if (use === "decode") s.run(ids[0], context);
    else prefillChunk(m, cache, ids.subarray(0, tokens), 0, true);
  };
  const variants: Variant[] = [
    { name: "whole", run: whole(run, stepper) },
    { name: "ends", run: whole({ ...run, blocks: [] }, bare) },
    { name: "layers", run: through(LINEARS) },
    ...[...shapes].map(([name, names]) => ({ name, run: through(names) })),
  ].map((v) => ({ name: v.name, run: () => fusion(true, v.run) }));
  try {
    if (context > 0) prefillChunk(run, cache, ids.subarray(0, context), 0, false);
    const t = await interleave(variants, { rounds: 31, slice: 3, warmUp: 10, fewest: 7, ...options });
    const [wholes, ends, layers] = t.variants.map((v) => v.times);
    const scale = config.layers / blocks;
    const share = cleanRounds(wholes, ends, layers).map(
      (i) => (scale * layers[i]) / (ends[i] + scale * Math.max(wholes[i] - ends[i], layers[i])),
    );
    // As parts of the layers' time of the same round, which noise hits alike.
    const parts = t.variants.slice(3).map((v) => pairedRatio(layers, v.times).median);
    const sum = parts.reduce((a, b) => a + b, 0);
    return {
      date: new Date().toISOString(),
      tokens,
      context,
      layers: spread(share),
      shapes: Object.fromEntries(t.variants.slice(3).map((v, i) => [v.name, parts[i] / sum])),
    };
  } finally {
    room.free();
    bare.dispose();
    stepper.dispose();
    cache.dispose();
    model.dispose();
  }
}
