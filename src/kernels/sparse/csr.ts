/**
 * CSR kernels: one stored weight at a time, any mask.
 *
 * `spmm-f32-csr-c16` holds one output x 16 tokens in four accumulators while the row streams by. Ladder, one thread,
 * 1024x1024 and 512x192 at 70 %, dense kernel 42 GFLOP/s: panels of 8 tokens 26, of 32 29, of 16 without exits
 * between unrolled steps 18-21, with exits 33-35; a second set of accumulators brings nothing. The four rows of a
 * group are written untransposed into their own 4x4 tiles of Y and turned there, since single-lane stores into 16
 * rows cost up to 15 % of a sparse row.
 *
 * `spmv-*-csr` gathers four activations into one vector.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  brIf,
  type Expr,
  type FnRef,
  f32,
  f32x4,
  forRange,
  i32,
  i32x4,
  label,
  loop,
  ModuleBuilder,
  madd,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { add, addDrivers, at, c, driverFunctions, min, names, range, STRIP, transposed, zero } from "./panels.ts";
import { spmmCsrTrials, spmvCsrTrials } from "./trials.ts";

const MM = ["starts", "ends", "columns", "values"] as const;
const WIDTH = 16;
const UNROLL = 4;

/** `vectors` vectors of 4 tokens. */
function addStrip(m: ModuleBuilder, vectors: number, fused: boolean): FnRef<"void"> {
  return m.func(
    `strip${4 * vectors}`,
    names([...MM, ...STRIP]),
    (f) => {
      const { starts, ends, columns, values, panel, y, tokens, out, from, to } = f.p;
      const [g, j, rows, col, value, x, target, row, stride, whole] = f.locals("i32", 10);
      const exits = f.locals("i32", UNROLL);
      const acc = f.locals("v128", vectors);
      const tile = f.locals("v128", 4);
      const half = f.locals("v128", 4);
      const w = f.local("v128");
      const done = label("row");
      const again = label("entries");
      const shift = 4 + Math.log2(vectors);
      const xAt = (q: number): Expr<"i32"> =>
        Number.isInteger(shift)
          ? at(panel, i32.load16u(col, 2 * q), shift)
          : add(panel, i32.mul(i32.load16u(col, 2 * q), c(16 * vectors)));
      const step = (q: number) => [
        x.set(xAt(q)),
        w.set(v128.load32splat(value, 4 * q)),
        ...acc.map((a, i) => a.set(madd(fused, w, v128.load(x, 16 * i), a))),
        brIf(done, i32.eq(col, exits[q])),
      ];
      const turn = transposed(tile, half);
      return [
        stride.set(i32.shl(out, c(2))),
        forRange(
          g,
          from,
          to,
          1,
          rows.set(min(c(4), i32.sub(out, i32.shl(g, c(2))))),
          whole.set(i32.and(i32.eq(rows, c(4)), i32.eq(tokens, c(4 * vectors)))),
          forRange(
            j,
            c(0),
            rows,
            1,
            row.set(add(i32.shl(g, c(2)), j)),
            col.set(at(columns, i32.load(at(starts, row, 2)), 1)),
            value.set(at(values, i32.load(at(starts, row, 2)), 2)),
            exits[0].set(i32.sub(at(columns, i32.load(at(ends, row, 2)), 1), c(2))),
            ...exits.slice(1).map((e, q) => e.set(i32.sub(exits[0], c(2 * (q + 1))))),
            ...acc.map((a) => a.set(zero)),
            block(
              done,
              brIf(done, i32.gtu(col, exits[0])),
              loop(
                again,
                ...range(UNROLL).flatMap(step),
                col.set(add(col, c(2 * UNROLL))),
                value.set(add(value, c(4 * UNROLL))),
                brIf(again, c(1)),
              ),
            ),
            when(
              whole,
              seq(
                // vector i of row j waits in row j of tile i
                target.set(add(at(y, g, 4), i32.mul(j, stride))),
                ...acc.flatMap((a, i) => [...(i ? [target.set(at(target, stride, 2))] : []), v128.store(target, a)]),
              ),
              seq(
                target.set(at(y, row, 2)),
                ...range(4 * vectors).flatMap((t) => [
                  when(
                    i32.gt(tokens, c(t)),
                    seq(v128.store32(target, acc[t >> 2], 0, t & 3), target.set(add(target, stride))),
                  ),
                ]),
              ),
            ),
          ),
          when(
            whole,
            seq(
              target.set(at(y, g, 4)),
              forRange(
                j,
                c(0),
                c(vectors),
                1,
                row.set(target),
                ...tile.flatMap((v) => [v.set(v128.load(row)), row.set(add(row, stride))]),
                turn.first,
                ...turn.rows.flatMap((v) => [v128.store(target, v), target.set(add(target, stride))]),
              ),
            ),
          ),
        ),
      ];
    },
    "void",
    false,
  );
}

