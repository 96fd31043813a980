/**
 * Convolution in which every output channel has a list of terms of its own: sparse weights, and depthwise ones, whose
 * lists are short. Forward (or the input's gradient, over lists of the transposed weight) and the gradient of the
 * listed weights only; nothing of the size of the dense weight is read or written.
 *
 * Products take strips of up to 8 rows by 4 columns; a value is the sum of its terms in order, from
 * its bias on. Gradients are dot products of planes for 5 terms of an output at once, four lanes that are added in
 * order. Neither depends on where the work is split. Planes and offsets are those of `geometry.ts`.
 */

import { exitsTo } from "../convnet/planes.ts";
import type { Kernel } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  f32,
  f32x4,
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
import { listedTrials } from "./listed.trials.ts";

const { add, sub, mul, shl, lt, gt, ge, eq, divu, remu } = i32;
const n = i32.const;
const UNROLL = 3;
/** Terms of an output whose gradients are taken at once. */
const J = 5;
const least = (a: Expr<"i32">, b: Expr<"i32">): Expr<"i32"> => select(a, b, lt(a, b));
const wordAt = (base: Expr<"i32">, index: Expr<"i32">): Expr<"i32"> => i32.load(add(base, shl(index, n(2))));

const multiplyParams = {
  x: "i32",
  xImage: "i32",
  xRow: "i32",
  starts: "i32",
  ends: "i32",
  terms: "i32",
  values: "i32",
  bias: "i32",
  y: "i32",
  yImage: "i32",
  yChannel: "i32",
  yRow: "i32",
  yColumn: "i32",
  outs: "i32",
  rows: "i32",
  columns: "i32",
  from: "i32",
  to: "i32",
} as const;

