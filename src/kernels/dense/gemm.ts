/**
 * Dense product C[M, N] = (or +=) A · B of packed f32 factors: A in panels of 4 rows, B in panels of 8 columns.
 *
 * A 4x8 tile of C stays in eight vectors while k runs. Sums over k are blocked by 256 and the blocks added in order, so
 * that a value of C has the same bits wherever the work is split and in whatever order blocks are visited.
 *
 * Blocking after Goto and van de Geijn (2008), for a wide second-level cache: 64 rows of A (up to 512 KiB) stay there
 * while the panels of B pass by one after the other, each read once and in the order of its addresses, in runs of 1024
 * steps; the prefetcher follows that, and does not follow the 8 KiB pieces of an order by blocks of k. Ladder:
 * `ladders.ts`.
 */

import type { Comparison, Draw, Kernel, Sandbox } from "../kernel.ts";
import {
  block,
  br,
  brIf,
  type Expr,
  type FunctionScope,
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
  whileLoop,
} from "../wasm/asm.ts";
import { packPanels } from "./pack.ts";

export const TILE_ROWS = 4;
export const TILE_COLUMNS = 8;
const K_BLOCK = 256;
const BLOCK_PANELS = 64 / TILE_ROWS;
/** Steps after which the next panel of B is taken up: 64 rows of A (512 KiB) stay in L2 meanwhile. */
const K_CHUNK = 2048;
const UNROLL = 4;
const ZERO = v128.const32(0, 0, 0, 0);

const { add, mul, lt, le, ge, gt, sub } = i32;
const n = i32.const;

/**
 * acc[r][j] = sum over kb steps. Each step ends with an exit from the loop: it serves any kb, and it makes V8 11 finish
 * the step's sums there. Without it the loads of all unrolled steps come first and the tile spills.
 */
function tileSums(
  fused: boolean,
  acc: readonly (readonly Local<"v128">[])[],
  a: Local<"i32">,
  b: Local<"i32">,
  left: Local<"i32">,
  b0: Local<"v128">,
  b1: Local<"v128">,
  av: Local<"v128">,
): Stmt {
  const done = label("done");
  const again = label("again");
  const step = (i: number): Stmt =>
    seq(
      b0.set(v128.load(b, i * 32)),
      b1.set(v128.load(b, i * 32 + 16)),
      ...acc.flatMap(([c0, c1], r) => [
        av.set(v128.load32splat(a, i * 16 + r * 4)),
        c0.set(madd(fused, av, b0, c0)),
        c1.set(madd(fused, av, b1, c1)),
      ]),
      brIf(done, i32.eqz(left.tee(sub(left, n(1))))),
    );
  return block(
    done,
    brIf(done, i32.eqz(left)),
    loop(
      again,
      ...Array.from({ length: UNROLL }, (_, i) => step(i)),
      a.set(add(a, n(UNROLL * 16))),
      b.set(add(b, n(UNROLL * 32))),
      br(again),
    ),
  );
}

/** Steps of one call of a tile: a multiple of `K_BLOCK`. */
const RUN = 1024;

const tileParams = { a: "i32", b: "i32", steps: "i32", c: "i32", ldc: "i32", onto: "i32" } as const;

interface Tile {
  readonly acc: readonly (readonly Local<"v128">[])[];
  /** a vector that is free between the sums */
  readonly spare: Local<"v128">;
  readonly c: Local<"i32">;
  readonly onto: Local<"i32">;
}

