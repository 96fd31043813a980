/**
 * Sparse x dense: Y[T, out] = X[T, in] W^T for every layout of `layouts.ts`, in panels of 4 to 32 tokens.
 *
 * A strip multiplies one panel by groups of four outputs. The sums of one unit (1, 2 or 4 outputs) x panel stay in registers
 * while its entries stream by: an entry costs one index, one load-splat for each of its weights, and a vector load for each
 * four tokens. Every step ends with an exit from the loop (the real "unit is done" test), which makes V8 11 finish the
 * step's sums there instead of collecting the loads of all unrolled steps first, and then spilling.
 *
 * Writing: four outputs x 4 tokens are a 4x4 tile of Y. Units of four outputs turn it in registers. Smaller ones store
 * their sums untransposed, row q of the group into row q of the tiles, and the tiles are turned when the group is done,
 * since single-lane stores cost up to 15 % of a sparse row.
 *
 * The bits of a sum depend on its stream alone: neither on the panel's width, nor on how the work is split, nor on which
 * tokens are in the panel. Ladders: `ladders.ts`.
 */

import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  brIf,
  type Expr,
  type FnRef,
  forRange,
  i32,
  i32x4,
  type Label,
  type Local,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { type SpmmBuild, spmmLadder } from "./ladders.ts";
import { LAYOUTS, type Layout, type LayoutName } from "./layouts.ts";
import {
  add,
  addDrivers,
  at,
  c,
  driverFunctions,
  type I32,
  min,
  names,
  range,
  STRIP,
  storeLanes,
  transposed,
  zero,
} from "./panels.ts";
import { GROUP } from "./streams.ts";
import { spmmTrials } from "./trials.ts";

/** Operands of a stream, in the order of the parameters. */
export const SPMM_OPERANDS = {
  columns: ["starts", "ends", "columns", "values"],
  steps: ["slots", "stride", "offsets", "values"],
} as const;

const BUILD: SpmmBuild = { unroll: 4, exits: true, fences: true };
/** Inputs of a 1x16 block that are unrolled in a turn. */
const ALONG = 4;
/** Vectors of a step after which V8 11 has to finish its sums: more of them at once would spill. */
const FENCE = 4;

/**
 * An exit that is never taken: values do not lie at addresses this low. Each fence of a loop needs another number, since a
 * condition that was tested before is known, and the branch vanishes.
 */
const never = (target: Label, value: I32, number: number): Stmt => brIf(target, i32.eq(value, c(1 + number)));

/** address of column `index` of a panel of `vectors` vectors */
const columnAt = (panel: I32, index: I32, vectors: number): I32 => {
  const shift = 4 + Math.log2(vectors);
  return Number.isInteger(shift) ? at(panel, index, shift) : add(panel, i32.mul(index, c(16 * vectors)));
};

interface Streaming {
  /** before a unit: pointers to its entries */
  readonly begin: readonly Stmt[];
  /** adds the unit's entries to the sums, which are zero */
  readonly run: Stmt;
}

/** What a strip's stream code works on; `acc[outputs of the unit][vectors]`. */
interface Frame {
  readonly panel: I32;
  readonly unit: I32;
  readonly acc: readonly (readonly Local<"v128">[])[];
  readonly fused: boolean;
  readonly build: SpmmBuild;
  readonly p: Readonly<Record<string, Local<"i32">>>;
  i32(): Local<"i32">;
  v128(): Local<"v128">;
}

