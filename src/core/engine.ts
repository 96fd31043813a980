/**
 * The engine: one memory, compiled kernels, a thread pool, and the two ways to run a kernel.
 *
 * It starts itself on first use with every core (Node); `init` sets threads and limits before that. Kernels run
 * without fused multiply-add unless the caller is inside `fusion(true, ...)`, so that results do not depend on the
 * machine. It knows pointers and kernels, not tensors.
 */
import type { Kernel } from "../kernels/kernel.ts";
import { hasRelaxedSimd } from "../kernels/probe.ts";
import { LacunaError } from "./errors.ts";
import { Memory } from "./memory.ts";
import { Pool } from "./threads/pool.ts";

export interface EngineOptions {
  /** threads that compute, the caller's included; default: every core, at most 16 */
  readonly threads?: number;
  /** most bytes of engine memory; default 4 GiB */
  readonly memoryLimit?: number;
  /** where the worker's script is served, for pages whose policy forbids Blob URLs */
  readonly workerUrl?: string;
}

interface Loaded {
  readonly id: number;
  readonly fns: Readonly<Record<string, (...args: number[]) => number>>;
  readonly index: Readonly<Record<string, number>>;
  readonly bytes: Uint8Array<ArrayBuffer>;
  bytesPtr: number;
}

interface Engine {
  readonly memory: Memory;
  readonly threads: number;
  readonly workerUrl: string | undefined;
  readonly plain: Map<Kernel, Loaded>;
  readonly fused: Map<Kernel, Loaded>;
  pool: Pool | null;
}

let engine: Engine | null = null;
let fusing = false;
let loads = 0;

function coreCount(): number {
  const nav = (globalThis as { navigator?: { hardwareConcurrency?: number } }).navigator?.hardwareConcurrency;
  const builtin = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process
    ?.getBuiltinModule;
  const os = builtin?.("node:os") as { availableParallelism(): number } | undefined;
  return Math.min(16, os?.availableParallelism() ?? nav ?? 1);
}

/** Threads need shared memory; browsers give it only to cross-origin isolated pages. */
export function canThread(): boolean {
  const isolated = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  return typeof SharedArrayBuffer !== "undefined" && isolated !== false;
}

/** Starts the engine; one that runs already is shut down first, and its tensors are lost. */
export function initSync(options: EngineOptions = {}): void {
  const threads = options.threads ?? coreCount();
  if (!Number.isInteger(threads) || threads < 1 || threads > 64) {
    throw new LacunaError({
      about: "threads",
      expected: "a whole number from 1 to 64",
      got: String(options.threads),
      hint: "Leave it out to use every core.",
    });
  }
  if (engine) shutdown();
  const shared = canThread();
  engine = {
    memory: new Memory({ shared, limit: options.memoryLimit }),
    threads: shared ? threads : 1,
    workerUrl: options.workerUrl,
    plain: new Map(),
    fused: new Map(),
    pool: null,
  };
}

/** Starts the engine; asynchronous because browsers need it so. */
export async function init(options: EngineOptions = {}): Promise<void> {
  initSync(options);
}

/** Stops the workers and drops the memory; every tensor of it is lost. */
export function shutdown(): void {
  engine?.pool?.stop();
  engine = null;
}

function running(): Engine {
  if (!engine) initSync();
  return engine as Engine;
}

function load(e: Engine, kernel: Kernel): Loaded {
  const cache = fusing ? e.fused : e.plain;
  let loaded = cache.get(kernel);
  if (!loaded) {
    const bytes = kernel.emit({ shared: e.memory.shared, fused: fusing });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory: e.memory.wasm } });
    const fns = instance.exports as unknown as Record<string, (...args: number[]) => number>;
    const index = Object.fromEntries(Object.keys(fns).map((name, i) => [name, i]));
    loaded = { id: ++loads, fns, index, bytes, bytesPtr: 0 };
    cache.set(kernel, loaded);
  }
  return loaded;
}

/** The engine's memory. Addresses are only good until `shutdown` or another `init`. */
export const memory = {
  alloc: (bytes: number): number => running().memory.alloc(bytes),
  free: (ptr: number): void => running().memory.free(ptr),
  f32: (ptr: number, count: number) => running().memory.f32(ptr, count),
  f64: (ptr: number, count: number) => running().memory.f64(ptr, count),
  i32: (ptr: number, count: number) => running().memory.i32(ptr, count),
  u16: (ptr: number, count: number) => running().memory.u16(ptr, count),
  u8: (ptr: number, count: number) => running().memory.u8(ptr, count),
  get live(): number {
    return running().memory.live;
  },
  get peak(): number {
    return running().memory.peak;
  },
  get limit(): number {
    return running().memory.limit;
  },
  get reserved(): number {
    return running().memory.reserved;
  },
  resetPeak: (): void => running().memory.resetPeak(),
} as const;

export const threads = (): number => running().threads;

/** Runs one function of a kernel on this thread. */
export function call(kernel: Kernel, fn: string, ...args: number[]): number {
  return load(running(), kernel).fns[fn](...args);
}

/**
 * The call `call(kernel, fn, ...args)` with everything settled now: kernel, fusion, arguments. For code that makes the
 * same calls again and again; good until `shutdown` or another `init`.
 */
export function bound(kernel: Kernel, fn: string, ...args: number[]): () => void {
  return load(running(), kernel).fns[fn].bind(null, ...args);
}

/**
 * Runs `fn(...args, from, to)` over [0, total), split at multiples of `grain`. With no more than one grain, or one
 * thread, it is a plain call.
 */
export function parallel(kernel: Kernel, fn: string, args: readonly number[], total: number, grain: number): void {
  if (total <= 0) return;
  const e = running();
  const loaded = load(e, kernel);
  if (e.threads === 1 || total <= grain) {
    loaded.fns[fn](...args, 0, total);
    return;
  }
  e.pool ??= new Pool(e.memory, e.threads - 1, e.workerUrl);
  if (loaded.bytesPtr === 0) {
    loaded.bytesPtr = e.memory.alloc(loaded.bytes.length);
    e.memory.u8(loaded.bytesPtr, loaded.bytes.length).set(loaded.bytes);
  }
  // Four chunks a thread even out uneven speeds without making the counter hot.
  const chunk = grain * Math.max(1, Math.ceil(total / grain / (4 * e.threads)));
  e.pool.run({
    kernelId: loaded.id,
    bytesPtr: loaded.bytesPtr,
    bytesLength: loaded.bytes.length,
    functionIndex: loaded.index[fn],
    fn: loaded.fns[fn],
    args,
    total,
    chunk,
  });
}

/** Lends `bytes` bytes for the time of `body`. */
export function scratch<R>(bytes: number, body: (ptr: number) => R): R {
  const { memory: m } = running();
  const ptr = m.alloc(bytes);
  try {
    return body(ptr);
  } finally {
    m.free(ptr);
  }
}

/** Inside, kernels may use fused multiply-add where the machine has it: for generation and timing, never for results. */
export function fusion<R>(on: boolean, body: () => R): R {
  const before = fusing;
  fusing = on && hasRelaxedSimd();
  try {
    return body();
  } finally {
    fusing = before;
  }
}

/** A number that changes whenever the memory is replaced, so that caches of addresses can notice. */
export const generation = (): Memory => running().memory;

/** Whether that memory is still the engine's. Starts nothing. */
export const isCurrent = (g: Memory): boolean => engine?.memory === g;
