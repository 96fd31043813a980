/**
 * One growable WebAssembly memory and its allocator: 64-byte aligned blocks, best-fit bins, coalescing, a byte meter.
 *
 * Shared where threads are available, else unshared. Views are made fresh at each request and must not be stored:
 * growth leaves old ones short. Allocation happens on the main thread only.
 */
import { MAX_PAGES } from "../kernels/wasm/asm.ts";
import { LacunaError } from "./errors.ts";

const PAGE = 65536;
const ALIGN = 64;
/** Below this address live the control words of the thread pool; nothing is allocated there, so 0 is never valid. */
export const RESERVED_BYTES = 4096;

interface Block {
  ptr: number;
  size: number;
  free: boolean;
  before: Block | null;
  after: Block | null;
}

const binOf = (size: number): number => 31 - Math.clz32(Math.max(1, Math.floor(size / ALIGN)));

export interface MemoryOptions {
  readonly shared: boolean;
  /** upper bound in bytes; at most 4 GiB */
  readonly limit?: number;
}

export class Memory {
  readonly wasm: WebAssembly.Memory;
  readonly shared: boolean;
  readonly limit: number;
  readonly #blocks = new Map<number, Block>();
  readonly #bins: Set<Block>[] = Array.from({ length: 32 }, () => new Set<Block>());
  #last: Block;
  #live = 0;
  #peak = 0;

  constructor(options: MemoryOptions) {
    this.shared = options.shared;
    this.limit = Math.min(options.limit ?? MAX_PAGES * PAGE, MAX_PAGES * PAGE);
    const initial = 256;
    this.wasm = new WebAssembly.Memory(
      options.shared ? { initial, maximum: MAX_PAGES, shared: true } : { initial, maximum: MAX_PAGES },
    );
    this.#last = { ptr: RESERVED_BYTES, size: initial * PAGE - RESERVED_BYTES, free: true, before: null, after: null };
    this.#bins[binOf(this.#last.size)].add(this.#last);
  }

  /** Bytes handed out now. */
  get live(): number {
    return this.#live;
  }

  /** Most bytes ever handed out at once since the last `resetPeak`. */
  get peak(): number {
    return this.#peak;
  }

  resetPeak(): void {
    this.#peak = this.#live;
  }

  /** Bytes reserved from the host. */
  get reserved(): number {
    return this.wasm.buffer.byteLength;
  }

  /** Address of `bytes` bytes, uninitialised, 64-byte aligned. Throws a LacunaError when the limit is reached. */
  alloc(bytes: number): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    const block = this.#find(size) ?? this.#grow(size, bytes);
    this.#bins[binOf(block.size)].delete(block);
    block.free = false;
    if (block.size - size >= ALIGN) {
      const rest: Block = {
        ptr: block.ptr + size,
        size: block.size - size,
        free: true,
        before: block,
        after: block.after,
      };
      if (block.after) block.after.before = rest;
      else this.#last = rest;
      block.after = rest;
      block.size = size;
      this.#bins[binOf(rest.size)].add(rest);
    }
    this.#blocks.set(block.ptr, block);
    this.#live += block.size;
    if (this.#live > this.#peak) this.#peak = this.#live;
    return block.ptr;
  }

  free(ptr: number): void {
    const block = this.#blocks.get(ptr);
    if (!block) throw new Error(`memory: ${ptr} is not an allocated address`);
    this.#blocks.delete(ptr);
    this.#live -= block.size;
    block.free = true;
    const { before, after } = block;
    if (after?.free) {
      this.#bins[binOf(after.size)].delete(after);
      this.#join(block, after);
    }
    if (before?.free) {
      this.#bins[binOf(before.size)].delete(before);
      this.#join(before, block);
      this.#bins[binOf(before.size)].add(before);
    } else this.#bins[binOf(block.size)].add(block);
  }

  f32(ptr: number, count: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#buffer, ptr, count);
  }
  f64(ptr: number, count: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.#buffer, ptr, count);
  }
  i32(ptr: number, count: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.#buffer, ptr, count);
  }
  u16(ptr: number, count: number): Uint16Array<ArrayBuffer> {
    return new Uint16Array(this.#buffer, ptr, count);
  }
  u8(ptr: number, count: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer, ptr, count);
  }

  // Shared or not, typed arrays behave alike here; one type spares every caller the union.
  get #buffer(): ArrayBuffer {
    return this.wasm.buffer as ArrayBuffer;
  }

  #find(size: number): Block | undefined {
    let best: Block | undefined;
    for (let bin = binOf(size); bin < 32; bin++) {
      let looked = 0;
      for (const block of this.#bins[bin]) {
        if (block.size >= size && (!best || block.size < best.size)) best = block;
        if (best?.size === size || ++looked > 32) break;
      }
      if (best) return best;
    }
    return best;
  }

  #grow(size: number, asked: number): Block {
    const tail = this.#last.free ? this.#last.size : 0;
    const reserved = this.reserved;
    const need = Math.ceil((size - tail) / PAGE);
    const room = Math.floor((this.limit - reserved) / PAGE);
    // An eighth in reserve keeps the number of growths logarithmic.
    const pages = Math.min(room, Math.max(need, Math.ceil(reserved / PAGE / 8)));
    const fail = (cause?: unknown): never => {
      throw new LacunaError(
        {
          about: "engine memory",
          expected: `room for ${asked} bytes`,
          got: `${this.#live} bytes in use of a limit of ${this.limit}`,
          hint: "Use a smaller model, fewer tokens at a time, or free tensors (scope) before this point.",
        },
        { cause },
      );
    };
    if (pages < need) fail();
    try {
      this.wasm.grow(pages);
    } catch (cause) {
      fail(cause);
    }
    const added = pages * PAGE;
    if (this.#last.free) {
      this.#bins[binOf(this.#last.size)].delete(this.#last);
      this.#last.size += added;
    } else {
      const block: Block = { ptr: reserved, size: added, free: true, before: this.#last, after: null };
      this.#last.after = block;
      this.#last = block;
    }
    this.#bins[binOf(this.#last.size)].add(this.#last);
    return this.#last;
  }

  #join(left: Block, right: Block): void {
    left.size += right.size;
    left.after = right.after;
    if (right.after) right.after.before = left;
    else this.#last = left;
  }
}
