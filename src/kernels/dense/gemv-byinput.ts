/**
 * y[out] = W x over the inputs that are listed, from weights stored input by input: the work of a vector most of whose
 * entries are zero. Which inputs those are is for `compact-f32` or the caller to say; the list is in any order.
 *
 * Inputs are taken eight at a time, each a stream of memory, over y in a buffer of sums; what is left over four at a
 * time, then one by one. Ladder, one thread, f32, 2048 x 5504, weights not in any cache, G weights/s at 50 / 90 % zeros:
 * one input at a time 2.2 / 1.8; four 4.4 / 5.1; eight by four vectors 5.3 / 5.3; eight by two vectors 4.8 / 5.2; with the
 * inputs' splats in registers and a pointer each 4.9 / 5.5 (in the first caches 14.7, where the others reach 10);
 * sixteen 4.9 / 6.2, but 8 in the first caches. The panels of `gemv-<type>-panel32` cannot be skipped through: jumps of
 * 128 bytes defeat the prefetcher.
 *
 * Sums run in the order of the list from +0: with a rising list, the bits of `gemv-<type>-panel32` on the whole vector.
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import { storeLanes } from "../sparse/panels.ts";
import {
  brIf,
  type Expr,
  forRange,
  i32,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { addPack, OUTPUTS, ordered, outputBlocks, packFunction, packPlain, splatInput } from "./by-output.ts";
import { bytesOf, decodeAll, type ElementType, encode, loadEightRaw, shiftOf } from "./element.ts";
import { product, sumTolerance } from "./twin.ts";

const { add, mul, shl, sub } = i32;
const n = i32.const;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Inputs taken together, most first. */
const TOGETHER = [8, 4, 1] as const;
/** Vectors of sums in a step. */
const VECTORS = 2;

function emitActive(m: ModuleBuilder, type: ElementType, fused: boolean): void {
  const size = bytesOf(type);
  const params = {
    w: "i32",
    list: "i32",
    values: "i32",
    count: "i32",
    sums: "i32",
    y: "i32",
    out: "i32",
    from: "i32",
    to: "i32",
  } as const;
  m.func("active", params, ({ p, locals }) => {
    const [i, at, start, end, rowBytes, offset, left, target] = locals("i32", 8);
    const rows = locals("i32", TOGETHER[0]);
    const acc = locals("v128", VECTORS);
    const splats = locals("v128", TOGETHER[0]);
    const [low, high] = locals("v128", 2);
    const clear = forRange(at, start, end, 16, v128.store(at, v128.const32(0, 0, 0, 0)));
    const pass = (count: number): Stmt => {
      const again = label("columns");
      const used = rows.slice(0, count);
      return seq(
        ...used.map((row, r) =>
          row.set(add(add(p.w, offset), mul(i32.load(add(p.list, shl(i, n(2))), 4 * r), rowBytes))),
        ),
        ...used.map((_, r) => splats[r].set(splatInput(type, add(p.values, shl(i, n(2))), 4 * r))),
        at.set(start),
        loop(
          again,
          ...acc.map((a, v) => a.set(v128.load(at, 16 * v))),
          ...used.flatMap((row, r) => [
            ...range(VECTORS / 2).flatMap((v) => [
              loadEightRaw(type, row, 8 * v * size, low, high),
              acc[2 * v].set(madd(fused, low, splats[r], acc[2 * v])),
              acc[2 * v + 1].set(madd(fused, high, splats[r], acc[2 * v + 1])),
            ]),
          ]),
          ...acc.map((a, v) => v128.store(at, a, 16 * v)),
          ...used.map((row) => row.set(add(row, n(4 * VECTORS * size)))),
          brIf(again, i32.ltu(at.tee(add(at, n(16 * VECTORS))), end)),
        ),
      );
    };
    const finish = (): Stmt => {
      const some = (v: number, value: Expr<"v128">): Stmt =>
        when(i32.gt(left, n(4 * v)), seq(low.set(value), storeLanes(add(target, n(16 * v)), low, sub(left, n(4 * v)))));
      return seq(
        target.set(add(p.y, shl(mul(p.from, n(OUTPUTS)), n(2)))),
        left.set(sub(p.out, mul(p.from, n(OUTPUTS)))),
        forRange(
          at,
          start,
          end,
          32,
          acc[0].set(v128.load(at)),
          acc[1].set(v128.load(at, 16)),
          ...ordered(type, acc[0], acc[1]).map((value, v) => some(v, value)),
          target.set(add(target, n(32))),
          left.set(sub(left, n(8))),
        ),
      );
    };
    return when(
      i32.lt(p.from, p.to),
      seq(
        rowBytes.set(shl(mul(i32.shrs(add(p.out, n(OUTPUTS - 1)), n(5)), n(OUTPUTS)), n(shiftOf(type)))),
        start.set(add(p.sums, shl(mul(p.from, n(OUTPUTS)), n(2)))),
        end.set(add(p.sums, shl(mul(p.to, n(OUTPUTS)), n(2)))),
        // the range's columns of a row
        offset.set(shl(mul(p.from, n(OUTPUTS)), n(shiftOf(type)))),
        clear,
        ...TOGETHER.map((count) => whileLoop(i32.le(add(i, n(count)), p.count), pass(count), i.set(add(i, n(count))))),
        finish(),
      ),
    );
  });
}

