/**
 * A pool of workers over one shared memory: fork, take chunks by counter, join.
 *
 * The caller's thread works too. Chunks are taken in any order; kernels promise that this does not change a bit.
 * Without shared memory or workers there is no pool, and the engine runs on one thread.
 */
import type { Memory } from "../memory.ts";
import * as w from "./words.ts";
import { workerSource } from "./worker-source.ts";

export interface Job {
  readonly kernelId: number;
  /** where the module's bytes lie in the shared memory */
  readonly bytesPtr: number;
  readonly bytesLength: number;
  readonly functionIndex: number;
  readonly fn: (...args: number[]) => unknown;
  readonly args: readonly number[];
  readonly total: number;
  readonly chunk: number;
}

interface Stoppable {
  terminate(): unknown;
}

/** The part of `node:worker_threads` that is needed; found without an import so that browsers can load this file. */
interface NodeWorkerThreads {
  Worker: new (
    source: string,
    options: { eval: true; workerData: unknown; execArgv: string[]; stdout: boolean },
  ) => Stoppable & { unref(): void };
}

function startWorker(memory: WebAssembly.Memory, workerUrl: string | undefined): Stoppable {
  const builtin = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process
    ?.getBuiltinModule;
  if (builtin) {
    const { Worker } = builtin("node:worker_threads") as NodeWorkerThreads;
    const worker = new Worker(workerSource(), { eval: true, workerData: { memory }, execArgv: [], stdout: false });
    worker.unref();
    return worker;
  }
  const url = workerUrl ?? URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
  const worker = new globalThis.Worker(url);
  worker.postMessage({ memory });
  return worker;
}

export class Pool {
  readonly #workers: Stoppable[];
  readonly #control: Int32Array;
  readonly #arguments: Float64Array;
  #epoch = 0;

  constructor(memory: Memory, workers: number, workerUrl?: string) {
    this.#control = memory.i32(w.CONTROL, w.CONTROL_WORDS);
    this.#arguments = memory.f64(w.ARGUMENTS, w.MAX_ARGUMENTS);
    this.#control.fill(0);
    this.#workers = Array.from({ length: workers }, () => startWorker(memory.wasm, workerUrl));
  }

  get workers(): number {
    return this.#workers.length;
  }

  /** Runs the job on all threads and returns when every chunk is done. Throws when a worker trapped. */
  run(job: Job): void {
    const c = this.#control;
    if (job.args.length > w.MAX_ARGUMENTS)
      throw new Error(`pool: ${job.args.length} arguments, at most ${w.MAX_ARGUMENTS}`);
    c[w.KERNEL_ID] = job.kernelId;
    c[w.KERNEL_PTR] = job.bytesPtr;
    c[w.KERNEL_BYTES] = job.bytesLength;
    c[w.FUNCTION] = job.functionIndex;
    c[w.TOTAL] = job.total;
    c[w.CHUNK] = job.chunk;
    c[w.ARGUMENT_COUNT] = job.args.length;
    for (let i = 0; i < job.args.length; i++) this.#arguments[i] = job.args[i];
    Atomics.store(c, w.ERROR, 0);
    Atomics.store(c, w.NEXT, 0);
    this.#epoch = (this.#epoch + 1) & 0x3fffffff || 1;
    Atomics.store(c, w.OPEN, this.#epoch);
    Atomics.store(c, w.EPOCH, this.#epoch);
    if (Atomics.load(c, w.SLEEPERS) > 0) Atomics.notify(c, w.EPOCH);
    try {
      for (;;) {
        const from = Atomics.add(c, w.NEXT, job.chunk);
        if (from >= job.total) break;
        job.fn(...job.args, from, Math.min(job.total, from + job.chunk));
      }
    } finally {
      Atomics.store(c, w.OPEN, 0);
      let turns = 0;
      for (;;) {
        const active = Atomics.load(c, w.ACTIVE);
        if (active === 0) break;
        if (++turns > w.SPIN_TURNS) Atomics.wait(c, w.ACTIVE, active, 5);
      }
    }
    if (Atomics.load(c, w.ERROR) !== 0)
      throw new Error(`a worker trapped in kernel ${job.kernelId}, function ${job.functionIndex}`);
  }

  stop(): void {
    for (const worker of this.#workers) worker.terminate();
  }
}