function emitMultiply(m: ModuleBuilder, fused: boolean): void {
  m.func("multiply", multiplyParams, ({ p, locals }) => {
    const [u, out, xb, yb, row, column, x0, y0, lanes, width, left, term, next, r0] = locals("i32", 14);
    const [w, offset, first, count] = locals("i32", 4);
    const acc = locals("v128", 8);
    const [bias, weight] = locals("v128", 2);

    const store = (c: Local<"v128">): Stmt => seq(v128.store(y0, c), y0.set(add(y0, p.yRow)));
    const storeLanes = (c: Local<"v128">): Stmt =>
      seq(
        lanes.set(y0),
        ...[0, 1, 2, 3].map((l) =>
          when(gt(width, n(l)), seq(v128.store32(lanes, c, 0, l), lanes.set(add(lanes, p.yColumn)))),
        ),
        y0.set(add(y0, p.yRow)),
      );

    const strip = (height: number): Stmt => {
      const [done, again] = [label("done"), label("again")];
      const sums = acc.slice(0, height);
      const exit = exitsTo(done, p.terms);
      const step = (i: number): Stmt =>
        seq(
          offset.set(add(x0, i32.load(term, 4 * i))),
          weight.set(v128.load32splat(w, 4 * i)),
          // One pointer that moves down the strip: eight of their own would not fit the registers.
          ...sums.flatMap((c, r) => [
            ...(r > 0 ? [offset.set(add(offset, p.xRow))] : []),
            c.set(madd(fused, weight, v128.load(offset), c)),
            // Eight loads at once would spill sums.
            ...(r === 3 && height === 8 ? [exit()] : []),
          ]),
          brIf(done, i32.eqz(left.tee(sub(left, n(1))))),
        );
      return seq(
        ...sums.map((c) => c.set(bias)),
        term.set(add(p.terms, first)),
        w.set(add(p.values, first)),
        left.set(count),
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
        x0.set(add(add(xb, mul(r0, p.xRow)), shl(column, n(2)))),
        y0.set(add(add(yb, mul(r0, p.yRow)), mul(column, p.yColumn))),
        strip(height),
      );

    const columns = (height: number): Stmt =>
      seq(
        forRange(
          u,
          p.from,
          p.to,
          1,
          out.set(remu(u, p.outs)),
          first.set(wordAt(p.starts, out)),
          count.set(sub(wordAt(p.ends, out), first)),
          first.set(shl(first, n(2))),
          bias.set(v128.load32splat(add(p.bias, shl(out, n(2))))),
          xb.set(add(p.x, mul(divu(u, p.outs), p.xImage))),
          yb.set(add(p.y, add(mul(divu(u, p.outs), p.yImage), mul(out, p.yChannel)))),
          forRange(
            next,
            n(0),
            p.columns,
            4,
            column.set(select(next, sub(p.columns, n(4)), lt(add(next, n(4)), p.columns))),
            column.set(select(column, n(0), gt(column, n(0)))),
            down(height),
          ),
        ),
      );
    // Few rows are one strip each, 5 to 7 overlap in two strips of 4.
    const byHeight = [1, 2, 3].reduceRight((rest, h) => when(eq(p.rows, n(h)), columns(h), rest), columns(4));
    return [width.set(least(p.columns, n(4))), when(ge(p.rows, n(8)), columns(8), byHeight)];
  });
}

const dotParams = {
  dy: "i32",
  dyImage: "i32",
  dyChannel: "i32",
  x: "i32",
  xImage: "i32",
  starts: "i32",
  ends: "i32",
  terms: "i32",
  images: "i32",
  vectors: "i32",
  dw: "i32",
  onto: "i32",
  from: "i32",
  to: "i32",
} as const;

function emitDot(m: ModuleBuilder, fused: boolean): void {
  m.func("dot", dotParams, ({ p, local, locals }) => {
    const acc = locals("v128", J);
    const qs = locals("i32", J);
    const offsets = locals("i32", J);
    const d = local("v128");
    const [out, term, end, image, dyb, xb, dp, left, at] = locals("i32", 9);
    const sum = local("f32");
    const [done, again] = [label("done"), label("again")];
    const step = (i: number): Stmt =>
      seq(
        d.set(v128.load(dp, 16 * i)),
        ...acc.map((c, j) => c.set(madd(fused, d, v128.load(qs[j], 16 * i), c))),
        brIf(done, i32.eqz(left.tee(sub(left, n(1))))),
      );
    const lane = (j: number, l: number): Expr<"f32"> => f32x4.extract(acc[j], l);
    const store = (j: number): Stmt =>
      when(
        lt(add(term, n(j)), end),
        seq(
          at.set(add(p.dw, shl(add(term, n(j)), n(2)))),
          sum.set(f32.add(f32.add(lane(j, 0), lane(j, 1)), f32.add(lane(j, 2), lane(j, 3)))),
          when(p.onto, sum.set(f32.add(f32.load(at), sum))),
          f32.store(at, sum),
        ),
      );
    return forRange(
      out,
      p.from,
      p.to,
      1,
      end.set(wordAt(p.ends, out)),
      forRange(
        term,
        wordAt(p.starts, out),
        end,
        J,
        // Beyond the last term it is computed again and not stored.
        ...offsets.map((o, j) => o.set(wordAt(p.terms, least(add(term, n(j)), sub(end, n(1)))))),
        ...acc.map((c) => c.set(v128.const32(0, 0, 0, 0))),
        dyb.set(add(p.dy, mul(out, p.dyChannel))),
        xb.set(p.x),
        forRange(
          image,
          n(0),
          p.images,
          1,
          dp.set(dyb),
          ...qs.map((q, j) => q.set(add(xb, offsets[j]))),
          left.set(p.vectors),
          block(
            done,
            brIf(done, i32.eqz(left)),
            loop(
              again,
              ...Array.from({ length: 4 }, (_, i) => step(i)),
              ...[dp, ...qs].map((q) => q.set(add(q, n(64)))),
              br(again),
            ),
          ),
          dyb.set(add(dyb, p.dyImage)),
          xb.set(add(xb, p.xImage)),
        ),
        ...acc.map((_, j) => store(j)),
      ),
    );
  });
}

export const convListed: Kernel = {
  name: "conv-listed-f32-8x4",
  family: "conv",
  summary:
    "Convolution with a list of terms for each output, sparse or depthwise, and its gradients, over padded planes",
  functions: {
    multiply: {
      params: Object.keys(multiplyParams),
      does:
        "y = bias + listed terms of x: value (o, r, c) sums over i from starts[o] to ends[o] values[i] times x at byte " +
        "r xRow + 4 c + terms[i] of the image; strides in bytes; units are image, output",
    },
    dot: {
      params: Object.keys(dotParams),
      does:
        "dw[i] = (onto: +=) sum over images and 4 vectors elements e of dy[o, e] x[e + terms[i]] for i from starts[o] to " +
        "ends[o]; strides and terms in bytes; units are outputs",
    },
  },
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    emitMultiply(m, fused);
    emitDot(m, fused);
    return m.bytes();
  },
  trials: listedTrials,
};