function trial(most: number, mostInputs: number) {
  return (type: ElementType) =>
    (draw: Draw, box: Sandbox): Comparison[] => {
      const out = draw.int(0, most);
      const width = draw.int(1, mostInputs);
      const ldw = width + draw.int(0, 3);
      const stored = encode(type, draw.floats(out * ldw));
      const lots = draw.floats(width, 1 / 1.7);
      const density = draw.int(0, 4) / 4;
      const list = Int32Array.from([...lots.keys()].filter((k) => Math.abs(lots[k]) < density));
      const x = draw.floats(list.length);
      const blocks = outputBlocks(out);
      const twin = packPlain(stored, ldw, out, width, "byinput");
      const packed = box.room(twin.byteLength);
      const given = [box.put(stored), ldw, out, width, packed];
      const cut = draw.int(0, blocks);
      box.call("pack", ...given, cut, blocks);
      box.call("pack", ...given, 0, cut);

      const [whole, split] = [box.room(4 * out), box.room(4 * out)];
      const sums = box.put(new Float32Array(blocks * OUTPUTS).fill(Number.NaN));
      const operands = [packed, box.put(list), box.put(x), list.length, sums];
      box.call("active", ...operands, whole, out, 0, blocks);
      box.call("active", ...operands, split, out, cut, blocks);
      box.call("active", ...operands, split, out, 0, cut);

      const weights = decodeAll(type, stored);
      const listed = new Float64Array(list.length * out);
      list.forEach((k, i) => {
        for (let o = 0; o < out; o++) listed[i * out + o] = weights[o * ldw + k];
      });
      const want = product(x, listed, 1, out, list.length);
      const got = box.f32(whole, out);
      const copy = type === "f32" ? box.f32(packed, twin.length) : box.u16(packed, twin.length);
      return [
        { what: "pack", got: copy, want: twin, tolerance: 0 },
        { what: "active", got, want: want.sums, tolerance: sumTolerance(list.length, want.sizes) },
        { what: "split by outputs", got: box.f32(split, out), want: got, tolerance: 0 },
      ];
    };
}

const trials = [
  { name: "small shapes", of: trial(70, 12) },
  { name: "many inputs", of: trial(40, 150) },
];

const byInput = (type: ElementType): Kernel => ({
  name: `gemv-${type}-byinput`,
  family: "dense",
  summary: `y = W x over listed inputs, W ${type} stored input by input`,
  functions: {
    pack: packFunction(type, "byinput"),
    active: {
      params: ["w", "list", "values", "count", "sums", "y", "out", "from", "to"],
      does:
        "y[out] = the sum over i < count of values[i] · W[:, list[i]], W as pack left it; list i32, values f32; sums is room " +
        "for f32 [out rounded up to 32]; from, to: blocks of 32 outputs",
    },
  },
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    addPack(m, type, "byinput");
    emitActive(m, type, fused);
    return m.bytes();
  },
  trials: trials.map(({ name, of }) => ({ name, run: of(type) })),
});

export const gemvByInputF32 = byInput("f32");
export const gemvByInputBf16 = byInput("bf16");
export const gemvByInputF16 = byInput("f16");