/** Entries with one column: steps of four, each with an exit. */
function streamEntries(l: Layout, f: Frame): Streaming {
  const { acc, panel, unit, p } = f;
  const vectors = acc[0].length;
  const [index, value, x, base] = range(4).map(() => f.i32());
  const { unroll, fences } = f.build;
  const exits = range(unroll).map(() => f.i32());
  const done = label("unit");
  const again = label("entries");
  const entry = l.index === "columns" ? 2 : 1;
  const bytes = 4 * l.rows;
  const xAt = (q: number): I32 =>
    l.index === "columns"
      ? columnAt(panel, i32.load16u(index, entry * q), vectors)
      : columnAt(base, i32.load8s(index, entry * q), vectors);
  // Hold what there is less of: the weights of an entry, or the vectors of its column.
  const holdWeights = l.rows < vectors;
  const held = range(holdWeights ? l.rows : vectors).map(() => f.v128());
  const pass = f.v128();
  const fence = (q: number, i: number): Stmt[] =>
    fences && holdWeights && i % FENCE === FENCE - 1 && i < vectors - 1 ? [never(done, value, vectors * q + i)] : [];
  const weight = (q: number, o: number): Expr<"v128"> => v128.load32splat(value, bytes * q + 4 * o);
  const products = (q: number): Stmt[] =>
    holdWeights
      ? [
          ...held.map((w, o) => w.set(weight(q, o))),
          ...range(vectors).flatMap((i) => {
            const xs = v128.load(x, 16 * i);
            if (l.rows === 1) return [acc[0][i].set(madd(f.fused, held[0], xs, acc[0][i])), ...fence(q, i)];
            return [
              pass.set(xs),
              ...held.map((w, o) => acc[o][i].set(madd(f.fused, w, pass, acc[o][i]))),
              ...fence(q, i),
            ];
          }),
        ]
      : [
          ...held.map((xs, i) => xs.set(v128.load(x, 16 * i))),
          ...range(l.rows).flatMap((o) => [
            pass.set(weight(q, o)),
            ...held.map((xs, i) => acc[o][i].set(madd(f.fused, pass, xs, acc[o][i]))),
          ]),
        ];
  // The padding ends where the next unit starts.
  const last = (): I32 => (f.build.exits ? i32.load(at(p.ends, unit, 2)) : i32.load(at(p.starts, unit, 2), 4));
  const begin: Stmt[] =
    l.index === "columns"
      ? [
          index.set(at(p.columns, i32.load(at(p.starts, unit, 2)), 1)),
          value.set(add(p.values, i32.mul(i32.load(at(p.starts, unit, 2)), c(bytes)))),
          exits[0].set(i32.sub(at(p.columns, last(), 1), c(2))),
        ]
      : [
          index.set(add(p.offsets, i32.mul(unit, p.slots))),
          value.set(add(p.values, i32.mul(i32.mul(unit, p.slots), c(bytes)))),
          exits[0].set(add(index, i32.sub(p.slots, c(1)))),
          base.set(panel),
        ];
  return {
    begin: [...begin, ...exits.slice(1).map((e, q) => e.set(i32.sub(exits[0], c(entry * (q + 1)))))],
    run: block(
      done,
      brIf(done, i32.gtu(index, exits[0])),
      loop(
        again,
        ...range(unroll).flatMap((q) => [
          x.set(xAt(q)),
          ...products(q),
          ...(f.build.exits ? [brIf(done, i32.eq(index, exits[q]))] : []),
        ]),
        index.set(add(index, c(entry * unroll))),
        value.set(add(value, c(bytes * unroll))),
        ...(l.index === "steps" ? [base.set(columnAt(base, p.stride, vectors))] : []),
        f.build.exits ? brIf(again, c(1)) : brIf(again, i32.leu(index, exits[0])),
      ),
    ),
  };
}

