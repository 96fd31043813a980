/**
 * Convolution as a dense product whose right factor is never written out: its terms are read from padded planes at
 * offsets that a table lists. A tile of 4 outputs by 8 pixels stays in registers while the terms run.
 *
 * A value is the sum of its terms in order, from its bias on, wherever the work is split. Method after Dukhan 2019, "The
 * Indirect Convolution Algorithm", with offsets in place of pointers.
 */
import type { Kernel } from "../kernel.ts";
import {
  block,
  br,
  brIf,
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
  whileLoop,
} from "../wasm/asm.ts";
import { emitPack, multiplyParams, panelCount, productFunctions, productTrials } from "./product.ts";

const { add, sub, mul, shl, lt, gt, ge, divu, remu } = i32;
const n = i32.const;
const UNROLL = 4;

/** Outputs and vectors of pixels of a tile: R * V + V + 2 values must fit 15 registers. */
const [R, V] = [4, 2];
/** Outputs of a panel of packed weights. */
export const CONV_PANEL = R;

function emitTile(m: ModuleBuilder, fused: boolean) {
  const at = (name: string) => Object.fromEntries(Array.from({ length: V }, (_, v) => [`${name}${v}`, "i32"]));
  const params = {
    ...at("x"),
    ...at("y"),
    terms: "i32",
    a: "i32",
    left: "i32",
    bias: "i32",
    channel: "i32",
    column: "i32",
    count: "i32",
    width: "i32",
  } as Record<string, "i32">;
  return m.func(
    "tile",
    params,
    ({ p, local, locals }) => {
      const acc = Array.from({ length: R }, () => locals("v128", V));
      const b = locals("v128", V);
      const w = local("v128");
      const offset = local("i32");
      const [done, again] = [label("done"), label("again")];
      const step = (i: number): Stmt =>
        seq(
          offset.set(i32.load(p.terms, 4 * i)),
          ...b.map((bv, v) => bv.set(v128.load(add(p[`x${v}`], offset)))),
          ...acc.flatMap((row, r) => [
            w.set(v128.load32splat(p.a, 4 * (i * R + r))),
            ...row.map((c, v) => c.set(madd(fused, w, b[v], c))),
          ]),
          // The exit makes V8 11 finish the step's sums here (see `dense/gemm.ts`).
          brIf(done, i32.eqz(p.left.tee(sub(p.left, n(1))))),
        );
      const whole = seq(
        ...acc.flatMap((row) => [
          ...row.map((c, v) => v128.store(p[`y${v}`], c)),
          ...row.map((_, v) => p[`y${v}`].set(add(p[`y${v}`], p.channel))),
        ]),
      );
      const lanes = (c: Local<"v128">, y: Local<"i32">): Stmt =>
        seq(
          offset.set(y),
          ...[0, 1, 2, 3].map((l) =>
            when(gt(p.width, n(l)), seq(v128.store32(offset, c, 0, l), offset.set(add(offset, p.column)))),
          ),
          y.set(add(y, p.channel)),
        );
      return [
        ...acc.flatMap((row, r) => row.map((c) => c.set(v128.load32splat(p.bias, 4 * r)))),
        block(
          done,
          brIf(done, i32.eqz(p.left)),
          loop(
            again,
            ...Array.from({ length: UNROLL }, (_, i) => step(i)),
            p.terms.set(add(p.terms, n(4 * UNROLL))),
            p.a.set(add(p.a, n(4 * R * UNROLL))),
            br(again),
          ),
        ),
        when(
          i32.and(i32.and(i32.eq(p.count, n(R)), i32.eq(p.width, n(4))), i32.eq(p.column, n(4))),
          whole,
          seq(...acc.map((row, r) => when(gt(p.count, n(r)), seq(...row.map((c, v) => lanes(c, p[`y${v}`])))))),
        ),
      ];
    },
    "void",
    false,
  );
}

function emitMultiply(m: ModuleBuilder, fused: boolean): void {
  const tile = emitTile(m, fused);

  m.func("multiply", multiplyParams, ({ p, locals }) => {
    const [u, panels, panel, group, image, a, bias, xb, yb, count, width, row, column] = locals("i32", 13);
    const xs = locals("i32", V);
    const ys = locals("i32", V);
    const place = (v: number): Stmt =>
      seq(
        xs[v].set(add(add(xb, mul(row, p.xRow)), shl(column, n(2)))),
        ys[v].set(add(add(yb, mul(row, p.yRow)), mul(column, p.yColumn))),
        // The last vector of a row is moved back to end with it; pixels computed twice come out the same.
        when(
          ge(add(column, n(4)), p.columns),
          seq(row.set(add(row, n(1))), column.set(n(0))),
          seq(
            column.set(add(column, n(4))),
            column.set(select(column, sub(p.columns, n(4)), lt(add(column, n(4)), p.columns))),
          ),
        ),
      );
    return [
      panels.set(panelCount(p.outs, R)),
      width.set(select(p.columns, n(4), lt(p.columns, n(4)))),
      forRange(
        u,
        p.from,
        p.to,
        1,
        panel.set(remu(u, panels)),
        group.set(divu(u, panels)),
        image.set(divu(group, p.groups)),
        group.set(remu(group, p.groups)),
        a.set(add(mul(group, panels), panel)),
        bias.set(add(p.bias, mul(a, n(4 * R)))),
        a.set(add(p.packed, mul(mul(a, p.k), n(4 * R)))),
        xb.set(add(p.x, add(mul(image, p.xImage), mul(group, p.xGroup)))),
        yb.set(add(add(mul(group, p.outs), mul(panel, n(R))), n(0))),
        yb.set(add(p.y, add(mul(image, p.yImage), mul(yb, p.yChannel)))),
        count.set(sub(p.outs, mul(panel, n(R)))),
        count.set(select(count, n(R), lt(count, n(R)))),
        row.set(n(0)),
        column.set(n(0)),
        whileLoop(
          lt(row, p.rows),
          place(0),
          ...Array.from({ length: V - 1 }, (_, i) =>
            when(lt(row, p.rows), place(i + 1), seq(xs[i + 1].set(xs[0]), ys[i + 1].set(ys[0]))),
          ),
          tile.call(...xs, ...ys, p.terms, a, p.k, bias, p.yChannel, p.yColumn, count, width),
        ),
      ),
    ];
  });
}

export const conv: Kernel = {
  name: "conv-f32-4x8",
  family: "conv",
  summary: "Convolution and its input gradient over padded planes, tiles of 4 outputs by 8 pixels",
  functions: productFunctions(R),
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    emitPack(m, R);
    emitMultiply(m, fused);
    return m.bytes();
  },
  trials: productTrials(R),
};