/** expand(source, target, from, to): bf16 values to f32, four at a time. */
function addExpand(m: ModuleBuilder): void {
  m.func("expand", { source: "i32", target: "i32", from: "i32", to: "i32" } as const, (f) => {
    const { source, target, from, to } = f.p;
    const i = f.local("i32");
    return forRange(i, from, to, 1, v128.store(at(target, i, 4), i32x4.shl(v128.load16x4u(at(source, i, 3)), c(16))));
  });
}

function emitSpmm({ shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const strips = range(WIDTH / 4).map((i) => addStrip(m, i + 1, fused));
  addDrivers(m, MM, strips);
  addExpand(m);
  return m.bytes();
}

export const spmmCsr: Kernel = {
  name: "spmm-f32-csr-c16",
  family: "sparse",
  summary: "Y[T, out] = X[T, in] W^T with W in CSR, panels of 16 tokens",
  functions: {
    ...driverFunctions(MM, WIDTH),
    expand: { params: ["source", "target", "from", "to"], does: "bf16 values to f32, quadruples from..to" },
  },
  emit: emitSpmm,
  trials: spmmCsrTrials,
};

const MV = ["starts", "columns", "values", "x", "y", "out", "cuts", "from", "to"] as const;

function emitSpmv(bf16: boolean, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  m.func("multiply", names(MV), (f) => {
    const { starts, columns, values, x, y, out, cuts, from, to } = f.p;
    const [r, last, col, value, end] = f.locals("i32", 5);
    const [acc, xs, w] = f.locals("v128", 3);
    const done = label("row");
    const again = label("entries");
    const xAt = (q: number): Expr<"i32"> => at(x, i32.load16u(col, 2 * q), 2);
    const entry = bf16 ? 2 : 4;
    return [
      r.set(i32.shl(i32.load(at(cuts, from, 2)), c(2))),
      last.set(min(out, i32.shl(i32.load(at(cuts, to, 2)), c(2)))),
      end.set(i32.load(at(starts, r, 2))),
      col.set(at(columns, end, 1)),
      value.set(at(values, end, bf16 ? 1 : 2)),
      forRange(
        r,
        r,
        last,
        1,
        end.set(at(columns, i32.load(at(starts, r, 2), 4), 1)),
        acc.set(zero),
        block(
          done,
          brIf(done, i32.eq(col, end)),
          loop(
            again,
            w.set(bf16 ? i32x4.shl(v128.load16x4u(value), c(16)) : v128.load(value)),
            xs.set(v128.load32zero(xAt(0))),
            ...[1, 2, 3].map((q) => xs.set(v128.load32lane(xAt(q), xs, q))),
            acc.set(madd(fused, w, xs, acc)),
            col.set(add(col, c(8))),
            value.set(add(value, c(4 * entry))),
            brIf(again, i32.ne(col, end)),
          ),
        ),
        f32.store(
          at(y, r, 2),
          f32.add(
            f32.add(f32x4.extract(acc, 0), f32x4.extract(acc, 1)),
            f32.add(f32x4.extract(acc, 2), f32x4.extract(acc, 3)),
          ),
        ),
      ),
    ];
  });
  return m.bytes();
}

const spmv = (type: "f32" | "bf16"): Kernel => ({
  name: `spmv-${type}-csr`,
  family: "sparse",
  summary: `y[out] = W x with W in CSR, values ${type}`,
  functions: {
    multiply: { params: MV, does: "outputs of the groups of four cuts[from]..cuts[to]" },
  },
  emit: (options) => emitSpmv(type === "bf16", options),
  trials: spmvCsrTrials(type),
});

export const spmvCsr: Kernel = spmv("f32");
export const spmvCsrBf16: Kernel = spmv("bf16");
