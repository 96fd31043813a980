/**
 * Reads a Llama's tensors from a weight source, piece by piece: embedding, one block at a time, norm, head.
 *
 * Weights stay in their stored type in engine memory; norms and biases become f32. Names, shapes, types and values are
 * checked as they are read: a NaN or an infinity is an error that names the tensor.
 */

import { call, memory } from "../../core/engine.ts";
import { LacunaError } from "../../core/errors.ts";
import { outside, scope } from "../../core/scope.ts";
import { type DType, fromBytes, Tensor, tensor } from "../../core/tensor.ts";
import { expectTensor, type WeightSource } from "../../formats/weights.ts";
import { convert } from "../../kernels/convert/index.ts";
import { DenseLinear } from "../../nn/linear.ts";
import { type Block, disposeBlock, type LINEARS, linearPath } from "./block.ts";
import { type LlamaConfig, llamaTensorShapes } from "./config.ts";
import { assembleBlock, type Llama, type Lookup } from "./model.ts";

const ENGINE_TYPE: Readonly<Record<string, DType>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** The element type of a stored tensor in the engine's terms. */
export function engineType(stored: string): DType {
  const type = ENGINE_TYPE[stored];
  if (!type) throw new Error(`load: ${stored} is not a type of weights`);
  return type;
}

/** Index of the first value that is NaN or infinite, or -1. */
export function firstNonFinite(bytes: Uint8Array, type: DType): number {
  if (type === "f32") {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    return words.findIndex((w) => (w & 0x7f800000) === 0x7f800000);
  }
  const exponent = type === "bf16" ? 0x7f80 : 0x7c00;
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  for (let i = 0; i < words.length; i++) if ((words[i] & exponent) === exponent) return i;
  return -1;
}

/** Typed views need aligned bytes; a reader may hand out any offset. */
const aligned = (bytes: Uint8Array): Uint8Array => (bytes.byteOffset % 4 === 0 ? bytes : bytes.slice());

/** Reads one tensor into engine memory in its stored type, checked. It lives until disposed. */
export async function readTensor(source: WeightSource, name: string, shape: readonly number[]): Promise<Tensor> {
  const info = expectTensor(source, name, shape);
  const type = engineType(info.dtype);
  const bytes = aligned(await source.read(name));
  const bad = firstNonFinite(bytes, type);
  if (bad >= 0) {
    throw new LacunaError({
      about: name,
      expected: "finite weights",
      got: `NaN or infinity at element ${bad} of [${shape.join(", ")}]`,
      hint: "The file is damaged or its training diverged; use another copy of the model.",
    });
  }
  return outside(() => fromBytes(bytes, shape, type));
}

/** An f32 copy of a tensor of any stored type, in the surrounding scope. */
export function toF32(t: Tensor): Tensor {
  const out = new Tensor(t.shape);
  if (t.dtype === "f32") memory.u8(out.ptr, out.bytes).set(memory.u8(t.ptr, t.bytes));
  else call(convert, t.dtype === "bf16" ? "bf16ToF32" : "f16ToF32", t.ptr, out.ptr, 0, t.size);
  return out;
}

/** A tensor's values as f32, outside the engine: checked like any other read. */
export async function readValues(
  source: WeightSource,
  name: string,
  shape: readonly number[],
): Promise<Float32Array<ArrayBuffer>> {
  const stored = await readTensor(source, name, shape);
  try {
    return scope(() => toF32(stored).toArray());
  } finally {
    stored.dispose();
  }
}

/**
 * Little-endian bytes of values in a stored type: to nearest even, -0 becomes +0. Throws a `LacunaError` that names the
 * tensor for values that are, or become, infinite or NaN.
 */
