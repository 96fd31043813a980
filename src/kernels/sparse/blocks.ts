/**
 * Kernels for weights whose four outputs share a column: block 4x1, and N:M shared by 4 rows.
 *
 * `spmm-*-c8` holds four outputs x 8 tokens in eight accumulators; a block costs four load-splats of weights and two
 * vectors of tokens. Ladder, one thread, GFLOP/s on 1024x1024 at 70 % (dense kernel: 42): four outputs as lanes and
 * splats of 8 tokens 29, of 12 tokens 36 (too many loads and, in older V8, spills); weights splatted by shuffles 41;
 * weights as bf16 by load16splat 36; this form without exits between steps 34, with an exit in the middle of a block
 * 30, with one exit after each block 49. A bf16 stream is therefore expanded to f32 once per call.
 *
 * `spmv-*` holds four outputs as lanes in four accumulators, one for each block of a step of four. Ladder on 192x512
 * at 70 %: exit after each block 22 GFLOP/s; padded steps 22.5; bf16 one by one 22; bf16 in pairs with the loop test at
 * the end 25.5, whether 4 or 8 blocks a turn.
 *
 * N:M stored as such runs as fast as the same weight in 4x1 (within 5 % from 192x192 to 1024x1024, vector and panels):
 * the column costs one load and one address either way. It takes 9 bytes a block instead of 10, and no starts.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  brIf,
  type Expr,
  type FnRef,
  f32x4,
  forRange,
  i32,
  i32x4,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  v128,
  when,
} from "../wasm/asm.ts";
import {
  add,
  addDrivers,
  at,
  c,
  driverFunctions,
  names,
  range,
  STRIP,
  storeLanes,
  transposed,
  zero,
} from "./panels.ts";
import { spmmBlockTrials, spmvBlockTrials } from "./trials.ts";

/** Where a block's column comes from: 16-bit columns, or signed bytes relative to a step that moves by `stride`. */
type Indexing = "columns" | "steps";

const WIDTH = 8;
const UNROLL = 4;
const MM = {
  columns: ["starts", "ends", "columns", "values"],
  steps: ["slots", "stride", "offsets", "values"],
} as const;
const MV = {
  columns: ["starts", "columns", "values", "x", "y", "out", "cuts", "from", "to"],
  steps: ["slots", "stride", "offsets", "values", "x", "y", "out", "cuts", "from", "to"],
} as const;

/** Four outputs x 4 or 8 tokens. */
function addStrip(m: ModuleBuilder, indexing: Indexing, vectors: 1 | 2, fused: boolean): FnRef<"void"> {
  return m.func(
    `strip${4 * vectors}`,
    names([...MM[indexing], ...STRIP]),
    (f) => {
      const { values, panel, y, tokens, out, from, to } = f.p;
      const [g, index, value, x, base, target, stride, left] = f.locals("i32", 8);
      const exits = f.locals("i32", UNROLL);
      const acc = f.locals("v128", 4 * vectors);
      const xs = f.locals("v128", vectors);
      const [w] = f.locals("v128", 1);
      const half = f.locals("v128", 4);
      const done = label("group");
      const again = label("blocks");
      const shift = 3 + vectors;
      const entry = indexing === "columns" ? 2 : 1;
      const xAt = (q: number): Expr<"i32"> =>
        indexing === "columns" ? at(panel, i32.load16u(index, 2 * q), shift) : at(base, i32.load8s(index, q), shift);
      const step = (q: number): Stmt[] => [
        x.set(xAt(q)),
        ...xs.map((v, i) => v.set(v128.load(x, 16 * i))),
        ...range(4).flatMap((o) => [
          w.set(v128.load32splat(value, 16 * q + 4 * o)),
          ...xs.map((v, i) => acc[4 * i + o].set(madd(fused, w, v, acc[4 * i + o]))),
        ]),
        brIf(done, i32.eq(index, exits[q])),
      ];
      const begin: Stmt[] =
        indexing === "columns"
          ? [
              index.set(at(f.p.columns, i32.load(at(f.p.starts, g, 2)), 1)),
              value.set(at(values, i32.load(at(f.p.starts, g, 2)), 4)),
              exits[0].set(i32.sub(at(f.p.columns, i32.load(at(f.p.ends, g, 2)), 1), c(2))),
            ]
          : [
              index.set(add(f.p.offsets, i32.mul(g, f.p.slots))),
              value.set(add(values, i32.shl(i32.mul(g, f.p.slots), c(4)))),
              exits[0].set(add(index, i32.sub(f.p.slots, c(1)))),
              base.set(panel),
            ];
      const write = (i: number): Stmt[] => {
        const { first, rows } = transposed(acc.slice(4 * i, 4 * i + 4), half);
        return [
          first,
          ...rows.flatMap((row, t) => [
            w.set(row),
            when(i32.gt(tokens, c(4 * i + t)), storeLanes(target, w, left)),
            target.set(add(target, stride)),
          ]),
        ];
      };
      return [
        stride.set(i32.shl(out, c(2))),
        forRange(
          g,
          from,
          to,
          1,
          ...begin,
          ...exits.slice(1).map((e, q) => e.set(i32.sub(exits[0], c(entry * (q + 1))))),
          ...acc.map((a) => a.set(zero)),
          block(
            done,
            brIf(done, i32.gtu(index, exits[0])),
            loop(
              again,
              ...range(UNROLL).flatMap(step),
              index.set(add(index, c(entry * UNROLL))),
              value.set(add(value, c(16 * UNROLL))),
              ...(indexing === "steps" ? [base.set(at(base, f.p.stride, shift))] : []),
              brIf(again, c(1)),
            ),
          ),
          target.set(at(y, g, 4)),
          left.set(i32.sub(out, i32.shl(g, c(2)))),
          ...range(vectors).flatMap(write),
        ),
      ];
    },
    "void",
    false,
  );
}

