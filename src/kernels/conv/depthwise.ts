/**
 * Convolution with one input and one output channel a group: terms read from padded planes at offsets that a table
 * lists, for strips of 8 rows (4 where there are fewer) by 4 columns at once.
 *
 * A value is the sum of its terms in order, from its bias on, wherever the work is split.
 */
import type { Kernel } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  forRange,
  i32,
  type Local,
  label,
  loop,
  ModuleBuilder,
  madd,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { emitPack, multiplyParams, productFunctions, productTrials } from "./product.ts";

const { add, sub, mul, shl, lt, gt, ge, eq, divu, remu } = i32;
const n = i32.const;
const UNROLL = 3;

function emitMultiply(m: ModuleBuilder, fused: boolean): void {
  m.func("multiply", multiplyParams, ({ p, local, locals }) => {
    const [u, group, image, xb, yb, row, column, x0, y0, lanes, width, left, term, at, r0] = locals("i32", 15);
    const [w, offset] = [local("i32"), local("i32")];
    const acc = locals("v128", 8);
    const [bias, weight] = locals("v128", 2);
    const xRows = locals("i32", 8);
    const yRows = locals("i32", 8);
    const least = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, lt(a, b));

    const store = (c: Local<"v128">, r: number): Stmt => v128.store(add(y0, yRows[r]), c);
    const storeLanes = (c: Local<"v128">, r: number): Stmt =>
      seq(
        lanes.set(add(y0, yRows[r])),
        ...[0, 1, 2, 3].map((l) =>
          when(gt(width, n(l)), seq(v128.store32(lanes, c, 0, l), lanes.set(add(lanes, p.yColumn)))),
        ),
      );

    const strip = (height: number): Stmt => {
      const [done, again] = [label("done"), label("again")];
      const sums = acc.slice(0, height);
      const step = (i: number): Stmt =>
        seq(
          offset.set(add(x0, i32.load(term, 4 * i))),
          weight.set(v128.load32splat(w, 4 * i)),
          ...sums.map((c, r) => c.set(madd(fused, weight, v128.load(add(offset, xRows[r])), c))),
          brIf(done, i32.eqz(left.tee(sub(left, n(1))))),
        );
      return seq(
        ...sums.map((c) => c.set(bias)),
        term.set(p.terms),
        w.set(add(p.packed, mul(shl(group, n(2)), p.k))),
        left.set(p.k),
        block(
          done,
          brIf(done, i32.eqz(left)),
          loop(
            again,
            ...Array.from({ length: UNROLL }, (_, i) => step(i)),
            term.set(add(term, n(4 * UNROLL))),
            w.set(add(w, n(4 * UNROLL))),
            br(again),
          ),
        ),
        when(i32.and(eq(width, n(4)), eq(p.yColumn, n(4))), seq(...sums.map(store)), seq(...sums.map(storeLanes))),
      );
    };

    /** Strips down a column of four; the last one is moved back to end with the rows. */
    const down = (height: number): Stmt =>
      forRange(
        row,
        n(0),
        p.rows,
        height,
        r0.set(select(row, sub(p.rows, n(height)), lt(add(row, n(height)), p.rows))),
        r0.set(select(r0, n(0), gt(r0, n(0)))),
        x0.set(add(add(xb, mul(r0, p.xRow)), shl(column, n(2)))),
        y0.set(add(add(yb, mul(r0, p.yRow)), mul(column, p.yColumn))),
        strip(height),
      );

    const columns = (height: number): Stmt =>
      seq(
        // Where there are fewer rows than the strip has, the last one is computed again.
        ...xRows.slice(0, height).map((x, r) => x.set(mul(least(n(r), sub(p.rows, n(1))), p.xRow))),
        ...yRows.slice(0, height).map((y, r) => y.set(mul(least(n(r), sub(p.rows, n(1))), p.yRow))),
        forRange(
          u,
          p.from,
          p.to,
          1,
          group.set(remu(u, p.groups)),
          image.set(divu(u, p.groups)),
          bias.set(v128.load32splat(add(p.bias, shl(group, n(2))))),
          xb.set(add(p.x, add(mul(image, p.xImage), mul(group, p.xGroup)))),
          yb.set(add(p.y, add(mul(image, p.yImage), mul(group, p.yChannel)))),
          forRange(
            at,
            n(0),
            p.columns,
            4,
            column.set(select(at, sub(p.columns, n(4)), lt(add(at, n(4)), p.columns))),
            column.set(select(column, n(0), gt(column, n(0)))),
            down(height),
          ),
        ),
      );
    return [width.set(least(p.columns, n(4))), when(ge(p.rows, n(5)), columns(8), columns(4))];
  });
}

export const depthwise: Kernel = {
  name: "depthwise-f32-8x4",
  family: "conv",
  summary:
    "Convolution with one output a group and its input gradient over padded planes, strips of 8 rows by 4 columns",
  functions: productFunctions(1),
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    emitPack(m, 1);
    emitMultiply(m, fused);
    return m.bytes();
  },
  trials: productTrials(1),
};
