/**
 * y[out] = W x for sparse weights of 4 or 8 bits (sparse-stream.ts), through 16-bit integer products.
 *
 * `prepare` quantises the whole vector with one scale to at most 32767, since gathered activations of a run come from
 * everywhere; each stands twice in a 32-bit word, so that one load puts it into both halves of a pair. Sums of a run are
 * exact (128 · 32767 · 32 fits 32 bits); a run then adds scale · sum in f32.
 *
 * Gathering costs what it costs for f32, so that a weight within the first caches gains nothing; it is two fifths of
 * bf16's stream and less. 90 % zeros, blocks of four outputs, one thread, us for f32 / bf16 / f16 / int8 / int4:
 * 1024 x 1024 in the second cache 15 / 16 / 21 / 17 / 17; 2048 x 5504 in none 239 / 134 / 173 / 114 / 101.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import { add, at, c, type I32, min, names, storeLanes } from "../sparse/panels.ts";
import {
  block,
  brIf,
  type Expr,
  f32,
  f32x4,
  forRange,
  i16x8,
  i32,
  i32x4,
  type Local,
  label,
  loop,
  ModuleBuilder,
  type Stmt,
  select,
  v128,
  when,
} from "../wasm/asm.ts";
import { LEAST_INPUT } from "./gemv.ts";
import { padding, RUN, type SparseQuantType } from "./sparse-stream.ts";
import { spmvQuantTrials } from "./spmv-trials.ts";

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const zero = v128.const32(0, 0, 0, 0);
const TOP = 32767;
const HEAD = 16;

/** Bytes of a prepared vector. */
export const spmvPreparedBytes = (width: number): number => HEAD + 4 * width;

function emitPrepare(m: ModuleBuilder): void {
  m.func("prepare", { x: "i32", in: "i32", prepared: "i32" } as const, (f) => {
    const { x, prepared } = f.p;
    const k = f.local("i32");
    const [max, inverse] = f.locals("f32", 2);
    const code = f.local("i32");
    const small = f32.lt(max, f32.const(LEAST_INPUT));
    return [
      forRange(k, c(0), f.p.in, 1, max.set(f32.max(max, f32.abs(f32.load(at(x, k, 2)))))),
      inverse.set(select(f32.const(0), f32.div(f32.const(TOP), max), small)),
      f32.store(prepared, select(f32.const(0), f32.div(max, f32.const(TOP)), small)),
      forRange(
        k,
        c(0),
        f.p.in,
        1,
        code.set(i32.and(i32.truncSatF32(f32.nearest(f32.mul(f32.load(at(x, k, 2)), inverse))), c(0xffff))),
        i32.store(at(prepared, k, 2), i32.or(code, i32.shl(code, c(16))), HEAD),
      ),
    ];
  });
}

/** Signed nibble p of each 16-bit word. */
const nibble = (v: Expr<"v128">, p: number): Expr<"v128"> =>
  p === 3 ? i16x8.shrs(v, c(12)) : i16x8.shrs(i16x8.shl(v, c(12 - 4 * p)), c(12));

/** The even 16-bit lanes of a, the odd ones of b. */
const EVEN_ODD = range(4).flatMap((i) => [4 * i, 4 * i + 1, 16 + 4 * i + 2, 16 + 4 * i + 3]);

const OPERANDS = [
  "starts",
  "runs",
  "columns",
  "codes",
  "scales",
  "prepared",
  "y",
  "out",
  "cuts",
  "from",
  "to",
] as const;

