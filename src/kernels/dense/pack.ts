/**
 * Packing of a matrix into panels for the dense product: `[panel][k][width]` f32, the tail panel padded with zeros.
 *
 * The left factor goes in panels of 4 rows, the right one in panels of 8 columns, and both in any stride form: element
 * (i, kk) of the operand lies at `i * stride + kk * kStride`, so that a transposed operand needs no copy of its own.
 * Layout after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008).
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { type Expr, f32, forRange, i32, ModuleBuilder, type Stmt, seq, v128, when, whileLoop } from "../wasm/asm.ts";
import { bytesOf, decodeAll, type ElementType, encode, loadFour, loadOne, shiftOf } from "./element.ts";

const { add, mul, shl, lt, le, eq, sub } = i32;
const n = i32.const;

function emitPack(m: ModuleBuilder, type: ElementType, width: 4 | 8): void {
  const size = bytesOf(type);
  const bytes = (count: Expr<"i32">): Expr<"i32"> => shl(count, n(shiftOf(type)));
  const params = {
    source: "i32",
    stride: "i32",
    kStride: "i32",
    count: "i32",
    k: "i32",
    packed: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func(`panels${width}`, params, ({ p, local, locals }) => {
    const [panel, s, d, at, left, kk, lane, sd] = locals("i32", 8);
    const rows = locals("i32", 4);
    const [a0, a1, a2, a3, t0, t1, t2, t3] = locals("v128", 8);
    const value = local("f32");

    /** Four rows by four k, transposed into lanes `first` to `first + 3` of four steps of the panel. */
    const transpose = (first: number): Stmt =>
      seq(
        ...[a0, a1, a2, a3].map((a, r) => a.set(loadFour(type, rows[r]))),
        t0.set(v128.shuffle32(a0, a1, [0, 4, 1, 5])),
        t1.set(v128.shuffle32(a2, a3, [0, 4, 1, 5])),
        t2.set(v128.shuffle32(a0, a1, [2, 6, 3, 7])),
        t3.set(v128.shuffle32(a2, a3, [2, 6, 3, 7])),
        v128.store(at, v128.shuffle32(t0, t1, [0, 1, 4, 5]), first * 4),
        v128.store(at, v128.shuffle32(t0, t1, [2, 3, 6, 7]), first * 4 + width * 4),
        v128.store(at, v128.shuffle32(t2, t3, [0, 1, 4, 5]), first * 4 + width * 8),
        v128.store(at, v128.shuffle32(t2, t3, [2, 3, 6, 7]), first * 4 + width * 12),
      );

    /** Lanes one by one, from step `kk0` on; what lies beyond the operand is zero. */
    const byLane = (kk0: Expr<"i32">): Stmt =>
      forRange(
        lane,
        n(0),
        n(width),
        1,
        at.set(add(d, add(shl(lane, n(2)), mul(kk0, n(width * 4))))),
        sd.set(add(s, bytes(add(mul(lane, p.stride), mul(kk0, p.kStride))))),
        forRange(
          kk,
          kk0,
          p.k,
          1,
          value.set(f32.const(0)),
          when(lt(lane, left), value.set(loadOne(type, sd))),
          f32.store(at, value),
          sd.set(add(sd, bytes(p.kStride))),
          at.set(add(at, n(width * 4))),
        ),
      );

    const alongK = seq(
      ...Array.from({ length: width / 4 }, (_, group) =>
        seq(
          at.set(d),
          rows[0].set(add(s, bytes(mul(p.stride, n(4 * group))))),
          ...[1, 2, 3].map((r) => rows[r].set(add(rows[r - 1], bytes(p.stride)))),
          kk.set(n(4)),
          whileLoop(
            le(kk, p.k),
            transpose(4 * group),
            ...rows.map((row) => row.set(add(row, n(4 * size)))),
            at.set(add(at, n(width * 16))),
            kk.set(add(kk, n(4))),
          ),
        ),
      ),
      byLane(i32.and(p.k, n(-4))),
    );

    const acrossPanel = seq(
      at.set(d),
      sd.set(s),
      forRange(
        kk,
        n(0),
        p.k,
        1,
        ...Array.from({ length: width / 4 }, (_, v) => v128.store(at, loadFour(type, sd, v * 4 * size), v * 16)),
        at.set(add(at, n(width * 4))),
        sd.set(add(sd, bytes(p.kStride))),
      ),
    );

    return forRange(
      panel,
      p.from,
      p.to,
      1,
      left.set(sub(p.count, mul(panel, n(width)))),
      s.set(add(p.source, bytes(mul(mul(panel, n(width)), p.stride)))),
      d.set(add(p.packed, mul(mul(panel, p.k), n(width * 4)))),
      when(
        i32.ge(left, n(width)),
        when(eq(p.kStride, n(1)), alongK, when(eq(p.stride, n(1)), acrossPanel, byLane(n(0)))),
        byLane(n(0)),
      ),
    );
  });
}

