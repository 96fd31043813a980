/**
 * Tensors: a shape, a type and an address in the engine's memory; contiguous, row-major.
 *
 * A tensor is owned by the scope it was made in, by a tape that needs it, or, outside of both, by the program, with a
 * finalizer as the safety net. `reshape` gives a second tensor over the same bytes. No arithmetic lives here.
 */
import { generation, isCurrent, memory } from "./engine.ts";
import { LacunaError } from "./errors.ts";

export type DType = "f32" | "f64" | "bf16" | "f16" | "i32" | "u8";

export const BYTES: Record<DType, number> = { f32: 4, f64: 8, bf16: 2, f16: 2, i32: 4, u8: 1 };

export type Shape = readonly number[];

export const numel = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** Bytes in engine memory, freed when the last holder lets go. */
class Storage {
  readonly ptr: number;
  readonly bytes: number;
  readonly #home = generation();
  #holders = 1;

  constructor(bytes: number) {
    this.bytes = bytes;
    this.ptr = memory.alloc(bytes);
  }

  get alive(): boolean {
    return this.#holders > 0 && isCurrent(this.#home);
  }

  hold(): void {
    this.#holders++;
  }

  drop(): void {
    // A tensor may outlive its engine; its address means nothing to the next one.
    if (--this.#holders === 0 && isCurrent(this.#home)) memory.free(this.ptr);
    if (this.#holders < 0) throw new Error("tensor: released more often than held");
  }
}

interface Owner {
  adopt(tensor: Tensor): void;
}

let owner: Owner | null = null;

/** Internal to `scope.ts`: who owns tensors made from now on. Returns the owner before. */
export function setOwner(next: Owner | null): Owner | null {
  const before = owner;
  owner = next;
  return before;
}

const orphans = new FinalizationRegistry<Storage>((storage) => storage.drop());

export class Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly #storage: Storage;
  #held = true;

  /** Uninitialised unless `over` is given; use `zeros`, `tensor` and the like. */
  constructor(shape: Shape, dtype: DType = "f32", over?: Tensor) {
    for (const n of shape) {
      if (!Number.isInteger(n) || n < 0) {
        throw new LacunaError({
          about: "tensor shape",
          expected: "whole numbers of at least 0",
          got: `[${shape.join(", ")}]`,
          hint: "Check the sizes this tensor is made from.",
        });
      }
    }
    this.shape = shape;
    this.dtype = dtype;
    this.size = numel(shape);
    if (over) {
      over.#check();
      this.#storage = over.#storage;
      this.#storage.hold();
    } else this.#storage = new Storage(this.size * BYTES[dtype]);
    this.#own();
  }

  #own(): void {
    if (owner) owner.adopt(this);
    else orphans.register(this, this.#storage, this);
  }

  #check(): void {
    if (!this.#storage.alive)
      throw new Error(`tensor [${this.shape.join(", ")}] was used after it, or the engine it lived in, was freed`);
  }

  /** Byte address in engine memory. */
  get ptr(): number {
    this.#check();
    return this.#storage.ptr;
  }

  get bytes(): number {
    return this.size * BYTES[this.dtype];
  }

  /** A view that is good until the next allocation; `toArray` copies. */
  get f32(): Float32Array<ArrayBuffer> {
    return memory.f32(this.ptr, this.size);
  }
  get f64(): Float64Array<ArrayBuffer> {
    return memory.f64(this.ptr, this.size);
  }
  get i32(): Int32Array<ArrayBuffer> {
    return memory.i32(this.ptr, this.size);
  }
  get u16(): Uint16Array<ArrayBuffer> {
    return memory.u16(this.ptr, this.size);
  }
  get u8(): Uint8Array<ArrayBuffer> {
    return memory.u8(this.ptr, this.size);
  }

  /** A copy of an f32 tensor's values. */
  toArray(): Float32Array<ArrayBuffer> {
    if (this.dtype !== "f32") throw new Error(`tensor: toArray of ${this.dtype}; convert to f32 first`);
    return this.f32.slice();
  }

  /** The only value of a tensor with one element. */
  item(): number {
    if (this.size !== 1) throw new Error(`tensor: item() of ${this.size} values`);
    return this.dtype === "f64" ? this.f64[0] : this.dtype === "i32" ? this.i32[0] : this.f32[0];
  }

  /** A second tensor over the same bytes. */
  reshape(shape: Shape): Tensor {
    if (numel(shape) !== this.size) {
      throw new LacunaError({
        about: "reshape",
        expected: `${this.size} elements, as in [${this.shape.join(", ")}]`,
        got: `[${shape.join(", ")}]`,
        hint: "Check the shapes.",
      });
    }
    return new Tensor(shape, this.dtype, this);
  }

  /** Lets go of the bytes now instead of at the end of the scope. Calling it twice does nothing. */
  dispose(): void {
    if (!this.#held) return;
    this.#held = false;
    orphans.unregister(this);
    this.#storage.drop();
  }

  /** Internal to `scope.ts`: hands a tensor from a scope to its surroundings. */
  adoptOutside(): void {
    if (this.#held) this.#own();
  }

  /** Internal to `tape.ts`: keeps the bytes alive beyond the scope; the returned function lets go. */
  retain(): () => void {
    this.#check();
    const storage = this.#storage;
    storage.hold();
    let held = true;
    return () => {
      if (held) storage.drop();
      held = false;
    };
  }
}

/** Copies values into a new tensor of the type that the array implies. */
export function tensor(
  values: Float32Array | Float64Array | Int32Array | Uint8Array | readonly number[],
  shape?: Shape,
  dtype?: DType,
): Tensor {
  const type: DType =
    dtype ??
    (values instanceof Float64Array
      ? "f64"
      : values instanceof Int32Array
        ? "i32"
        : values instanceof Uint8Array
          ? "u8"
          : "f32");
  const t = new Tensor(shape ?? [values.length], type);
  if (t.size !== values.length) {
    const got = `${values.length} values`;
    t.dispose();
    throw new LacunaError({
      about: `tensor [${t.shape.join(", ")}]`,
      expected: `${t.size} values`,
      got,
      hint: "Give as many values as the shape holds.",
    });
  }
  const view = type === "f64" ? t.f64 : type === "i32" ? t.i32 : type === "u8" ? t.u8 : t.f32;
  if (type === "bf16" || type === "f16") throw new Error(`tensor: make f32 values and convert them to ${type}`);
  view.set(values as ArrayLike<number>);
  return t;
}

/** Wraps raw little-endian bytes of the given type. */
export function fromBytes(bytes: Uint8Array, shape: Shape, dtype: DType): Tensor {
  const t = new Tensor(shape, dtype);
  if (bytes.length !== t.bytes) {
    const want = t.bytes;
    t.dispose();
    throw new LacunaError({
      about: `tensor [${shape.join(", ")}] ${dtype}`,
      expected: `${want} bytes`,
      got: `${bytes.length} bytes`,
      hint: "The file and its header disagree.",
    });
  }
  memory.u8(t.ptr, t.bytes).set(bytes);
  return t;
}

export function zeros(shape: Shape, dtype: DType = "f32"): Tensor {
  const t = new Tensor(shape, dtype);
  memory.u8(t.ptr, t.bytes).fill(0);
  return t;
}

export function full(shape: Shape, value: number): Tensor {
  const t = new Tensor(shape, "f32");
  t.f32.fill(value);
  return t;
}

/** A copy with bytes of its own. */
export function clone(source: Tensor): Tensor {
  const t = new Tensor(source.shape, source.dtype);
  memory.u8(t.ptr, t.bytes).set(memory.u8(source.ptr, source.bytes));
  return t;
}