export function storedBytes(name: string, values: Float32Array, type: DType): Uint8Array {
  const bytes = scope(() => {
    const from = tensor(values);
    if (type === "f32") {
      // x + 0 is x but for -0, which becomes +0
      const v = from.f32;
      for (let i = 0; i < v.length; i++) v[i] += 0;
      return memory.u8(from.ptr, from.bytes).slice();
    }
    const to = new Tensor([values.length], type);
    call(convert, type === "bf16" ? "f32ToBf16Stored" : "f32ToF16Stored", from.ptr, to.ptr, 0, to.size);
    return memory.u8(to.ptr, to.bytes).slice();
  });
  const bad = firstNonFinite(bytes, type);
  if (bad >= 0) {
    throw new LacunaError({
      about: name,
      expected: `finite values in ${type}`,
      got: `${values[bad]} at element ${bad}`,
      hint: "The step that made them failed on this layer; leave the layer out, or use another method.",
    });
  }
  return bytes;
}

async function readVector(source: WeightSource, name: string, shape: readonly number[]): Promise<Tensor> {
  const stored = await readTensor(source, name, shape);
  if (stored.dtype === "f32") return stored;
  const wide = outside(() => toF32(stored));
  stored.dispose();
  return wide;
}

/** Reads whatever a part of the model needs, so that it can be assembled synchronously. */
async function readAll(source: WeightSource, config: LlamaConfig, wanted: (name: string) => boolean): Promise<Lookup> {
  const found = new Map<string, Tensor>();
  try {
    for (const [name, shape] of llamaTensorShapes(config)) {
      if (!wanted(name)) continue;
      const read = shape.length === 1 ? readVector : readTensor;
      found.set(name, await read(source, name, shape));
    }
  } catch (error) {
    for (const t of found.values()) t.dispose();
    throw error;
  }
  return (name) => {
    const t = found.get(name);
    if (!t) throw new Error(`load: ${name} was not read`);
    return t;
  };
}

/** Checks names, shapes and types of every tensor, without reading values. */
export function checkWeights(source: WeightSource, config: LlamaConfig): void {
  for (const [name, shape] of llamaTensorShapes(config)) expectTensor(source, name, shape);
}

export async function loadBlock(source: WeightSource, config: LlamaConfig, layer: number): Promise<Block> {
  const start = `model.layers.${layer}.`;
  return assembleBlock(config, layer, await readAll(source, config, (name) => name.startsWith(start)));
}

/** Embedding, final norm and head; a tied head is the embedding itself. */
export async function loadEnds(source: WeightSource, config: LlamaConfig): Promise<Omit<Llama, "config" | "blocks">> {
  const get = await readAll(source, config, (name) => !name.startsWith("model.layers."));
  const embed = get("model.embed_tokens.weight");
  const head = new DenseLinear(config.tied ? embed : get("lm_head.weight"));
  return { embed, norm: get("model.norm.weight"), head };
}

/** Final norm and head alone; a tied head reads the embedding. */
export async function loadHead(source: WeightSource, config: LlamaConfig): Promise<Pick<Llama, "norm" | "head">> {
  const table = config.tied ? "model.embed_tokens.weight" : "lm_head.weight";
  const get = await readAll(source, config, (name) => name === table || name === "model.norm.weight");
  return { norm: get("model.norm.weight"), head: new DenseLinear(get(table)) };
}

/** The whole model in engine memory. */
export async function loadLlama(source: WeightSource, config: LlamaConfig): Promise<Llama> {
  const ends = await loadEnds(source, config);
  const blocks: Block[] = [];
  for (let i = 0; i < config.layers; i++) blocks.push(await loadBlock(source, config, i));
  return { config, ...ends, blocks };
}

export function disposeEnds(ends: Omit<Llama, "config" | "blocks">): void {
  ends.embed.dispose();
  ends.norm.dispose();
  ends.head.dispose();
}

export function disposeLlama(model: Llama): void {
  disposeEnds(model);
  model.blocks.forEach(disposeBlock);
}

/** Full tensor name of a linear's weight. */
export const weightName = (layer: number, linear: (typeof LINEARS)[number]): string =>
  `model.layers.${layer}.${linearPath(linear)}.weight`;