/** Blocks of one output x 16 inputs: the panel's columns follow one another. */
function streamBlocks(l: Layout, f: Frame): Streaming {
  const { acc, panel, unit, p } = f;
  const [sums] = acc;
  const vectors = sums.length;
  const [index, value, x, end, blockEnd] = range(5).map(() => f.i32());
  const w = f.v128();
  const done = label("unit");
  const again = label("blocks");
  const inside = label("inside");
  return {
    begin: [
      index.set(at(p.columns, i32.load(at(p.starts, unit, 2)), 1)),
      value.set(add(p.values, i32.mul(i32.load(at(p.starts, unit, 2)), c(4 * l.columns)))),
      end.set(at(p.columns, i32.load(at(p.ends, unit, 2)), 1)),
    ],
    run: block(
      done,
      brIf(done, i32.eq(index, end)),
      loop(
        again,
        x.set(columnAt(panel, i32.load16u(index), vectors)),
        blockEnd.set(add(value, c(4 * l.columns))),
        loop(
          inside,
          ...range(ALONG).flatMap((k) => [
            w.set(v128.load32splat(value, 4 * k)),
            ...sums.flatMap((a, i) => [
              a.set(madd(f.fused, w, v128.load(x, 16 * (vectors * k + i)), a)),
              ...(f.build.fences && ((i + 1) % FENCE === 0 || i === vectors - 1)
                ? [never(done, value, vectors * k + i)]
                : []),
            ]),
          ]),
          x.set(add(x, c(16 * vectors * ALONG))),
          value.set(add(value, c(4 * ALONG))),
          brIf(inside, i32.ne(value, blockEnd)),
        ),
        index.set(add(index, c(2))),
        brIf(again, i32.ne(index, end)),
      ),
    ),
  };
}

