/**
 * A memory of its own with one kernel in it, for trials, tests and benches. Allocation is a bump pointer.
 *
 * Every block is followed by guard bytes; `damage` tells whether something wrote there. Guard and freed bytes are
 * 0xff, a NaN in every float type, so that a read beyond an operand shows in the result.
 */

import type { EmitOptions, Kernel, Sandbox } from "./kernel.ts";

const PAGE = 65536;
const ALIGN = 64;
const GUARD = 64;
const POISON = 0xff;
/** 1 GiB: address space only, it is not committed before use */
const MOST_PAGES = 16384;

export interface SandboxOptions extends EmitOptions {
  /** pages of 64 KiB at the start; it grows, but views taken before are then stale when memory is unshared */
  readonly pages?: number;
}

export interface OpenSandbox extends Sandbox {
  readonly memory: WebAssembly.Memory;
  /** forgets all blocks */
  reset(): void;
  /**
   * where a guard was overwritten: the block's address, its size and how far behind its end; undefined if nowhere. What
   * lies before the first block, where null pointers lead, counts as behind a block of no bytes at 0.
   */
  damage(): { block: number; bytes: number; beyond: number } | undefined;
}

const modules = new WeakMap<Kernel, Map<string, WebAssembly.Module>>();

/** Emits and compiles a kernel once for each set of options. */
export function compileKernel(kernel: Kernel, options: EmitOptions): WebAssembly.Module {
  const byOptions = modules.get(kernel) ?? new Map<string, WebAssembly.Module>();
  modules.set(kernel, byOptions);
  const key = `${options.shared}/${options.fused}`;
  let module = byOptions.get(key);
  if (!module) {
    module = new WebAssembly.Module(kernel.emit({ shared: options.shared, fused: options.fused }));
    byOptions.set(key, module);
  }
  return module;
}

export function createSandbox(kernel: Kernel, options: SandboxOptions): OpenSandbox {
  const memory = new WebAssembly.Memory({
    initial: options.pages ?? 128,
    maximum: MOST_PAGES,
    shared: options.shared,
  });
  const instance = new WebAssembly.Instance(compileKernel(kernel, options), { env: { memory } });
  let top = ALIGN; // address 0 stays free: a null pointer must not look like an operand
  const blocks: { start: number; bytes: number }[] = [];
  new Uint8Array(memory.buffer).fill(POISON, 0, ALIGN);

  const take = (bytes: number): number => {
    const start = top;
    const end = start + bytes;
    top = Math.ceil((end + GUARD) / ALIGN) * ALIGN;
    const missing = top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    const all = new Uint8Array(memory.buffer);
    all.fill(0, start, end);
    all.fill(POISON, end, top);
    blocks.push({ start, bytes });
    return start;
  };

  return {
    memory,
    put(values) {
      const start = take(values.byteLength);
      const from = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      new Uint8Array(memory.buffer).set(from, start);
      return start;
    },
    room: take,
    f32: (pointer, count) => new Float32Array(memory.buffer, pointer, count),
    f64: (pointer, count) => new Float64Array(memory.buffer, pointer, count),
    i32: (pointer, count) => new Int32Array(memory.buffer, pointer, count),
    u16: (pointer, count) => new Uint16Array(memory.buffer, pointer, count),
    u8: (pointer, count) => new Uint8Array(memory.buffer, pointer, count),
    call(fn, ...args) {
      const f = instance.exports[fn];
      if (typeof f !== "function") throw new Error(`kernel ${kernel.name} has no function "${fn}"`);
      return Number(f(...args));
    },
    reset() {
      new Uint8Array(memory.buffer).fill(POISON, 0, top);
      top = ALIGN;
      blocks.length = 0;
    },
    damage() {
      const all = new Uint8Array(memory.buffer);
      const nothing = { start: 0, bytes: 0 };
      for (const [i, { start, bytes }] of [nothing, ...blocks].entries()) {
        const end = start + bytes;
        const next = blocks[i]?.start ?? top;
        for (let at = end; at < next; at++) if (all[at] !== POISON) return { block: start, bytes, beyond: at - end };
      }
      return undefined;
    },
  };
}