/**
 * Plain twin: `values` holds element (i, kk) at `i * stride + kk * kStride`; gives `[panel][k][width]`.
 */
export function packPanels(
  values: ArrayLike<number>,
  stride: number,
  kStride: number,
  count: number,
  k: number,
  width: number,
): Float32Array {
  const packed = new Float32Array(Math.ceil(count / width) * width * k);
  for (let i = 0; i < count; i++) {
    const panel = Math.floor(i / width);
    for (let kk = 0; kk < k; kk++) packed[(panel * k + kk) * width + (i % width)] = values[i * stride + kk * kStride];
  }
  return packed;
}

/** The stride forms: k contiguous, panel contiguous, neither. */
function drawStrides(draw: Draw, count: number, k: number): { stride: number; kStride: number; length: number } {
  const form = draw.int(0, 2);
  const gap = draw.int(0, 3);
  const step = form === 2 ? 2 : 1;
  const [stride, kStride] = form === 0 ? [k + gap, 1] : [step, count * step + gap];
  const length = count === 0 || k === 0 ? 0 : (count - 1) * stride + (k - 1) * kStride + 1;
  return { stride, kStride, length };
}

function trialOf(type: ElementType, width: 4 | 8) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const count = draw.int(0, 21);
    const k = draw.int(0, 13);
    const { stride, kStride, length } = drawStrides(draw, count, k);
    const stored = encode(type, draw.floats(length));
    const source = box.put(stored);
    const want = packPanels(decodeAll(type, stored), stride, kStride, count, k, width);
    const packed = box.room(want.byteLength);
    const panels = Math.ceil(count / width);
    const middle = draw.int(0, panels);
    box.call(`panels${width}`, source, stride, kStride, count, k, packed, 0, middle);
    box.call(`panels${width}`, source, stride, kStride, count, k, packed, middle, panels);
    // Moving bits and widening are exact.
    return [{ what: `panels of ${width}`, got: box.f32(packed, want.length), want, tolerance: 0 }];
  };
}

const params = ["source", "stride", "kStride", "count", "k", "packed", "from", "to"];

function packKernel(type: ElementType): Kernel {
  const does = (width: number): string =>
    `packs count lines of k ${type} elements into panels of ${width} lines, [panel][k][${width}] f32, zeros beyond ` +
    "count; strides in elements; from, to: panels";
  return {
    name: `pack-${type}`,
    family: "dense",
    summary: `Packs a ${type} matrix of any strides into f32 panels for the dense product`,
    functions: {
      panels4: { params, does: does(4) },
      panels8: { params, does: does(8) },
    },
    emit({ shared }) {
      const m = new ModuleBuilder({ shared });
      emitPack(m, type, 4);
      emitPack(m, type, 8);
      return m.bytes();
    },
    trials: [
      { name: "panels of 4", run: trialOf(type, 4) },
      { name: "panels of 8", run: trialOf(type, 8) },
    ],
  };
}

export const packF32 = packKernel("f32");
export const packBf16 = packKernel("bf16");
export const packF16 = packKernel("f16");
