/**
 * The f64 product that every blocked algorithm here spends its time in: C += A B or C -= A B on packed panels.
 *
 * A is packed by rows and B by columns in panels of 4 (`pack-f64-4`); a 4x4 tile of C stays in 8 vectors of 2. `part`
 * restricts the work to one triangle of a square C, of which the other is then neither read nor written. Never fused:
 * a factorisation must give the same bits everywhere.
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
  label,
  loop,
  ModuleBuilder,
  nop,
  type Stmt,
  select,
  seq,
  v128,
  when,
} from "../wasm/asm.ts";
import { packPlain } from "./pack.ts";

const { add, mul, shl, lt, le, eq, ne, sub } = i32;
const n = i32.const;

/** Which part of C an update touches. */
export const WHOLE = 0;
export const LOWER = 1;
export const UPPER = 2;

/** Panels of B that are reused by all panels of A before the next: 32 x 256 x 4 doubles is 256 KiB, a part of L2. */
const B_PANELS = 32;
const UNROLL = 4;

const PARAMS = {
  c: "i32",
  ldc: "i32",
  a: "i32",
  b: "i32",
  m: "i32",
  n: "i32",
  k: "i32",
  part: "i32",
  subtract: "i32",
  from: "i32",
  to: "i32",
} as const;

function emit(shared: boolean): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder({ shared });
  module.func("update", PARAMS, ({ p, locals, local }) => {
    const [turn, i, j, jBlock, low, high, columnPanels, pa, pb, left, ld, at, row, column] = locals("i32", 14);
    const acc = Array.from({ length: 4 }, () => locals("v128", 2));
    const [b0, b1, a] = locals("v128", 3);
    const value = local("f64");

    const out = label("k done");
    const again = label("k");
    // The exit after each step keeps Node 20's compiler from sinking all arithmetic behind all loads (see docs/kernels.md).
    const step = (u: number): Stmt =>
      seq(
        b0.set(v128.load(pb, 32 * u)),
        b1.set(v128.load(pb, 32 * u + 16)),
        ...acc.map(([c0, c1], r) =>
          seq(
            a.set(v128.load64splat(pa, 32 * u + 8 * r)),
            c0.set(f64x2.add(c0, f64x2.mul(a, b0))),
            c1.set(f64x2.add(c1, f64x2.mul(a, b1))),
          ),
        ),
        brIf(out, i32.eqz(left.tee(sub(left, n(1))))),
      );
    const product = block(
      out,
      left.set(p.k),
      ...acc.flat().map((v) => v.set(f64x2.splat(f64.const(0)))),
      brIf(out, le(p.k, n(0))),
      loop(
        again,
        ...Array.from({ length: UNROLL }, (_, u) => step(u)),
        pa.set(add(pa, n(32 * UNROLL))),
        pb.set(add(pb, n(32 * UNROLL))),
        br(again),
      ),
    );

    const wholeTile = (op: typeof f64x2.add): Stmt =>
      seq(
        ...acc.map(([c0, c1], r) =>
          seq(
            v128.store(at, op(v128.load(at), c0)),
            v128.store(at, op(v128.load(at, 16), c1), 16),
            r < 3 ? at.set(add(at, ld)) : nop,
          ),
        ),
      );
    /** One element, if it exists and belongs to the part. */
    const element = (r: number, lane: number, sum: Expr<"f64">): Stmt => {
      const inside = i32.and(lt(add(row, n(r)), p.m), lt(add(column, n(lane)), p.n));
      const inLower = le(add(column, n(lane)), add(row, n(r)));
      const inUpper = le(add(row, n(r)), add(column, n(lane)));
      const inPart = select(n(1), select(inLower, inUpper, eq(p.part, n(LOWER))), eq(p.part, n(WHOLE)));
      return when(
        i32.and(inside, inPart),
        seq(
          value.set(f64.load(at, 8 * lane)),
          f64.store(at, select(f64.sub(value, sum), f64.add(value, sum), p.subtract), 8 * lane),
        ),
      );
    };
    const raggedTile = seq(
      ...acc.map((pair, r) =>
        seq(
          ...[0, 1, 2, 3].map((lane) => element(r, lane, f64x2.extract(pair[lane >> 1], lane & 1))),
          r < 3 ? at.set(add(at, ld)) : nop,
        ),
      ),
    );
    const inner = i32.and(
      i32.and(le(add(row, n(4)), p.m), le(add(column, n(4)), p.n)),
      i32.or(eq(p.part, n(WHOLE)), ne(i, j)),
    );

    const tile = seq(
      pa.set(add(p.a, mul(i, shl(p.k, n(5))))),
      pb.set(add(p.b, mul(j, shl(p.k, n(5))))),
      product,
      row.set(shl(i, n(2))),
      column.set(shl(j, n(2))),
      at.set(add(p.c, add(mul(row, ld), shl(column, n(3))))),
      when(inner, when(p.subtract, wholeTile(f64x2.sub), wholeTile(f64x2.add)), raggedTile),
    );
    // In a triangle panels differ in work: short and long ones alternate, so that equal ranges are equal work.
    const half = i32.shru(turn, n(1));
    const panelOfTurn = when(
      i32.and(ne(p.part, n(WHOLE)), i32.and(turn, n(1))),
      i.set(sub(i32.shru(add(p.m, n(3)), n(2)), add(half, n(1)))),
      i.set(select(turn, half, eq(p.part, n(WHOLE)))),
    );
    return [
      ld.set(shl(p.ldc, n(3))),
      columnPanels.set(i32.shru(add(p.n, n(3)), n(2))),
      forRange(
        jBlock,
        n(0),
        columnPanels,
        B_PANELS,
        forRange(
          turn,
          p.from,
          p.to,
          1,
          panelOfTurn,
          low.set(jBlock),
          high.set(add(jBlock, n(B_PANELS))),
          when(lt(columnPanels, high), high.set(columnPanels)),
          when(i32.and(eq(p.part, n(UPPER)), lt(low, i)), low.set(i)),
          when(i32.and(eq(p.part, n(LOWER)), lt(i, high)), high.set(add(i, n(1)))),
          forRange(j, low, high, 1, tile),
        ),
      ),
    ];
  });
  return module.bytes();
}

