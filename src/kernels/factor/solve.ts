/**
 * Triangular work on f64 blocks: Cholesky of one diagonal block, and forward substitution on packed panels.
 *
 * `solve` treats a panel [k][4] as four right-hand sides, so it gives both L^-1 B (panels of B's columns) and A L^-T
 * (panels of A's rows). Four unknowns at a time: 8 vectors of sums, as in the 4x4 product.
 */
import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  f64,
  f64x2,
  forRange,
  i32,
  type Local,
  label,
  loop,
  ModuleBuilder,
  type Stmt,
  seq,
  v128,
  when,
  whileLoop,
} from "../wasm/asm.ts";
import { packPlain } from "./pack.ts";

const { add, mul, shl, lt, le, sub } = i32;
const n = i32.const;

const SOLVE = { l: "i32", ld: "i32", size: "i32", panels: "i32", from: "i32", to: "i32" } as const;

function emitSolve(m: ModuleBuilder): void {
  m.func("solve", SOLVE, ({ p, locals }) => {
    const [panel, base, j, left, x, at, ld] = locals("i32", 7);
    const rows = locals("i32", 4);
    const acc = Array.from({ length: 4 }, () => locals("v128", 2));
    const [x0, x1, l] = locals("v128", 3);

    /** Substitutes unknowns j to j + width - 1 of the panel at `base`. */
    const unknowns = (width: 1 | 4): Stmt => {
      const out = label("k done");
      const again = label("k");
      const sums = acc.slice(0, width);
      const row = (q: number): Local<"i32"> => rows[q];
      /** takes l[j + q, .] at `address` times (v0, v1) off the sums of unknown q */
      const take = (q: number, address: Expr<"i32">, offset: number, v0: Local<"v128">, v1: Local<"v128">): Stmt =>
        seq(
          l.set(v128.load64splat(address, offset)),
          sums[q][0].set(f64x2.sub(sums[q][0], f64x2.mul(l, v0))),
          sums[q][1].set(f64x2.sub(sums[q][1], f64x2.mul(l, v1))),
        );
      const known = block(
        out,
        left.set(j),
        x.set(base),
        brIf(out, i32.eqz(j)),
        loop(
          again,
          x0.set(v128.load(x)),
          x1.set(v128.load(x, 16)),
          ...sums.map((_, q) => seq(take(q, row(q), 0, x0, x1), row(q).set(add(row(q), n(8))))),
          x.set(add(x, n(32))),
          left.set(sub(left, n(1))),
          brIf(out, i32.eqz(left)),
          br(again),
        ),
      );
      // Here each row pointer stands at column j.
      const triangle = sums.map(([s0, s1], q) =>
        seq(
          ...sums.slice(0, q).map(([v0, v1], earlier) => take(q, row(q), 8 * earlier, v0, v1)),
          l.set(v128.load64splat(row(q), 8 * q)),
          s0.set(f64x2.div(s0, l)),
          s1.set(f64x2.div(s1, l)),
          v128.store(at, s0, 32 * q),
          v128.store(at, s1, 32 * q + 16),
        ),
      );
      return seq(
        at.set(add(base, shl(j, n(5)))),
        row(0).set(add(p.l, mul(j, ld))),
        ...sums.slice(1).map((_, q) => row(q + 1).set(add(row(q), ld))),
        ...sums.flatMap(([s0, s1], q) => [s0.set(v128.load(at, 32 * q)), s1.set(v128.load(at, 32 * q + 16))]),
        known,
        ...triangle,
      );
    };
    return [
      ld.set(shl(p.ld, n(3))),
      forRange(
        panel,
        p.from,
        p.to,
        1,
        base.set(add(p.panels, mul(panel, shl(p.size, n(5))))),
        j.set(n(0)),
        whileLoop(le(add(j, n(4)), p.size), unknowns(4), j.set(add(j, n(4)))),
        whileLoop(lt(j, p.size), unknowns(1), j.set(add(j, n(1)))),
      ),
    ];
  });
}

/** Row by row: each element is its value minus a dot product of two finished rows. */
function emitCholesky(m: ModuleBuilder): void {
  m.func(
    "cholesky",
    { a: "i32", ld: "i32", size: "i32" },
    ({ p, local, locals, ret }) => {
      const [i, j, k, ld, ri, rj, diagonal] = locals("i32", 7);
      const [s0, s1] = locals("v128", 2);
      const sum = local("f64");
      const pair = (s: Local<"v128">, offset: number): Stmt =>
        s.set(f64x2.add(s, f64x2.mul(v128.load(ri, offset), v128.load(rj, offset))));
      const dot = seq(
        s0.set(f64x2.splat(f64.const(0))),
        s1.set(f64x2.splat(f64.const(0))),
        ri.set(add(p.a, mul(i, ld))),
        rj.set(add(p.a, mul(j, ld))),
        k.set(n(4)),
        whileLoop(
          le(k, j),
          pair(s0, 0),
          pair(s1, 16),
          ri.set(add(ri, n(32))),
          rj.set(add(rj, n(32))),
          k.set(add(k, n(4))),
        ),
        s0.set(f64x2.add(s0, s1)),
        sum.set(f64.add(f64x2.extract(s0, 0), f64x2.extract(s0, 1))),
        k.set(sub(k, n(4))),
        whileLoop(
          lt(k, j),
          sum.set(f64.add(sum, f64.mul(f64.load(ri), f64.load(rj)))),
          ri.set(add(ri, n(8))),
          rj.set(add(rj, n(8))),
          k.set(add(k, n(1))),
        ),
        // ri and rj now stand at column j.
        sum.set(f64.sub(f64.load(ri), sum)),
      );
      return [
        ld.set(shl(p.ld, n(3))),
        forRange(
          i,
          n(0),
          p.size,
          1,
          forRange(j, n(0), i, 1, dot, f64.store(ri, f64.div(sum, f64.load(rj)))),
          dot,
          diagonal.set(ri),
          // A comparison that NaN fails, too.
          when(i32.eqz(f64.gt(sum, f64.const(0))), ret(add(i, n(1)))),
          f64.store(diagonal, f64.sqrt(sum)),
        ),
        ret(n(0)),
      ];
    },
    "i32",
  );
}

