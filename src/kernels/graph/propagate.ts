/**
 * A sparse matrix in CSR times row-major features, Y = A X, and the products of rows that give the gradient of its
 * values. Unlike the kernels for sparse weights it reads X row by row, as features of nodes lie, with 32-bit columns.
 *
 * A row of Y is summed over its entries in their stored order, 32 features in eight accumulators at a time.
 */
import type { Kernel } from "../kernel.ts";
import { defineKernel, described } from "../pointwise/define.ts";
import { fold } from "../pointwise/stream.ts";
import type { Expr, Stmt } from "../wasm/asm.ts";
import { f32, f32x4, forRange, i32, seq, v128 } from "../wasm/asm.ts";
import { propagateTrials } from "./propagate.trials.ts";

const c = i32.const;
const at = (base: Expr<"i32">, index: Expr<"i32">): Expr<"i32"> => i32.add(base, i32.shl(index, c(2)));
const zero = v128.const32(0, 0, 0, 0);
/** Most vectors of four features summed at once; the registers of a CPU hold these, a factor and an operand. */
const VECTORS = 8;

const multiply = described(
  { starts: "i32", columns: "i32", values: "i32", x: "i32", y: "i32", F: "i32", from: "i32", to: "i32" },
  "y[r] = sum over e in [starts[r], starts[r + 1]) of values[e] x[columns[e]], F features; units are rows",
  (f) => {
    const { starts, columns, values, x, y, F, from, to } = f.p;
    const [r, e, first, last, col, source, target] = f.locals("i32", 7);
    const acc = f.locals("v128", VECTORS);
    const factor = f.local("v128");
    const sum = f.local("f32");
    const edges = (...body: readonly Stmt[]): Stmt =>
      forRange(e, first, last, 1, source.set(at(x, i32.add(i32.mul(i32.load(at(columns, e)), F), col))), ...body);
    const strip = (vectors: number): Stmt => {
      const used = acc.slice(0, vectors);
      return seq(
        ...used.map((a) => a.set(zero)),
        edges(
          factor.set(v128.load32splat(at(values, e))),
          ...used.map((a, i) => a.set(f32x4.add(a, f32x4.mul(factor, v128.load(source, 16 * i))))),
        ),
        target.set(at(y, i32.add(i32.mul(r, F), col))),
        ...used.map((a, i) => v128.store(target, a, 16 * i)),
      );
    };
    return forRange(
      r,
      from,
      to,
      1,
      first.set(i32.load(at(starts, r))),
      last.set(i32.load(at(starts, r), 4)),
      forRange(col, c(0), i32.sub(F, c(4 * VECTORS - 1)), 4 * VECTORS, strip(VECTORS)),
      forRange(col, col, i32.sub(F, c(15)), 16, strip(4)),
      forRange(col, col, i32.sub(F, c(3)), 4, strip(1)),
      forRange(
        col,
        col,
        F,
        1,
        sum.set(f32.const(0)),
        edges(sum.set(f32.add(sum, f32.mul(f32.load(at(values, e)), f32.load(source))))),
        f32.store(at(y, i32.add(i32.mul(r, F), col)), sum),
      ),
    );
  },
);

const edgeDots = described(
  { starts: "i32", columns: "i32", a: "i32", b: "i32", out: "i32", F: "i32", from: "i32", to: "i32" },
  "out[e] = a[r] . b[columns[e]] for every entry e of row r, F features; units are rows",
  (f) => {
    const { starts, columns, a, b, out, F, from, to } = f.p;
    const [r, e, last, pa, pb] = f.locals("i32", 5);
    const sum = f.local("f32");
    return forRange(
      r,
      from,
      to,
      1,
      last.set(i32.load(at(starts, r), 4)),
      forRange(
        e,
        i32.load(at(starts, r)),
        last,
        1,
        pa.set(at(a, i32.mul(r, F))),
        pb.set(at(b, i32.mul(i32.load(at(columns, e)), F))),
        fold(
          f,
          F,
          [
            [pa, 4],
            [pb, 4],
          ],
          [sum],
          "sum",
          (o, k) => [o.mul(o.load(pa, 4 * k), o.load(pb, 4 * k))],
        ),
        f32.store(at(out, e), sum),
      ),
    );
  },
);

export const propagateKernel: Kernel = defineKernel({
  name: "propagate-f32-csr",
  family: "graph",
  summary: "A sparse matrix in CSR times row-major features, and dot products of rows along its entries.",
  functions: { multiply, edgeDots },
  trials: propagateTrials,
});
