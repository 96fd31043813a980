/**
 * Writes ONNX models: a graph of nodes with f32 initialisers as one protobuf message in memory.
 *
 * Field numbers and types follow onnx.proto of ONNX 1.8 (IR version 7); which operators a node may name is the affair of
 * the operator set it asks for. It does not read models, check shapes, or write external data, so a model stays below
 * 2 GiB.
 */
import { demand } from "../core/errors.ts";

export type OnnxAttribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number };

export interface OnnxNode {
  /** operator, as `Conv` */
  readonly op: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>;
}

/** f32 values, row-major. */
export interface OnnxTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly values: Float32Array;
}

/** An f32 input or output of the graph. */
export interface OnnxValue {
  readonly name: string;
  readonly dims: readonly number[];
}

export interface OnnxModel {
  readonly name: string;
  /** version of the default operator set */
  readonly opset: number;
  readonly nodes: readonly OnnxNode[];
  readonly initialisers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly producer?: string;
}

const IR_VERSION = 7;
const FLOAT = 1;
/** AttributeProto.AttributeType */
const ATTRIBUTE = { float: 1, int: 2, ints: 7 } as const;
const MOST_BYTES = 2 ** 31 - 1;

/** A message under construction: pieces in order, joined once at the end. */
class Message {
  readonly pieces: Uint8Array[] = [];
  length = 0;

  #put(piece: Uint8Array): this {
    this.pieces.push(piece);
    this.length += piece.length;
    return this;
  }

  #key(field: number, wire: number): this {
    return this.#put(varint(BigInt((field << 3) | wire)));
  }

  int(field: number, value: number): this {
    return this.#key(field, 0).#put(varint(BigInt(value)));
  }

  float(field: number, value: number): this {
    return this.#key(field, 5).#put(littleEndian(Float32Array.of(value)));
  }

  bytes(field: number, value: Uint8Array): this {
    return this.#key(field, 2)
      .#put(varint(BigInt(value.length)))
      .#put(value);
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  /** packed */
  ints(field: number, values: readonly number[]): this {
    const packed = new Message();
    for (const value of values) packed.#put(varint(BigInt(value)));
    return this.message(field, packed);
  }

  message(field: number, value: Message): this {
    this.#key(field, 2).#put(varint(BigInt(value.length)));
    for (const piece of value.pieces) this.#put(piece);
    return this;
  }

  messages<T>(field: number, values: readonly T[], make: (value: T) => Message): this {
    for (const value of values) this.message(field, make(value));
    return this;
  }

  join(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      out.set(piece, at);
      at += piece.length;
    }
    return out;
  }
}

/** Seven bits a byte, low ones first; negative numbers as 64-bit two's complement. */
function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if (rest === 0n) return Uint8Array.of(...bytes, low);
    bytes.push(low | 0x80);
  }
}

const hostIsLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (hostIsLittleEndian) return bytes;
  const swapped = bytes.slice();
  for (let i = 0; i < swapped.length; i += 4) swapped.subarray(i, i + 4).reverse();
  return swapped;
}

function attribute([name, value]: readonly [string, OnnxAttribute]): Message {
  const m = new Message().text(1, name);
  if ("float" in value) return m.float(2, value.float).int(20, ATTRIBUTE.float);
  if ("int" in value) return m.int(3, value.int).int(20, ATTRIBUTE.int);
  return m.ints(8, value.ints).int(20, ATTRIBUTE.ints);
}

function node({ op, name, inputs, outputs, attributes = {} }: OnnxNode): Message {
  const m = new Message();
  for (const input of inputs) m.text(1, input);
  for (const output of outputs) m.text(2, output);
  return m.text(3, name).text(4, op).messages(5, Object.entries(attributes), attribute);
}

function tensor({ name, dims, values }: OnnxTensor): Message {
  const size = dims.reduce((a, b) => a * b, 1);
  demand(size === values.length, () => ({
    about: `ONNX initialiser ${name}`,
    expected: `${size} values for [${dims.join(", ")}]`,
    got: `${values.length}`,
    hint: "Shape and values of a tensor must agree.",
  }));
  return new Message().ints(1, dims).int(2, FLOAT).text(8, name).bytes(9, littleEndian(values));
}

function value({ name, dims }: OnnxValue): Message {
  const shape = new Message().messages(1, dims, (n) => new Message().int(1, n));
  const type = new Message().message(1, new Message().int(1, FLOAT).message(2, shape));
  return new Message().text(1, name).message(2, type);
}

/** The model as a file. Throws a LacunaError when a tensor's shape and values disagree or the file would pass 2 GiB. */
export function encodeOnnx(model: OnnxModel): Uint8Array {
  const graph = new Message()
    .messages(1, model.nodes, node)
    .text(2, model.name)
    .messages(5, model.initialisers, tensor)
    .messages(11, model.inputs, value)
    .messages(12, model.outputs, value);
  const file = new Message()
    .int(1, IR_VERSION)
    .text(2, model.producer ?? "lacuna")
    .message(7, graph)
    .message(8, new Message().text(1, "").int(2, model.opset));
  demand(file.length <= MOST_BYTES, () => ({
    about: `ONNX model ${model.name}`,
    expected: "at most 2 GiB, the limit of its format",
    got: `${file.length} bytes`,
    hint: "Write a smaller model.",
  }));
  return file.join();
}
