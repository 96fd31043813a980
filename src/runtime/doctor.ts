/**
 * Facts about this machine and what follows from them for Lacuna (`lacuna doctor`). Node only.
 *
 * Read bandwidth is measured with the kernel `reduce-f32`.`sumRows` on rows of 16 columns and one thread, which loads and
 * adds and nothing else, over memory that was written first: memory never written reads as one shared page and looks faster
 * than it is.
 */
import { freemem } from "node:os";
import { call, canThread, memory, threads } from "../core/engine.ts";
import { cacheFolder } from "../formats/cache.node.ts";
import { reduce } from "../kernels/pointwise/index.ts";
import { hasRelaxedSimd, hasSimd, hasThreads } from "../kernels/probe.ts";
import { type Provenance, profileKey, provenance } from "./machine.node.ts";
import { profilePath, readProfile } from "./profile-cache.node.ts";
import { interleave, type Spread, spread } from "./timing.ts";

export interface Bandwidth {
  /** MiB that were read; less than asked for where memory is short */
  readonly mebibytes: number;
  /** GB/s (1e9 bytes) of one thread */
  readonly gigabytesPerSecond: Spread;
  readonly kernel: string;
}

export interface DoctorRecord {
  readonly kind: "doctor";
  readonly version: 1;
  readonly provenance: Provenance;
  /** fixed-width 128-bit SIMD, which every kernel needs */
  readonly simd: boolean;
  /** fused multiply-add, used for generation and timing only */
  readonly relaxedSimd: boolean;
  readonly sharedMemory: boolean;
  /** threads the engine computes with, and cores there are */
  readonly threads: number;
  readonly cores: number;
  readonly memory: {
    /** most bytes the engine may take */
    readonly engineLimit: number;
    readonly engineReserved: number;
    readonly systemFree: number;
    readonly systemTotal: number;
  };
  /** from memory beyond every cache, and from a piece that stays in the second-level cache; null without SIMD */
  readonly bandwidth: { readonly far: Bandwidth; readonly near: Bandwidth } | null;
  readonly profile: { readonly path: string; readonly shapes: number };
  /** sentences */
  readonly follows: readonly string[];
}

export interface DoctorOptions {
  /** MiB for the far measurement; default 128 */
  readonly mebibytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly folder?: string;
}

const MEBI = 2 ** 20;
/** One line of cache a row, and four sums that stay in registers. */
const COLUMNS = 16;

/** Reads `mebibytes` again and again with one thread. */
export async function readBandwidth(mebibytes: number, signal?: AbortSignal): Promise<Bandwidth> {
  const rows = Math.floor((mebibytes * MEBI) / (4 * COLUMNS));
  const elements = rows * COLUMNS;
  const data = memory.alloc(4 * elements);
  const sums = memory.alloc(4 * COLUMNS);
  try {
    memory.f32(data, elements).fill(0.5);
    const run = (): void => void call(reduce, "sumRows", data, sums, rows, COLUMNS, 0, COLUMNS / 4);
    const t = await interleave([{ name: "read", run }], { rounds: 9, slice: 20, warmUp: 20, signal });
    const rate = (ms: number): number => (4 * elements) / (ms * 1e6);
    return {
      mebibytes,
      gigabytesPerSecond: spread(t.variants[0].times.map(rate)),
      kernel: "reduce-f32 sumRows",
    };
  } finally {
    memory.free(sums);
    memory.free(data);
  }
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const gigabytes = (s: Spread): string => `${s.median.toFixed(0)} GB/s`;

type Facts = Omit<DoctorRecord, "follows">;

/** What the facts mean, in sentences. */
export function conclusions(f: Facts): string[] {
  const said: string[] = [];
  if (!f.simd || !f.bandwidth) {
    said.push("This engine has no WebAssembly SIMD: nothing of Lacuna runs here. Use Node 20.20 or later.");
    return said;
  }
  said.push(
    f.relaxedSimd
      ? "Fused multiply-add is there: generation and timing use it; evaluation, pruning and training do not, so their results are the same everywhere."
      : "No fused multiply-add in this engine (Node 22 and later have it): kernels reach about four fifths of the speed they have with it.",
  );
  if (!f.sharedMemory) said.push("No shared memory: everything runs on one thread.");
  else if (f.threads === 1) said.push("The engine uses one thread.");
  else
    said.push(
      `${f.threads} threads share the work of prefill, evaluation, pruning and training; decode of a small model runs on one, which is faster.`,
    );
  if (f.threads > f.cores) said.push(`There are only ${f.cores} cores: ${f.threads} threads will wait for each other.`);
  const { far, near } = f.bandwidth;
  const rate = far.gigabytesPerSecond.median;
  said.push(
    `One thread reads memory at ${gigabytes(far.gigabytesPerSecond)} and the second-level cache at ${gigabytes(near.gigabytesPerSecond)}: with a billion weights in BF16, beyond the caches, it decodes at most ${(rate / 2).toFixed(1)} tokens a second, and more only with fewer bytes, which is what sparsity gives.`,
  );
  const room = Math.min(f.memory.engineLimit, f.memory.systemFree);
  said.push(
    `A model of up to about ${gib(0.8 * room)} of weights can be held to generate (${room === f.memory.engineLimit ? "limit of 32-bit WebAssembly memory" : "free memory"}); evaluation and pruning go block by block and need far less.`,
  );
  if (f.memory.systemFree < MEBI * 1024) said.push("Less than 1 GiB of memory is free: expect swapping.");
  said.push(
    f.profile.shapes > 0
      ? `The machine profile knows ${f.profile.shapes} layer shapes.`
      : "The machine profile is empty; `lacuna forecast <model>` fills it.",
  );
  return said;
}

export async function doctor(options: DoctorOptions = {}): Promise<DoctorRecord> {
  const made = provenance();
  const simd = hasSimd();
  const folder = options.folder ?? cacheFolder();
  const key = profileKey(made);
  const profile = await readProfile(key, folder);
  const free = freemem();
  const asked = options.mebibytes ?? 128;
  const far = Math.max(1, Math.min(asked, Math.floor(Math.min(free / 4, memory.limit - memory.live) / MEBI) - 1));
  const facts: Facts = {
    kind: "doctor",
    version: 1,
    provenance: made,
    simd,
    relaxedSimd: hasRelaxedSimd(),
    sharedMemory: canThread() && hasThreads(),
    threads: threads(),
    cores: made.machine.cores,
    memory: {
      engineLimit: memory.limit,
      engineReserved: memory.reserved,
      systemFree: free,
      systemTotal: made.machine.memoryBytes,
    },
    bandwidth: simd
      ? {
          far: await readBandwidth(far, options.signal),
          near: await readBandwidth(Math.min(0.5, far), options.signal),
        }
      : null,
    profile: { path: profilePath(key, folder), shapes: Object.keys(profile.cells).length },
  };
  return { ...facts, follows: conclusions(facts) };
}
