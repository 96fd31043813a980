/**
 * One token through the blocks, by address, in buffers that are allocated once: the arithmetic of `blockForward` in
 * models/llama/block.ts, call for call, and the same bits (runner.test.ts).
 *
 * Why a second writing: five blocks of width 192 take 208 us the general way, of which 157 us are dense products and
 * at least 30 us tensors, scopes and closures; a sparse step's products take a third of that, and the overhead stays.
 * Everything but a single token goes the general way.
 */
import { call, memory } from "../core/engine.ts";
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

const align = (bytes: number): number => 64 * Math.ceil(bytes / 64);

export class Stepper {
  readonly #model: RunModel;
  readonly #cache: KvCache;
  readonly #base: number;
  readonly #at: Buffers;
  readonly bytes: number;

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
  }

  /** Logits [V] of the token after `id`, which stands at `position`; a view that is good until the next allocation. */
  run(id: number, position: number): Float32Array {
    const { config, embed, blocks, norm, head } = this.#model;
    const { x, h, rstd, position: positions, logits } = this.#at;
    const D = config.width;
    memory.i32(positions, 1)[0] = position;
    if (embed.dtype === "f32") {
      memory.i32(this.#at.id, 1)[0] = id;
      call(pointwise, "gatherRows", embed.ptr, this.#at.id, x, D, 0, 1);
    } else call(convert, embed.dtype === "bf16" ? "bf16ToF32" : "f16ToF32", embed.ptr + 2 * id * D, x, 0, D);
    for (let layer = 0; layer < blocks.length; layer++) this.#block(blocks[layer], layer, position);
    call(rmsnorm, "forward", x, norm.ptr, h, rstd, D, config.normEps, 0, 1);
    head.forward(h, 1, logits);
    return memory.f32(logits, config.vocabSize);
  }

  #block({ linears, inputNorm, postNorm }: RunBlock, layer: number, position: number): void {
    const { config, tables } = this.#model;
    const { x, h, q, k, v, mixed, delta, gate, up, rstd, position: positions, room } = this.#at;
    const { width: D, feedForward: F, heads, kvHeads, headWidth: E, normEps } = config;
    const cos = tables.cos.ptr;
    const sin = tables.sin.ptr;
    call(rmsnorm, "forward", x, inputNorm.ptr, h, rstd, D, normEps, 0, 1);
    linears.q_proj.forward(h, 1, q);
    linears.k_proj.forward(h, 1, k);
    linears.v_proj.forward(h, 1, v);
    call(ropeKernel, "apply", q, q, cos, sin, positions, heads, E, 0, 1);
    call(ropeKernel, "apply", k, k, cos, sin, positions, kvHeads, E, 0, 1);
    this.#cache.attendOne(layer, position, q, k, v, mixed, room);
    linears.o_proj.forward(mixed, 1, delta);
    call(pointwise, "add", x, delta, x, 0, D);
    call(rmsnorm, "forward", x, postNorm.ptr, h, rstd, D, normEps, 0, 1);
    linears.gate_proj.forward(h, 1, gate);
    linears.up_proj.forward(h, 1, up);
    call(pointwise, "siluGate", gate, up, gate, 0, F);
    linears.down_proj.forward(gate, 1, delta);
    call(pointwise, "add", x, delta, x, 0, D);
  }

  dispose(): void {
    memory.free(this.#base);
  }
}