function emitMultiply(m: ModuleBuilder, type: SparseQuantType, rows: 1 | 4): void {
  const entries = padding(rows);
  const codeBytes = (entries * rows * (type === "int8" ? 8 : 4)) / 8;
  m.func("multiply", names(OPERANDS), (f) => {
    const { starts, runs, columns, codes, scales, prepared, y, out, cuts, from, to } = f.p;
    const [u, last, index, end, runEnd, code, scale, target] = f.locals("i32", 8);
    const [acc, total, xs, other, words] = f.locals("v128", 5);
    const done = label("unit");
    const again = label("entries");
    const nextRun = label("run");
    const perGroup = 4 / rows;
    const xAt = (q: number): I32 => at(prepared, i32.load16u(index, 2 * q), 2);
    const sum = (weights: Expr<"v128">): Stmt => acc.set(i32x4.add(acc, i32x4.dotI16x8(weights, xs)));
    /** the activations of entries q and q + 1 in each 32-bit lane */
    const pair = (q: number): Stmt =>
      xs.set(v128.shuffle(v128.load32splat(xAt(q), HEAD), v128.load32splat(xAt(q + 1), HEAD), EVEN_ODD));
    /** those of eight entries from q on, one a 16-bit lane */
    const eight = (q: number): Stmt[] => [
      xs.set(v128.load32zero(xAt(q), HEAD)),
      ...range(7).map((i) => xs.set(v128.load16lane(xAt(q + i + 1), xs, i + 1, HEAD))),
    ];
    const step: Stmt[] =
      rows === 4
        ? type === "int8"
          ? range(entries / 2).flatMap((i) => [pair(2 * i), sum(v128.load8x8s(code, 8 * i))])
          : [words.set(v128.load(code)), ...range(4).flatMap((p) => [pair(2 * p), sum(nibble(words, p))])]
        : type === "int8"
          ? range(2).flatMap((i) => [...eight(8 * i), sum(v128.load8x8s(code, 8 * i))])
          : [words.set(v128.load8x8u(code)), ...range(2).flatMap((p) => [...eight(8 * p), sum(nibble(words, p))])];
    const scaled = f32x4.mul(f32x4.convertI32x4s(acc), rows === 4 ? v128.load(scale) : v128.load32splat(scale));
    const units = i32.divu(add(out, c(rows - 1)), c(rows));
    const lanes = (v: Local<"v128">): Expr<"f32"> =>
      f32.add(f32.add(f32x4.extract(v, 0), f32x4.extract(v, 1)), f32.add(f32x4.extract(v, 2), f32x4.extract(v, 3)));
    return [
      u.set(i32.mul(i32.load(at(cuts, from, 2)), c(perGroup))),
      last.set(min(units, i32.mul(i32.load(at(cuts, to, 2)), c(perGroup)))),
      end.set(i32.load(at(starts, u, 2))),
      index.set(at(columns, end, 1)),
      code.set(add(codes, i32.mul(i32.divu(end, c(entries)), c(codeBytes)))),
      scale.set(add(scales, i32.mul(i32.load(at(runs, u, 2)), c(4 * rows)))),
      target.set(add(y, i32.mul(u, c(4 * rows)))),
      other.set(v128.load32splat(prepared)),
      forRange(
        u,
        u,
        last,
        1,
        end.set(at(columns, i32.load(at(starts, u, 2), 4), 1)),
        total.set(zero),
        block(
          done,
          brIf(done, i32.eq(index, end)),
          loop(
            nextRun,
            runEnd.set(add(index, c(2 * RUN))),
            when(i32.gtu(runEnd, end), runEnd.set(end)),
            acc.set(zero),
            loop(
              again,
              ...step,
              code.set(add(code, c(codeBytes))),
              brIf(again, i32.ltu(index.tee(add(index, c(2 * entries))), runEnd)),
            ),
            total.set(f32x4.add(total, scaled)),
            scale.set(add(scale, c(4 * rows))),
            brIf(nextRun, i32.ne(index, end)),
          ),
        ),
        total.set(f32x4.mul(total, other)),
        rows === 4 ? storeLanes(target, total, i32.sub(out, i32.shl(u, c(2)))) : f32.store(target, lanes(total)),
        target.set(add(target, c(4 * rows))),
      ),
    ];
  });
}

const spmv = (type: SparseQuantType, rows: 1 | 4): Kernel => ({
  name: `spmv-${type}-${rows === 4 ? "block4x1" : "csr"}`,
  family: "quant",
  summary: `y[out] = W x with W in ${rows === 4 ? "blocks of four outputs" : "CSR"}, values ${type} with a scale for each run of ${RUN} entries, by 16-bit integer products`,
  functions: {
    prepare: {
      params: ["x", "in", "prepared"],
      does: `quantises x[in] with one scale to at most ${TOP}; prepared gets spmvPreparedBytes(in)`,
    },
    multiply: {
      params: OPERANDS,
      does: "outputs of the groups of four cuts[from]..cuts[to], W as quantiseStream gives it, x prepared",
    },
  },
  emit({ shared }: EmitOptions) {
    const m = new ModuleBuilder({ shared });
    emitPrepare(m);
    emitMultiply(m, type, rows);
    return m.bytes();
  },
  trials: spmvQuantTrials(type, rows),
});

export const spmvQuant = {
  int8: { csr: spmv("int8", 1), block4x1: spmv("int8", 4) },
  int4: { csr: spmv("int4", 1), block4x1: spmv("int4", 4) },
} as const;