/** The sums of `steps` steps in blocks of `K_BLOCK`, each written by `write` and then added to; `c` is moved by it. */
function tileBody(
  fused: boolean,
  { p, local, locals }: FunctionScope<typeof tileParams, "void">,
  write: (t: Tile) => Stmt,
): Stmt {
  const acc = Array.from({ length: TILE_ROWS }, () => locals("v128", 2));
  const [b0, b1, av] = locals("v128", 3);
  const [left, c] = locals("i32", 2);
  const onto = local("i32");
  const again = label("blocks");
  return seq(
    onto.set(p.onto),
    loop(
      again,
      left.set(select(p.steps, n(K_BLOCK), le(p.steps, n(K_BLOCK)))),
      p.steps.set(sub(p.steps, left)),
      ...acc.flat().map((v) => v.set(ZERO)),
      tileSums(fused, acc, p.a, p.b, left, b0, b1, av),
      c.set(p.c),
      write({ acc, spare: b0, c, onto }),
      onto.set(n(1)),
      // Full blocks leave the loop at the end of its last turn, before the pointers move.
      p.a.set(add(p.a, n(UNROLL * 16))),
      p.b.set(add(p.b, n(UNROLL * 32))),
      brIf(again, gt(p.steps, n(0))),
    ),
  );
}

function emitFullTile(m: ModuleBuilder, fused: boolean) {
  return m.func(
    "tile",
    tileParams,
    (scope) =>
      tileBody(fused, scope, ({ acc, c, onto }) => {
        const rows = (put: (r: number) => Stmt): Stmt =>
          seq(...acc.map((_, r) => seq(put(r), ...(r < TILE_ROWS - 1 ? [c.set(add(c, scope.p.ldc))] : []))));
        return when(
          onto,
          rows((r) =>
            seq(
              v128.store(c, f32x4.add(v128.load(c), acc[r][0])),
              v128.store(c, f32x4.add(v128.load(c, 16), acc[r][1]), 16),
            ),
          ),
          rows((r) => seq(v128.store(c, acc[r][0]), v128.store(c, acc[r][1], 16))),
        );
      }),
    "void",
    false,
  );
}

/** The same tile where C ends inside of it: rows and columns beyond are computed from the padding but not written. */
function emitEdgeTile(m: ModuleBuilder, fused: boolean) {
  return m.func(
    "edge",
    { ...tileParams, rows: "i32", columns: "i32" },
    (scope) =>
      tileBody(fused, scope, ({ acc, spare, c, onto }) => {
        const { rows, columns, ldc } = scope.p;
        const old = (r: number, j: number): Stmt => acc[r][j].set(f32x4.add(v128.load(c, 16 * j), acc[r][j]));
        const lane = (r: number, j: number, l: number): Stmt => {
          const at = 16 * j + 4 * l;
          return when(
            gt(columns, n(4 * j + l)),
            seq(
              // The loaded lane is added to lane 0's copy of the sum, so that the sum is one f32 addition as in a full tile.
              spare.set(v128.shuffle32(acc[r][j], acc[r][j], [l, l, l, l])),
              when(onto, spare.set(f32x4.add(v128.load32zero(c, at), spare))),
              v128.store32(c, spare, at),
            ),
          );
        };
        const half = (r: number, j: number): Stmt =>
          when(
            ge(columns, n(4 * j + 4)),
            seq(when(onto, old(r, j)), v128.store(c, acc[r][j], 16 * j)),
            seq(...[0, 1, 2].map((l) => lane(r, j, l))),
          );
        return seq(...acc.map((_, r) => when(gt(rows, n(r)), seq(half(r, 0), half(r, 1), c.set(add(c, ldc))))));
      }),
    "void",
    false,
  );
}

const shape = { a: "i32", b: "i32", c: "i32", ldc: "i32", m: "i32", n: "i32", k: "i32", onto: "i32" } as const;

