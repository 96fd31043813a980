/**
 * Sparse x one vector: y[out] = W x for every layout of `layouts.ts`, values f32, bf16 or f16 (widened as they are
 * read).
 *
 * Units of four outputs are the lanes of a vector, and an entry costs one load of weights and one load-splat of an
 * activation; units of two outputs put two entries into a vector; single outputs gather four activations into one; blocks
 * of sixteen inputs need no gather at all. Entries come in padded steps of four, so there is no remainder, and the loop
 * test stands at the end. Ladders: `ladders.ts`.
 */

import { bytesOf, type ElementType, loadFour } from "../dense/element.ts";
import type { EmitOptions, Kernel } from "../kernel.ts";
import {
  block,
  brIf,
  type Expr,
  f32,
  f32x4,
  forRange,
  i32,
  i32x4,
  type Local,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  v128,
  when,
} from "../wasm/asm.ts";
import { spmvLadder } from "./ladders.ts";
import { entrySize, LAYOUT_NAMES, LAYOUTS, type Layout, type LayoutName } from "./layouts.ts";
import { add, at, c, type I32, min, names, storeLanes, zero } from "./panels.ts";
import { HIGH } from "./spmm.ts";
import { GROUP, STEP } from "./streams.ts";
import { spmvTrials } from "./trials.ts";

/** Operands of a stream, in the order of the parameters. */
export const SPMV_OPERANDS = {
  columns: ["starts", "columns", "values"],
  steps: ["slots", "stride", "offsets", "values"],
} as const;
const REST = ["x", "y", "out", "cuts", "from", "to"] as const;

export type SpmvType = ElementType;

interface Turn {
  readonly index: I32;
  readonly value: I32;
  /** address of the activation of entry `q` of the step */
  xAt(q: number): I32;
  readonly acc: readonly Local<"v128">[];
  readonly pair: Local<"v128">;
  readonly xs: Local<"v128">;
  readonly fused: boolean;
  readonly type: SpmvType;
}

/** Weights `4 v` to `4 v + 3` of the step, in order. */
const plainFour = (t: Turn, v: number): Expr<"v128"> => loadFour(t.type, t.value, 4 * v * bytesOf(t.type));

/** Both vectors of eight weights, which are interleaved if bf16, handed on one by one. */
function pairedEight(t: Turn, v: number, use: (weights: Expr<"v128">, vector: number) => Stmt): Stmt[] {
  if (t.type !== "bf16") return [0, 1].map((h) => use(plainFour(t, v + h), v + h));
  return [t.pair.set(v128.load(t.value, 8 * v)), use(i32x4.shl(t.pair, c(16)), v), use(v128.and(t.pair, HIGH), v + 1)];
}

const accumulate = (t: Turn, sum: number, w: Expr<"v128">, x: Expr<"v128">): Stmt =>
  t.acc[sum].set(madd(t.fused, w, x, t.acc[sum]));

/** One step of a unit: four entries, or one block of sixteen inputs. */
function stepOf(l: Layout, t: Turn): Stmt[] {
  if (l.columns > 1) {
    return [0, 2].flatMap((v) =>
      pairedEight(t, v, (w, vector) => accumulate(t, vector, w, v128.load(t.xAt(0), 16 * vector))),
    );
  }
  if (l.rows === 4) {
    return [0, 2].flatMap((v) =>
      pairedEight(t, v, (w, vector) => accumulate(t, vector, w, v128.load32splat(t.xAt(vector)))),
    );
  }
  if (l.rows === 2) {
    return [0, 1].map((v) => {
      const [a, b] = [v128.load32splat(t.xAt(2 * v)), v128.load32splat(t.xAt(2 * v + 1))];
      return accumulate(t, v, plainFour(t, v), v128.shuffle32(a, b, [0, 0, 4, 4]));
    });
  }
  return [
    t.xs.set(v128.load32zero(t.xAt(0))),
    ...[1, 2, 3].map((q) => t.xs.set(v128.load32lane(t.xAt(q), t.xs, q))),
    accumulate(t, 0, plainFour(t, 0), t.xs),
  ];
}

/** One entry of f32 weights into the first sum: the rung of the ladder below. */
function singleEntry(l: Layout, t: Turn): Stmt {
  if (l.rows === 1) return accumulate(t, 0, v128.load32zero(t.value), v128.load32zero(t.xAt(0)));
  return accumulate(t, 0, l.rows === 2 ? v128.load64zero(t.value) : v128.load(t.value), v128.load32splat(t.xAt(0)));
}

const SUMS = (l: Layout): number => (l.rows === 4 || l.columns > 1 ? 4 : l.rows);