const HIGH = v128.const32(-65536, -65536, -65536, -65536);

/** expand(source, target, from, to): paired bf16 blocks to f32 blocks, two blocks at a time. */
function addExpand(m: ModuleBuilder): void {
  m.func("expand", { source: "i32", target: "i32", from: "i32", to: "i32" } as const, (f) => {
    const { source, target, from, to } = f.p;
    const i = f.local("i32");
    const pair = f.local("v128");
    return forRange(
      i,
      from,
      to,
      1,
      pair.set(v128.load(at(source, i, 4))),
      v128.store(at(target, i, 5), i32x4.shl(pair, c(16))),
      v128.store(at(target, i, 5), v128.and(pair, HIGH), 16),
    );
  });
}

function emitSpmm(indexing: Indexing, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  addDrivers(m, MM[indexing], [addStrip(m, indexing, 1, fused), addStrip(m, indexing, 2, fused)]);
  addExpand(m);
  return m.bytes();
}

function emitSpmv(indexing: Indexing, bf16: boolean, { shared, fused }: EmitOptions): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  m.func("multiply", names(MV[indexing]), (f) => {
    const { values, x, y, out, cuts, from, to } = f.p;
    const [g, last, index, value, end, base, target] = f.locals("i32", 7);
    const acc = f.locals("v128", 4);
    const pair = f.local("v128");
    const done = label("group");
    const again = label("blocks");
    const entry = indexing === "columns" ? 2 : 1;
    const bytes = bf16 ? 8 : 16;
    const xAt = (q: number): Expr<"v128"> =>
      v128.load32splat(
        indexing === "columns" ? at(x, i32.load16u(index, 2 * q), 2) : at(base, i32.load8s(index, q), 2),
      );
    const step: Stmt[] = bf16
      ? [0, 2].flatMap((q) => [
          pair.set(v128.load(value, bytes * q)),
          acc[q].set(madd(fused, i32x4.shl(pair, c(16)), xAt(q), acc[q])),
          acc[q + 1].set(madd(fused, v128.and(pair, HIGH), xAt(q + 1), acc[q + 1])),
        ])
      : range(4).map((q) => acc[q].set(madd(fused, v128.load(value, bytes * q), xAt(q), acc[q])));
    const first: Stmt[] =
      indexing === "columns"
        ? [
            end.set(i32.load(at(f.p.starts, g, 2))),
            index.set(at(f.p.columns, end, 1)),
            value.set(add(values, i32.mul(end, c(bytes)))),
          ]
        : [
            end.set(i32.mul(g, f.p.slots)),
            index.set(add(f.p.offsets, end)),
            value.set(add(values, i32.mul(end, c(bytes)))),
          ];
    const begin: Stmt[] =
      indexing === "columns"
        ? [end.set(at(f.p.columns, i32.load(at(f.p.starts, g, 2), 4), 1))]
        : [end.set(add(index, f.p.slots)), base.set(x)];
    return [
      g.set(i32.load(at(cuts, from, 2))),
      last.set(i32.load(at(cuts, to, 2))),
      ...first,
      target.set(at(y, g, 4)),
      forRange(
        g,
        g,
        last,
        1,
        ...begin,
        ...acc.map((a) => a.set(zero)),
        block(
          done,
          brIf(done, i32.eq(index, end)),
          loop(
            again,
            ...step,
            index.set(add(index, c(4 * entry))),
            value.set(add(value, c(4 * bytes))),
            ...(indexing === "steps" ? [base.set(at(base, f.p.stride, 2))] : []),
            brIf(again, i32.ne(index, end)),
          ),
        ),
        acc[0].set(f32x4.add(f32x4.add(acc[0], acc[1]), f32x4.add(acc[2], acc[3]))),
        storeLanes(target, acc[0], i32.sub(out, i32.shl(g, c(2)))),
        target.set(add(target, c(16))),
      ),
    ];
  });
  return m.bytes();
}

const LAYOUT = { columns: "block4x1", steps: "nm-block4" } as const;
const TITLE = { columns: "blocks of four outputs", steps: "N:M shared by four outputs" } as const;

const spmm = (indexing: Indexing): Kernel => ({
  name: `spmm-f32-${LAYOUT[indexing]}-c8`,
  family: "sparse",
  summary: `Y[T, out] = X[T, in] W^T with W in ${TITLE[indexing]}, panels of 8 tokens`,
  functions: {
    ...driverFunctions(MM[indexing], WIDTH),
    expand: { params: ["source", "target", "from", "to"], does: "paired bf16 blocks to f32, pairs from..to" },
  },
  emit: (options) => emitSpmm(indexing, options),
  trials: spmmBlockTrials(indexing),
});

const spmv = (indexing: Indexing, type: "f32" | "bf16"): Kernel => ({
  name: `spmv-${type}-${LAYOUT[indexing]}`,
  family: "sparse",
  summary: `y[out] = W x with W in ${TITLE[indexing]}, values ${type}`,
  functions: {
    multiply: { params: MV[indexing], does: "outputs of the groups of four cuts[from]..cuts[to]" },
  },
  emit: (options) => emitSpmv(indexing, type === "bf16", options),
  trials: spmvBlockTrials(indexing, type),
});

export const spmmBlock: Kernel = spmm("columns");
export const spmmNm: Kernel = spmm("steps");
export const spmvBlock: Kernel = spmv("columns", "f32");
export const spmvBlockBf16: Kernel = spmv("columns", "bf16");
export const spmvNm: Kernel = spmv("steps", "f32");
export const spmvNmBf16: Kernel = spmv("steps", "bf16");
