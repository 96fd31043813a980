/**
 * What a kernel is: a named module of functions over raw memory, its plain twin, and trials that compare them.
 *
 * A kernel knows pointers and counts, never tensors, threads or allocation. Functions that can be split end with
 * the parameters `from` and `to` (a half-open range of independent units); whatever splits the range, the bits of
 * the result are the same. Pointers are byte addresses; shapes are in elements.
 *
 * Name grammar: `<operation>-<element type>[-<layout>][-<tile>]`, e.g. `gemm-f32-4x8`, `spmm-f32-block4x1-c8`: how values
 * are stored, how their matrix is laid out, and what one step of the inner loop covers (`4x8` outputs, `c8` columns).
 */

export interface EmitOptions {
  /** import shared memory */
  readonly shared: boolean;
  /** use relaxed multiply-add where the kernel has a multiply-add */
  readonly fused: boolean;
}

/** One exported function, documented. */
export interface KernelFunction {
  /** parameter names in order; the last two are `from`, `to` where the work can be split */
  readonly params: readonly string[];
  readonly does: string;
}

export interface Kernel {
  readonly name: string;
  /** the folder of the concept: dense, pointwise, norm, attention, sparse, loss, optimiser, recurrent, graph, ... */
  readonly family: string;
  readonly summary: string;
  readonly functions: Readonly<Record<string, KernelFunction>>;
  emit(options: EmitOptions): Uint8Array<ArrayBuffer>;
  /** each draws a case, runs kernel and twin, and returns what must agree */
  readonly trials: readonly Trial[];
  /** how it became fast; made when asked for, since it draws operands */
  readonly ladder?: () => Ladder;
}

/** The steps from the plain twin to the kernel on one example, which a test compares and the bench times. */
export interface Ladder {
  /** the example: shape and density */
  readonly example: string;
  /** operations of one call: two for each multiply-add of a weight that is not zero */
  readonly operations: number;
  /** computes the example with the plain twin */
  twin(): ArrayLike<number>;
  /** largest allowed error of a value of the example */
  readonly tolerance: number;
  /** from the first attempt to the kernel as it is */
  readonly rungs: readonly Rung[];
}

export interface Rung {
  /** what was done, in a few words */
  readonly step: string;
  emit(options: EmitOptions): Uint8Array<ArrayBuffer>;
  /** puts the operands into memory; `args` is one call of `fn`, which leaves `count` values at `result` */
  arrange(box: Sandbox): { fn: string; args: readonly number[]; result: number; count: number };
}

export interface Trial {
  readonly name: string;
  run(draw: Draw, box: Sandbox): readonly Comparison[];
}

export interface Comparison {
  readonly what: string;
  readonly got: ArrayLike<number>;
  readonly want: ArrayLike<number>;
  /** largest allowed |got - want|, element by element; say beside it why this size */
  readonly tolerance: number | ArrayLike<number>;
}

/** Source of a trial's sizes and values; in tests fast-check stands behind it, so failures shrink. */
export interface Draw {
  /** an integer in [low, high] */
  int(low: number, high: number): number;
  /** values of about unit size times `scale`, some of them exact zeros */
  floats(count: number, scale?: number): Float32Array;
}

/** A memory and one kernel instance to try things in. */
export interface Sandbox {
  /** copies the array into memory at a 64-byte boundary and returns its address */
  put(values: Float32Array | Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array | Int8Array): number;
  /** zeroed room */
  room(bytes: number): number;
  f32(pointer: number, count: number): Float32Array;
  f64(pointer: number, count: number): Float64Array;
  i32(pointer: number, count: number): Int32Array;
  u16(pointer: number, count: number): Uint16Array;
  u8(pointer: number, count: number): Uint8Array;
  call(fn: string, ...args: number[]): number;
}