/** Plain twin: C +- A B with A [m, k] and B [k, n] unpacked; the sum over k first, in order. */
export function updatePlain(
  c: Float64Array,
  ldc: number,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { m, n: columns, k, part, subtract }: { m: number; n: number; k: number; part: number; subtract: boolean },
): void {
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < columns; j++) {
      if ((part === LOWER && j > i) || (part === UPPER && j < i)) continue;
      let sum = 0;
      for (let kk = 0; kk < k; kk++) sum += a[i * k + kk] * b[kk * columns + j];
      c[i * ldc + j] += subtract ? -sum : sum;
    }
  }
}

/** Bit for bit: kernel and twin add the same products in the same order. */
function trial(most: number, mostK: number) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const part = draw.int(WHOLE, UPPER);
    const m = draw.int(1, most);
    const columns = part === WHOLE ? draw.int(1, most) : m;
    const k = draw.int(0, mostK);
    const ldc = columns + draw.int(0, 2);
    const subtract = draw.int(0, 1);
    const a = Float64Array.from(draw.floats(m * k));
    const b = Float64Array.from(draw.floats(k * columns));
    const c = Float64Array.from(draw.floats(m * ldc));
    const got = box.put(c);
    const pa = box.put(packPlain(a, k, m, k, "rows"));
    const pb = box.put(packPlain(b, columns, k, columns, "columns"));
    const count = Math.ceil(m / 4);
    const split = draw.int(0, count);
    const args = [got, ldc, pa, pb, m, columns, k, part, subtract];
    box.call("update", ...args, split, count);
    box.call("update", ...args, 0, split);
    updatePlain(c, ldc, a, b, { m, n: columns, k, part, subtract: subtract === 1 });
    return [{ what: "C", got: box.f64(got, c.length), want: c, tolerance: 0 }];
  };
}

export const updateF64: Kernel = {
  name: "update-f64-4x4",
  family: "factor",
  summary: "C += A B or C -= A B in f64 on packed panels, whole or one triangle; 4x4 tile",
  functions: {
    update: {
      params: Object.keys(PARAMS),
      does:
        "C[m, n] +- A[m, k] B[k, n]; A packed by rows, B by columns; part: 0 whole, 1 lower, 2 upper triangle; " +
        "subtract: 0 or 1; from, to: panels of 4 rows of C, in a triangle from both ends inwards",
    },
  },
  emit: ({ shared }) => emit(shared),
  trials: [
    { name: "small", run: trial(11, 9) },
    { name: "many panels", run: trial(150, 5) },
    { name: "long sums", run: trial(9, 300) },
  ],
};