/** Plain twin: the lower factor of a [size, size], in place; the failing column + 1, or 0. */
export function choleskyPlain(a: Float64Array, ld: number, size: number): number {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * ld + j];
      for (let k = 0; k < j; k++) sum -= a[i * ld + k] * a[j * ld + k];
      if (i === j && !(sum > 0)) return i + 1;
      a[i * ld + j] = i === j ? Math.sqrt(sum) : sum / a[j * ld + j];
    }
  }
  return 0;
}

/** Plain twin: x := L^-1 x for one right-hand side with stride. */
export function solvePlain(l: ArrayLike<number>, ld: number, size: number, x: Float64Array, stride = 1, at = 0): void {
  for (let j = 0; j < size; j++) {
    let sum = x[at + j * stride];
    for (let k = 0; k < j; k++) sum -= l[j * ld + k] * x[at + k * stride];
    x[at + j * stride] = sum / l[j * ld + j];
  }
}

/** B B^T + size I: eigenvalues from `size` up to a few times that. */
function drawPositive(draw: Draw, size: number, ld: number): Float64Array {
  const b = draw.floats(size * size);
  const a = new Float64Array(size * ld);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      let sum = i === j ? size : 0;
      for (let k = 0; k < size; k++) sum += b[i * size + k] * b[j * size + k];
      a[i * ld + j] = sum;
    }
  }
  return a;
}

function choleskyTrial(draw: Draw, box: Sandbox): Comparison[] {
  const size = draw.int(1, 21);
  const ld = size + draw.int(0, 2);
  const a = drawPositive(draw, size, ld);
  const spoiled = draw.int(-size, size - 1);
  if (spoiled >= 0) a[spoiled * ld + spoiled] = draw.int(0, 1) === 1 ? Number.NaN : -1;
  const at = box.put(a);
  const code = box.call("cholesky", at, ld, size);
  const want = choleskyPlain(a, ld, size);
  const codes = { what: "code", got: [code], want: [want], tolerance: 0 };
  if (want > 0) return [codes];
  // Sums of at most 21 terms in another order; the factor's entries are at most 10, the pivots at least 1.
  return [codes, { what: "factor", got: box.f64(at, a.length), want: a, tolerance: 21 * 10 * 2 ** -52 }];
}

/** Bit for bit: kernel and twin subtract in the same order. */
function solveTrial(draw: Draw, box: Sandbox): Comparison[] {
  const size = draw.int(1, 15);
  const ld = size + draw.int(0, 2);
  const l = Float64Array.from(draw.floats(size * ld));
  for (let i = 0; i < size; i++) l[i * ld + i] = 2 + Math.abs(l[i * ld + i]);
  const columns = draw.int(1, 11);
  const b = Float64Array.from(draw.floats(size * columns));
  const count = Math.ceil(columns / 4);
  const split = draw.int(0, count);
  const pl = box.put(l);
  const panels = box.put(packPlain(b, columns, size, columns, "columns"));
  box.call("solve", pl, ld, size, panels, split, count);
  box.call("solve", pl, ld, size, panels, 0, split);
  for (let c = 0; c < columns; c++) solvePlain(l, ld, size, b, columns, c);
  const want = packPlain(b, columns, size, columns, "columns");
  return [{ what: "panels", got: box.f64(panels, want.length), want, tolerance: 0 }];
}

export const solveF64: Kernel = {
  name: "solve-f64-4",
  family: "factor",
  summary: "Cholesky of one f64 block, and forward substitution on packed panels of 4 right-hand sides",
  functions: {
    cholesky: {
      params: ["a", "ld", "size"],
      does: "lower factor of the lower triangle of a, in place; returns 0, or the failing column + 1",
    },
    solve: {
      params: Object.keys(SOLVE),
      does: "panels := L^-1 panels, L lower [size, size], its upper triangle never read; from, to: panels",
    },
  },
  emit({ shared }) {
    const m = new ModuleBuilder({ shared });
    emitCholesky(m);
    emitSolve(m);
    return m.bytes();
  },
  trials: [
    { name: "cholesky", run: choleskyTrial },
    { name: "solve", run: solveTrial },
  ],
};