function emitGemm(m: ModuleBuilder, fused: boolean): void {
  const tile = emitFullTile(m, fused);
  const edge = emitEdgeTile(m, fused);
  const blockOf = m.func(
    "block",
    { ...shape, rowFrom: "i32", rowTo: "i32", columnFrom: "i32", columnTo: "i32" },
    ({ p, locals }) => {
      const [i0, i1, i, j, kc, kEnd, k0, kb, pa, pb, pc] = locals("i32", 11);
      const [rows, columns, onto, aPanel, bPanel, ldcBytes] = locals("i32", 6);
      const upTo = (value: Expr<"i32">, most: Expr<"i32">): Expr<"i32"> => select(value, most, le(value, most));
      const runs = label("runs");
      const chunks = label("chunks");
      const tiles = forRange(
        i,
        i0,
        i1,
        1,
        rows.set(sub(p.m, mul(i, n(TILE_ROWS)))),
        when(
          i32.and(ge(rows, n(TILE_ROWS)), ge(columns, n(TILE_COLUMNS))),
          tile.call(pa, pb, kb, pc, ldcBytes, onto),
          edge.call(pa, pb, kb, pc, ldcBytes, onto, rows, columns),
        ),
        pa.set(add(pa, aPanel)),
        pc.set(add(pc, mul(ldcBytes, n(TILE_ROWS)))),
      );
      const panels = forRange(
        j,
        p.columnFrom,
        p.columnTo,
        1,
        columns.set(sub(p.n, mul(j, n(TILE_COLUMNS)))),
        k0.set(kc),
        loop(
          runs,
          kb.set(upTo(sub(kEnd, k0), n(RUN))),
          onto.set(i32.or(p.onto, gt(k0, n(0)))),
          pa.set(add(p.a, add(mul(i0, aPanel), mul(k0, n(4 * TILE_ROWS))))),
          pb.set(add(p.b, add(mul(j, bPanel), mul(k0, n(4 * TILE_COLUMNS))))),
          pc.set(add(p.c, add(mul(mul(i0, n(TILE_ROWS)), ldcBytes), mul(j, n(4 * TILE_COLUMNS))))),
          tiles,
          k0.set(add(k0, n(RUN))),
          brIf(runs, lt(k0, kEnd)),
        ),
      );
      return [
        aPanel.set(mul(p.k, n(4 * TILE_ROWS))),
        bPanel.set(mul(p.k, n(4 * TILE_COLUMNS))),
        ldcBytes.set(mul(p.ldc, n(4))),
        i0.set(p.rowFrom),
        whileLoop(
          lt(i0, p.rowTo),
          i1.set(upTo(add(i0, n(BLOCK_PANELS)), p.rowTo)),
          kc.set(n(0)),
          // Once at least, since an empty sum is written, too.
          loop(chunks, kEnd.set(upTo(add(kc, n(K_CHUNK)), p.k)), panels, kc.set(kEnd), brIf(chunks, lt(kc, p.k))),
          i0.set(i1),
        ),
      ];
    },
    "void",
    false,
  );
  const upTo = (count: Expr<"i32">, width: number): Expr<"i32"> => i32.divu(add(count, n(width - 1)), n(width));
  m.func("rows", { ...shape, from: "i32", to: "i32" }, ({ p }) =>
    blockOf.call(p.a, p.b, p.c, p.ldc, p.m, p.n, p.k, p.onto, p.from, p.to, n(0), upTo(p.n, TILE_COLUMNS)),
  );
  m.func("columns", { ...shape, from: "i32", to: "i32" }, ({ p }) =>
    blockOf.call(p.a, p.b, p.c, p.ldc, p.m, p.n, p.k, p.onto, n(0), upTo(p.m, TILE_ROWS), p.from, p.to),
  );
}

/** Plain twin: row-major A[M, K] · B[K, N] in f64, and the sums of |a||b| that bound its f32 error. */
export function product(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  m: number,
  columns: number,
  k: number,
): { sums: Float64Array; sizes: Float64Array } {
  const sums = new Float64Array(m * columns);
  const sizes = new Float64Array(m * columns);
  for (let i = 0; i < m; i++) {
    for (let kk = 0; kk < k; kk++) {
      for (let j = 0; j < columns; j++) {
        const term = a[i * k + kk] * b[kk * columns + j];
        sums[i * columns + j] += term;
        sizes[i * columns + j] += Math.abs(term);
      }
    }
  }
  return { sums, sizes };
}