/** Writes a unit's sums; `left` is how many outputs there are from its first one on. */
function finish(l: Layout, acc: readonly Local<"v128">[], target: I32, left: I32): Stmt[] {
  const all = acc.length === 4 ? f32x4.add(f32x4.add(acc[0], acc[1]), f32x4.add(acc[2], acc[3])) : undefined;
  if (l.rows === 4 && all) return [acc[0].set(all), storeLanes(target, acc[0], left)];
  if (l.rows === 2) {
    const half = (lanes: readonly [number, number, number, number]) => v128.shuffle32(acc[0], acc[0], lanes);
    return [
      acc[0].set(f32x4.add(acc[0], acc[1])),
      acc[0].set(f32x4.add(acc[0], half([2, 3, 2, 3]))),
      when(i32.ge(left, c(2)), v128.store64(target, acc[0]), v128.store32(target, acc[0])),
    ];
  }
  const lane = (i: number) => f32x4.extract(acc[0], i);
  return [
    ...(all ? [acc[0].set(all)] : []),
    f32.store(target, f32.add(f32.add(lane(0), lane(1)), f32.add(lane(2), lane(3)))),
  ];
}

function emitSpmv(l: Layout, type: SpmvType, { shared, fused }: EmitOptions, single = false): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ shared });
  m.func("multiply", names([...SPMV_OPERANDS[l.index], ...REST]), (f) => {
    const { values, x, y, out, cuts, from, to } = f.p;
    const [u, last, index, value, end, base, target] = f.locals("i32", 7);
    const acc = f.locals("v128", SUMS(l));
    const [pair, xs] = f.locals("v128", 2);
    const done = label("unit");
    const again = label("entries");
    const indexBytes = l.index === "columns" ? 2 : 1;
    const valueBytes = entrySize(l) * bytesOf(type);
    const entries = l.columns > 1 || single ? 1 : STEP;
    const perGroup = GROUP / l.rows;
    const units = i32.divu(add(out, c(l.rows - 1)), c(l.rows));
    const xAt = (q: number): I32 =>
      l.index === "columns"
        ? at(x, i32.load16u(index, indexBytes * q), 2)
        : at(base, i32.load8s(index, indexBytes * q), 2);
    const turn: Turn = { index, value, xAt, acc, pair, xs, fused, type };
    // The entry number at which unit `u` begins, and at which it ends.
    const begins = l.index === "columns" ? i32.load(at(f.p.starts, u, 2)) : i32.mul(u, f.p.slots);
    const ends = l.index === "columns" ? at(f.p.columns, i32.load(at(f.p.starts, u, 2), 4), 1) : add(index, f.p.slots);
    const indices = l.index === "columns" ? f.p.columns : f.p.offsets;
    return [
      u.set(i32.mul(i32.load(at(cuts, from, 2)), c(perGroup))),
      last.set(min(units, i32.mul(i32.load(at(cuts, to, 2)), c(perGroup)))),
      end.set(begins),
      index.set(add(indices, i32.mul(end, c(indexBytes)))),
      value.set(add(values, i32.mul(end, c(valueBytes)))),
      target.set(add(y, i32.mul(u, c(4 * l.rows)))),
      forRange(
        u,
        u,
        last,
        1,
        end.set(ends),
        ...(l.index === "steps" ? [base.set(x)] : []),
        ...acc.map((a) => a.set(zero)),
        block(
          done,
          brIf(done, i32.eq(index, end)),
          loop(
            again,
            ...(single ? [singleEntry(l, turn)] : stepOf(l, turn)),
            index.set(add(index, c(entries * indexBytes))),
            value.set(add(value, c(entries * valueBytes))),
            ...(l.index === "steps" ? [base.set(at(base, f.p.stride, 2))] : []),
            brIf(again, i32.ne(index, end)),
          ),
        ),
        ...finish(l, acc, target, i32.sub(out, i32.mul(u, c(l.rows)))),
        target.set(add(target, c(4 * l.rows))),
      ),
    ];
  });
  return m.bytes();
}

const spmv = (name: LayoutName, type: SpmvType): Kernel => ({
  name: `spmv-${type}-${name}`,
  family: "sparse",
  summary: `y[out] = W x with W in ${LAYOUTS[name].title}, values ${type}`,
  functions: {
    multiply: {
      params: [...SPMV_OPERANDS[LAYOUTS[name].index], ...REST],
      does: "outputs of the groups of four cuts[from]..cuts[to]",
    },
  },
  emit: (options) => emitSpmv(LAYOUTS[name], type, options),
  trials: spmvTrials(LAYOUTS[name], type),
  ...(type === "f32" && {
    ladder: () => spmvLadder(LAYOUTS[name], (options, single) => emitSpmv(LAYOUTS[name], "f32", options, single)),
  }),
});

export const spmvKernels: Readonly<Record<LayoutName, Readonly<Record<SpmvType, Kernel>>>> = Object.fromEntries(
  LAYOUT_NAMES.map((name) => [name, { f32: spmv(name, "f32"), bf16: spmv(name, "bf16"), f16: spmv(name, "f16") }]),
) as unknown as Readonly<Record<LayoutName, Readonly<Record<SpmvType, Kernel>>>>;
