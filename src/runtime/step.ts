/**
 * One token through the blocks, by address, in buffers that are allocated once: the arithmetic of `blockForward` in
 * models/llama/block.ts, call for call, and the same bits (runner.test.ts).
 *
 * Why a second writing: in small models tensors, scopes and closures take as long as a good part of a sparse step's
 * products the general way. Here all calls but attention's, whose length changes, are settled
 * when the model is loaded. Everything but a single token goes the general way.
 */
import { bound, call, memory } from "../core/engine.ts";
import { decodeScratchBytes, ropeKernel } from "../kernels/attention/index.ts";
import { convert } from "../kernels/convert/index.ts";
import { rmsnorm } from "../kernels/norm/index.ts";
import { pointwise } from "../kernels/pointwise/index.ts";
import type { KvCache } from "./cache.ts";
import type { RunBlock, RunModel } from "./prefill.ts";

/** One activation buffer each, addresses in engine memory. */
interface Buffers {
  readonly x: number;
  readonly h: number;
  readonly q: number;
  readonly k: number;
  readonly v: number;
  readonly mixed: number;
  readonly delta: number;
  readonly gate: number;
  readonly up: number;
  readonly rstd: number;
  /** i32: the token's position, its id */
  readonly position: number;
  readonly id: number;
  readonly logits: number;
  readonly room: number;
}

type Part = () => void;

/** The calls of a block on either side of attention. */
interface Bound {
  readonly before: readonly Part[];
  readonly after: readonly Part[];
}

const align = (bytes: number): number => 64 * Math.ceil(bytes / 64);

export class Stepper {
  readonly #model: RunModel;
  readonly #cache: KvCache;
  readonly #base: number;
  readonly #at: Buffers;
  readonly #blocks: readonly Bound[];
  readonly #last: readonly Part[];
  readonly bytes: number;

  /** Kernels fuse multiply-add, or not, as at the time of making; `run` must be called in the same way. */
  constructor(model: RunModel, cache: KvCache) {
    this.#model = model;
    this.#cache = cache;
    const { width: D, feedForward: F, heads: H, kvHeads: K, headWidth: E, vocabSize: V } = model.config;
    const sizes: Readonly<Record<keyof Buffers, number>> = {
      x: 4 * D,
      h: 4 * D,
      q: 4 * H * E,
      k: 4 * K * E,
      v: 4 * K * E,
      mixed: 4 * H * E,
      delta: 4 * D,
      gate: 4 * F,
      up: 4 * F,
      rstd: 4,
      position: 4,
      id: 4,
      logits: 4 * V,
      room: decodeScratchBytes(cache.capacity, H),
    };
    let bytes = 0;
    const offsets = Object.entries(sizes).map(([name, size]) => {
      const offset = bytes;
      bytes += align(size);
      return [name, offset] as const;
    });
    const base = memory.alloc(bytes);
    this.bytes = bytes;
    this.#base = base;
    this.#at = Object.fromEntries(offsets.map(([name, o]) => [name, base + o])) as unknown as Buffers;
    const { x, h, rstd, logits } = this.#at;
    this.#blocks = model.blocks.map((block) => this.#bindBlock(block));
    this.#last = [
      bound(rmsnorm, "forward", x, model.norm.ptr, h, rstd, D, model.config.normEps, 0, 1),
      model.head.bind(h, logits),
    ];
  }

  /** Logits [V] of the token after `id`, which stands at `position`; a view that is good until the next allocation. */
  run(id: number, position: number): Float32Array {
    const { config, embed } = this.#model;
    const { x, q, k, v, mixed, room, position: positions, logits } = this.#at;
    const D = config.width;
    memory.i32(positions, 1)[0] = position;
    if (embed.dtype === "f32") {
      memory.i32(this.#at.id, 1)[0] = id;
      call(pointwise, "gatherRows", embed.ptr, this.#at.id, x, D, 0, 1);
    } else call(convert, embed.dtype === "bf16" ? "bf16ToF32" : "f16ToF32", embed.ptr + 2 * id * D, x, 0, D);
    for (let layer = 0; layer < this.#blocks.length; layer++) {
      const { before, after } = this.#blocks[layer];
      for (const part of before) part();
      this.#cache.attendOne(layer, position, q, k, v, mixed, room);
      for (const part of after) part();
    }
    for (const part of this.#last) part();
    return memory.f32(logits, config.vocabSize);
  }

  #bindBlock({ linears, inputNorm, postNorm }: RunBlock): Bound {
    const { config, tables } = this.#model;
    const { x, h, q, k, v, mixed, delta, gate, up, rstd, position: positions } = this.#at;
    const { width: D, feedForward: F, heads, kvHeads, headWidth: E, normEps } = config;
    const rope = (y: number, count: number): Part =>
      bound(ropeKernel, "apply", y, y, tables.cos.ptr, tables.sin.ptr, positions, count, E, 0, 1);
    const norm = (weight: number): Part => bound(rmsnorm, "forward", x, weight, h, rstd, D, normEps, 0, 1);
    const residual = bound(pointwise, "add", x, delta, x, 0, D);
    return {
      before: [
        norm(inputNorm.ptr),
        linears.q_proj.bind(h, q),
        linears.k_proj.bind(h, k),
        linears.v_proj.bind(h, v),
        rope(q, heads),
        rope(k, kvHeads),
      ],
      after: [
        linears.o_proj.bind(mixed, delta),
        residual,
        norm(postNorm.ptr),
        linears.gate_proj.bind(h, gate),
        linears.up_proj.bind(h, up),
        bound(pointwise, "siluGate", gate, up, gate, 0, F),
        linears.down_proj.bind(gate, delta),
        residual,
      ],
    };
  }

  dispose(): void {
    memory.free(this.#base);
  }
}