/** Worst case of a sum of k products rounded at every step: (k + 1) half-units of the sum of sizes. */
export const sumTolerance = (k: number, sizes: Float64Array): Float64Array => sizes.map((s) => s * (k + 1) * 2 ** -24);

function drawProduct(draw: Draw, box: Sandbox, most: number, mostK: number) {
  const m = draw.int(0, most);
  const columns = draw.int(0, most);
  const k = draw.int(0, mostK);
  const ldc = columns + draw.int(0, 5);
  const a = draw.floats(m * k);
  const b = draw.floats(k * columns);
  const start = draw.floats(m * ldc);
  const pa = box.put(packPanels(a, k, 1, m, k, TILE_ROWS));
  const pb = box.put(packPanels(b, 1, columns, columns, k, TILE_COLUMNS));
  return { m, columns, k, ldc, a, b, start, pa, pb };
}

/** Splits at drawn borders by rows or columns against one whole call: the same bits, and right ones. */
function trial(most: number, mostK: number) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const { m, columns, k, ldc, a, b, start, pa, pb } = drawProduct(draw, box, most, mostK);
    const onto = draw.int(0, 1);
    const { sums, sizes } = product(a, b, m, columns, k);
    const want = Float64Array.from(start);
    const tolerance = new Float64Array(want.length);
    const bounds = sumTolerance(k + 1, sizes);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < columns; j++) {
        const at = i * ldc + j;
        want[at] = onto * want[at] + sums[i * columns + j];
        tolerance[at] = bounds[i * columns + j] + onto * Math.abs(start[at]) * 2 ** -23;
      }
    }
    const rowPanels = Math.ceil(m / TILE_ROWS);
    const columnPanels = Math.ceil(columns / TILE_COLUMNS);
    const whole = box.put(start);
    const byRows = box.put(start);
    const byColumns = box.put(start);
    const args = (c: number): number[] => [pa, pb, c, ldc, m, columns, k, onto];
    box.call("rows", ...args(whole), 0, rowPanels);
    const row = draw.int(0, rowPanels);
    box.call("rows", ...args(byRows), row, rowPanels);
    box.call("rows", ...args(byRows), 0, row);
    const column = draw.int(0, columnPanels);
    box.call("columns", ...args(byColumns), 0, column);
    box.call("columns", ...args(byColumns), column, columnPanels);
    const got = box.f32(whole, start.length);
    return [
      { what: "product", got, want, tolerance },
      { what: "split by rows", got: box.f32(byRows, start.length), want: got, tolerance: 0 },
      { what: "split by columns", got: box.f32(byColumns, start.length), want: got, tolerance: 0 },
    ];
  };
}

const params = ["a", "b", "c", "ldc", "m", "n", "k", "onto", "from", "to"];
const does = (unit: string): string =>
  "C[m, n] = A[m, k] · B[k, n], plus the old C where onto is 1; A packed by panels4, B by panels8; ldc is C's row " +
  `stride in elements; from, to: ${unit}`;

export const gemmF32: Kernel = {
  name: "gemm-f32-4x8",
  family: "dense",
  summary: "Dense f32 product of packed factors, 4x8 tile, k in blocks of 256",
  functions: {
    rows: { params, does: does("panels of 4 rows") },
    columns: { params, does: does("panels of 8 columns") },
  },
  emit({ shared, fused }) {
    const m = new ModuleBuilder({ shared });
    emitGemm(m, fused);
    return m.bytes();
  },
  trials: [
    { name: "small shapes", run: trial(21, 11) },
    { name: "several k blocks", run: trial(9, 530) },
    { name: "several row blocks", run: trial(140, 5) },
    { name: "several runs and chunks of k", run: trial(5, 2 * K_CHUNK + 300) },
  ],
};