/** 4 `vectors` tokens. */
function addStrip(m: ModuleBuilder, l: Layout, vectors: number, fused: boolean, build: SpmmBuild): FnRef<"void"> {
  return m.func(
    `strip${4 * vectors}`,
    names([...SPMM_OPERANDS[l.index], ...STRIP]),
    (f) => {
      const { panel, y, tokens, out, from, to } = f.p;
      const [g, unit, rows, stride, target, left, whole] = f.locals("i32", 7);
      const acc = range(l.rows).map(() => f.locals("v128", vectors));
      const frame = { panel, unit, acc, fused, build, p: f.p, i32: () => f.local("i32"), v128: () => f.local("v128") };
      const { begin, run } = (l.columns > 1 ? streamBlocks : streamEntries)(l, frame);
      const sums = seq(...begin, ...acc.flat().map((a) => a.set(zero)), run);
      const half = f.locals("v128", 4);
      if (l.rows === GROUP) {
        const w = f.local("v128");
        const write = (i: number): Stmt[] => {
          const { first, rows: turned } = transposed(
            acc.map((row) => row[i]),
            half,
          );
          return [
            first,
            when(
              whole,
              seq(...turned.flatMap((row) => [v128.store(target, row), target.set(add(target, stride))])),
              seq(
                ...turned.flatMap((row, t) => [
                  w.set(row),
                  when(i32.gt(tokens, c(4 * i + t)), storeLanes(target, w, left)),
                  target.set(add(target, stride)),
                ]),
              ),
            ),
          ];
        };
        return [
          stride.set(i32.shl(out, c(2))),
          forRange(
            g,
            from,
            to,
            1,
            unit.set(g),
            sums,
            target.set(at(y, g, 4)),
            left.set(i32.sub(out, i32.shl(g, c(2)))),
            whole.set(i32.and(i32.ge(left, c(GROUP)), i32.eq(tokens, c(4 * vectors)))),
            ...range(vectors).flatMap(write),
          ),
        ];
      }
      const [row, j] = f.locals("i32", 2);
      const tile = f.locals("v128", 4);
      const turn = transposed(tile, half);
      /** sums of the unit's row `o`, untransposed, into row `j + o` of the group's tiles */
      const park = (o: number): Stmt =>
        seq(
          target.set(add(at(y, g, 4), i32.mul(add(j, c(o)), stride))),
          ...acc[o].flatMap((a, i) => [...(i ? [target.set(at(target, stride, 2))] : []), v128.store(target, a)]),
        );
      const scatter = (o: number): Stmt =>
        when(
          i32.gt(rows, add(j, c(o))),
          seq(
            target.set(add(at(y, g, 4), i32.shl(add(j, c(o)), c(2)))),
            ...range(4 * vectors).map((t) =>
              when(
                i32.gt(tokens, c(t)),
                seq(v128.store32(target, acc[o][t >> 2], 0, t & 3), target.set(add(target, stride))),
              ),
            ),
          ),
        );
      return [
        stride.set(i32.shl(out, c(2))),
        forRange(
          g,
          from,
          to,
          1,
          rows.set(min(c(GROUP), i32.sub(out, i32.shl(g, c(2))))),
          whole.set(i32.and(i32.eq(rows, c(GROUP)), i32.eq(tokens, c(4 * vectors)))),
          unit.set(i32.mul(g, c(GROUP / l.rows))),
          forRange(
            j,
            c(0),
            rows,
            l.rows,
            sums,
            when(whole, seq(...range(l.rows).map(park)), seq(...range(l.rows).map(scatter))),
            unit.set(add(unit, c(1))),
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

export const HIGH = v128.const32(-65536, -65536, -65536, -65536);

/** expand(source, target, from, to): bf16 values to f32; a unit is four in order, or a pair of vectors interleaved. */
function addExpand(m: ModuleBuilder, l: Layout): void {
  m.func("expand", { source: "i32", target: "i32", from: "i32", to: "i32" } as const, (f) => {
    const { source, target, from, to } = f.p;
    const i = f.local("i32");
    const pair = f.local("v128");
    const body =
      l.halves === "plain"
        ? [v128.store(at(target, i, 4), i32x4.shl(v128.load16x4u(at(source, i, 3)), c(16)))]
        : [
            pair.set(v128.load(at(source, i, 4))),
            v128.store(at(target, i, 5), i32x4.shl(pair, c(16))),
            v128.store(at(target, i, 5), v128.and(pair, HIGH), 16),
          ];
    return forRange(i, from, to, 1, ...body);
  });
}

/** The module of a layout and a panel width; another `build` than the usual is for its ladder. */
export function emitSpmm(
  l: Layout,
  width: number,
  { shared, fused }: EmitOptions,
  build: SpmmBuild = BUILD,
): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  const strips = range(width / 4).map((i) => addStrip(m, l, i + 1, fused, build));
  addDrivers(m, SPMM_OPERANDS[l.index], strips);
  addExpand(m, l);
  return m.bytes();
}

/** Values that one unit of `expand` handles. */
export const expandUnit = (l: Pick<Layout, "halves">): number => (l.halves === "plain" ? 4 : 8);

function spmm(name: LayoutName, width: number): Kernel {
  const l = LAYOUTS[name];
  return {
    name: `spmm-f32-${name}-c${width}`,
    family: "sparse",
    summary: `Y[T, out] = X[T, in] W^T with W in ${l.title}, panels of ${width} tokens`,
    functions: {
      ...driverFunctions(SPMM_OPERANDS[l.index], width),
      expand: {
        params: ["source", "target", "from", "to"],
        does: `bf16 values to f32; from, to: ${expandUnit(l)} values${l.halves === "pairs" ? ", interleaved" : ""}`,
      },
    },
    emit: (options) => emitSpmm(l, width, options),
    trials: spmmTrials(l, width),
    ladder: () => spmmLadder(l, width, emitSpmm),
  };
}

/** The widths that each layout has a kernel for, the usual one first. */
export const SPMM_WIDTHS: Readonly<Record<LayoutName, readonly number[]>> = {
  csr: [16, 32],
  block2x1: [16],
  block4x1: [8],
  block1x16: [16, 32],
  nm1x1: [16, 32],
  nm4x1: [8],
};

/** Kernels by layout, in the order of `SPMM_WIDTHS`. */
export const spmmKernels: Readonly<Record<LayoutName, readonly { readonly width: number; readonly kernel: Kernel }[]>> =
  Object.fromEntries(
    Object.entries(SPMM_WIDTHS).map(([name, widths]) => [
      name,
      widths.map((width) => ({ width, kernel: spmm(name as LayoutName, width) })),
    ]),
  ) as unknown as Readonly<Record<LayoutName, readonly { readonly width: number; readonly kernel: Kernel }[]>>;
